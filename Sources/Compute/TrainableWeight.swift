import TensorCore

/// A whole weight that is trained as it is, without an adapter, a matrix [rows, columns] or a vector: value and gradient
/// in F32, and the copy that is computed with.
///
/// Owns all three; the gradient is made when it is first asked for, so evaluation never has one.
package final class TrainableWeight {
    /// What the optimizer changes, F32.
    package let value: Tensor
    /// The value in the type that weights are multiplied in, as of the last `refresh`; the value itself in F32.
    package let rounded: Tensor
    /// Whether backward passes add to the gradient.
    package var collectsGradient = true

    private var storedGradient: Tensor?
    private let context: ComputeContext

    /// A weight with `value`, F32, which it takes over.
    package init(_ value: Tensor, _ context: ComputeContext) {
        precondition(value.dtype == .f32 && value.shape.count <= 2)
        self.value = value
        self.context = context
        rounded = context.weightType == .f32 ? value : context.tensor(value.shape, context.weightType)
        refresh()
    }

    /// The gradient of the current optimizer step's loss, summed over its batches, F32.
    package var gradient: Tensor {
        if let storedGradient { return storedGradient }
        let gradient = context.zeros(value.shape, .f32)
        storedGradient = gradient
        return gradient
    }

    /// Brings the copy up to date; needed after each change of the value.
    package func refresh() {
        if rounded !== value { context.convert(value, into: rounded) }
    }
}
