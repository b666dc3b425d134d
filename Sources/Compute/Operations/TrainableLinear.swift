import TensorCore

extension Tape {
    /// y = x W' + b for x [rows, inputSize] F32, W [outputSize, inputSize] and b [outputSize], in F32 throughout: a layer
    /// of a head, of few rows. Weight and bias are trained where they collect gradients.
    ///
    /// Backward: dx += dy W, dW += dy' x, db += the sum of dy's rows.
    package func linear(_ x: Variable, weight: TrainableWeight, bias: TrainableWeight?) -> Variable {
        let context = context
        let (products, value, matrix) = (context.products, x.value, weight.value)
        precondition(value.dtype == .f32 && value.columns == matrix.columns)
        precondition(bias.map { $0.value.count == matrix.rows } ?? true)
        let trained = isRecording ? [weight, bias].compactMap { $0 }.filter(\.collectsGradient) : []
        let needsGradient = x.needsGradient || !trained.isEmpty
        let y = Variable(context.tensor([value.rows, matrix.rows], .f32), needsGradient: needsGradient)
        let (rows, width, outputs) = (value.rows, matrix.columns, matrix.rows)
        products.multiply(
            value, matrix, bias: bias?.value, into: y.value,
            MatrixProducts.Form(m: rows, n: outputs, k: width, right: .transposed))
        guard needsGradient else { return y }
        let (xSum, ySum) = (x.needsGradient ? x.gradientSum : nil, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            xSum?.add(context) { dx, accumulates in
                products.multiply(
                    dy, matrix, into: dx,
                    MatrixProducts.Form(m: rows, n: width, k: outputs, accumulates: accumulates))
            }
            if weight.collectsGradient {
                products.multiply(
                    dy, value, into: weight.gradient,
                    MatrixProducts.Form(m: outputs, n: width, k: rows, left: .transposed, accumulates: true))
            }
            if let bias, bias.collectsGradient { context.addRowSum(of: dy, to: bias.gradient) }
        }
        return y
    }
}
