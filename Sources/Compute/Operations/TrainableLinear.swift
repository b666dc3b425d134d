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

extension Tape {
    /// y_ij = w_j x_ij for x [rows, width] F32 and w [width], in F32; w is trained where it collects gradients.
    ///
    /// Backward: dx_ij += w_j dy_ij, dw_j += sum_i x_ij dy_ij.
    package func columnsScaled(_ x: Variable, by weight: TrainableWeight) -> Variable {
        let (context, value) = (context, x.value)
        precondition(value.dtype == .f32 && weight.value.count == value.columns)
        let needsGradient = x.needsGradient || isRecording && weight.collectsGradient
        let y = Variable(context.scaledColumns(value, by: weight.value), needsGradient: needsGradient)
        guard needsGradient else { return y }
        let (xSum, ySum) = (x.needsGradient ? x.gradientSum : nil, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            if weight.collectsGradient { context.add(context.columnDots(value, dy), to: weight.gradient) }
            xSum?.add(context, giving: context.scaledColumns(dy, by: weight.value))
        }
        return y
    }
}

extension ComputeContext {
    fileprivate func scaledColumns(_ x: Tensor, by factors: Tensor) -> Tensor {
        let out = zeros(x.shape, .f32)
        addScaledColumns(x, factors, to: out)
        return out
    }
}
