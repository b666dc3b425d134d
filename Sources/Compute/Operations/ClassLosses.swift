import CKernels
import TensorCore

extension Tape {
    /// Softmax cross entropy of rows of logits [rows, classes] F32: -log of the probability of each row's target. On a
    /// recording tape the backward pass begins with the gradient of scale * (sum of losses): scale (softmax - onehot).
    package func crossEntropy(of logits: Variable, targets: [Int32], scale: Float = 1) -> RowLosses {
        let (context, value) = (context, logits.value)
        precondition(value.dtype == .f32 && targets.count == value.rows)
        precondition(targets.allSatisfy { (0..<Int32(value.columns)).contains($0) }, "targets are classes")
        var losses = [Float](repeating: 0, count: targets.count)
        let gradient = context.tensor(value.shape, .f32)
        tspeft_cross_entropy(
            value.floats, targets, scale, gradient.address, DType.f32.kernelCode, &losses, value.rows, value.columns)
        withExtendedLifetime(value) {}
        begin(logits, gradient)
        return RowLosses(values: losses)
    }

    /// The squared error (z - target)^2 of each row of z [rows, 1] F32. On a recording tape the backward pass begins with
    /// the gradient of scale * (sum of losses): 2 scale (z - target).
    package func squaredErrors(of values: Variable, targets: [Float], scale: Float = 1) -> RowLosses {
        let (context, value) = (context, values.value)
        precondition(value.dtype == .f32 && value.columns == 1 && targets.count == value.rows)
        let gradient = context.tensor(value.shape, .f32)
        let losses = targets.indices.map { row in
            let off = value.floats[row] - targets[row]
            gradient.floats[row] = 2 * scale * off
            return off * off
        }
        begin(values, gradient)
        return RowLosses(values: losses)
    }

    /// Begins the backward pass with the gradient of `output`.
    private func begin(_ output: Variable, _ gradient: Tensor) {
        guard isRecording, output.needsGradient else { return }
        let (context, sum) = (context, output.gradientSum)
        record { sum.add(context, giving: gradient) }
    }
}
