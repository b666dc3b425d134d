import TensorCore

/// A value in a computation and, once the backward pass has reached it, the gradient of the loss with respect to it.
package final class Variable {
    /// The value, [tokens, width].
    package let value: Tensor
    /// Whether the backward pass has business here. False for anything that only the frozen base led to.
    package private(set) var needsGradient: Bool
    /// The gradient, of the value's shape and type; nil where nothing has been added yet.
    package private(set) var gradient: Tensor?

    /// A variable with `value`.
    package init(_ value: Tensor, needsGradient: Bool) {
        self.value = value
        self.needsGradient = needsGradient
    }

    /// Says that something trainable has been added to the value in place. Must come before the value is used further.
    package func requireGradient() {
        needsGradient = true
    }

    /// Lets `write` add to the gradient. `write` is handed the gradient and whether it holds a sum already: if so it
    /// adds, if not it overwrites every element.
    package func addGradient(_ context: ComputeContext, _ write: (_ gradient: Tensor, _ accumulates: Bool) -> Void) {
        if let gradient {
            write(gradient, true)
        } else {
            let fresh = context.tensor(value.shape, value.dtype)
            write(fresh, false)
            gradient = fresh
        }
    }

    /// Makes `tensor` the gradient, where there is none yet; its owner gives it away.
    package func adoptGradient(_ tensor: Tensor) {
        precondition(gradient == nil && tensor.shape == value.shape && tensor.dtype == value.dtype)
        gradient = tensor
    }

    /// Gives the gradient away.
    package func takeGradient() -> Tensor? {
        defer { gradient = nil }
        return gradient
    }
}

/// A record of operations, played backwards for gradients (reverse-mode differentiation).
///
/// Each operation appends a closure that reads its output's gradient and adds to its inputs'. A closure is let go once
/// it has run, and with it the tensors that only it needed. Operations may change a variable's value in place after the
/// one that made it, where no earlier backward pass reads that value; their doc comments say so.
package final class Tape {
    /// Memory, threads and products of the operations.
    package let context: ComputeContext
    /// Whether operations are kept for a backward pass.
    package let isRecording: Bool
    private var steps: [() -> Void] = []

    /// An empty tape. A tape that does not record serves evaluation and generation.
    package init(_ context: ComputeContext, isRecording: Bool) {
        self.context = context
        self.isRecording = isRecording
    }

    /// Appends the backward pass of an operation, on a recording tape.
    package func record(_ backward: @escaping () -> Void) {
        if isRecording { steps.append(backward) }
    }

    /// Runs the backward passes from last to first. Gradients of the last outputs must be there already (the loss
    /// operation puts them there).
    package func runBackward() {
        while let step = steps.popLast() { step() }
    }
}
