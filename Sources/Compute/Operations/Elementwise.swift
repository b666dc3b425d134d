import CKernels
import TensorCore

/// The non-linearity of a feed-forward network's gate.
package enum GateActivation: Sendable {
    /// z / (1 + exp(-z)).
    case silu
    /// z / (1 + exp(-2 sqrt(2/pi) (z + 0.044715 z^3))), the form with tanh (Hendrycks and Gimpel, arXiv 1606.08415).
    case geluTanh
    /// 1 / (1 + exp(-z)).
    case sigmoid

    fileprivate typealias Forward = (
        UnsafeRawPointer?, UnsafeRawPointer?, UnsafeMutableRawPointer?, Int32, Int
    ) -> Void
    fileprivate typealias Backward = (
        UnsafeRawPointer?, UnsafeRawPointer?, UnsafeRawPointer?, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?,
        Int32, Int
    ) -> Void

    fileprivate var kernels: (forward: Forward, backward: Backward) {
        switch self {
        case .silu: (tspeft_silu_mul_forward, tspeft_silu_mul_backward)
        case .geluTanh: (tspeft_gelu_mul_forward, tspeft_gelu_mul_backward)
        case .sigmoid: (tspeft_sigmoid_mul_forward, tspeft_sigmoid_mul_backward)
        }
    }
}

extension Tape {
    /// f(gate) * up, elementwise; all [tokens, width] of one type.
    ///
    /// Backward: dgate += dout up f'(gate), dup += dout f(gate).
    package func gatedProduct(_ activation: GateActivation, gate: Variable, up: Variable) -> Variable {
        let context = context
        let (gateValue, upValue) = (gate.value, up.value)
        precondition(gateValue.shape == upValue.shape && gateValue.dtype == upValue.dtype)
        let needsGradient = gate.needsGradient || up.needsGradient
        let out = Variable(context.tensor(gateValue.shape, gateValue.dtype), needsGradient: needsGradient)
        let code = gateValue.dtype.kernelCode
        let outValue = out.value
        let (forward, backward) = activation.kernels
        context.parallelRuns(gateValue, upValue, outValue, grain: 4096) { row, column, count in
            forward(gateValue.place(row, column), upValue.place(row, column), outValue.place(row, column), code, count)
        }
        guard needsGradient else { return out }
        let outSum = out.gradientSum
        let gateSum = gate.needsGradient ? gate.gradientSum : nil
        let upSum = up.needsGradient ? up.gradientSum : nil
        record {
            guard let dout = outSum.take() else { return }
            let dgate = context.tensor(dout.shape, dout.dtype)
            let dup = context.tensor(dout.shape, dout.dtype)
            context.parallelRuns(gateValue, upValue, dout, grain: 4096) { row, column, count in
                backward(
                    gateValue.place(row, column), upValue.place(row, column), dout.place(row, column),
                    dgate.place(row, column), dup.place(row, column), code, count)
            }
            gateSum?.add(context, giving: dgate)
            upSum?.add(context, giving: dup)
        }
        return out
    }

    /// `gatedProduct` with silu.
    package func siluProduct(gate: Variable, up: Variable) -> Variable { gatedProduct(.silu, gate: gate, up: up) }

    /// factor x, of x's shape and type.
    ///
    /// Backward: dx += factor dy.
    package func scaled(_ x: Variable, by factor: Float) -> Variable {
        let context = context
        let y = Variable(context.scaled(x.value, by: factor), needsGradient: x.needsGradient)
        guard x.needsGradient else { return y }
        let (xSum, ySum) = (x.gradientSum, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            xSum.add(context, giving: context.scaled(dy, by: factor))
        }
        return y
    }

    /// x [tokens, width] in the computation's type, which projections read.
    ///
    /// Backward: dx += dy.
    package func inComputationType(_ x: Variable) -> Variable {
        let context = context
        guard x.value.dtype != context.dtype else { return x }
        let y = Variable(context.tensor(x.value.shape), needsGradient: x.needsGradient)
        context.convert(x.value, into: y.value)
        guard x.needsGradient else { return y }
        let (xSum, ySum) = (x.gradientSum, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            xSum.add(context, copying: dy)
        }
        return y
    }

    /// The residual stream x plus a layer's contribution y, both [tokens, width] in either type: F32.
    ///
    /// Backward: dx += dout, dy += dout.
    package func residual(_ x: Variable, plus y: Variable) -> Variable {
        let context = context
        let (xValue, yValue) = (x.value, y.value)
        precondition(xValue.shape == yValue.shape)
        let out = Variable(
            context.tensor(xValue.shape, .f32), needsGradient: x.needsGradient || y.needsGradient)
        let outValue = out.value
        context.parallelRuns(xValue, yValue, outValue, grain: 4096) { row, column, count in
            let target = outValue.place(row, column)
            if xValue.dtype == .f32 {
                target.copyMemory(from: xValue.place(row, column), byteCount: 4 * count)
            } else {
                tspeft_convert(
                    xValue.place(row, column), xValue.dtype.kernelCode, target, DType.f32.kernelCode, count)
            }
            tspeft_add(
                target, DType.f32.kernelCode, yValue.place(row, column), yValue.dtype.kernelCode, count)
        }
        guard out.needsGradient else { return out }
        let outSum = out.gradientSum
        let xSum = x.needsGradient ? x.gradientSum : nil
        let ySum = y.needsGradient ? y.gradientSum : nil
        record {
            guard let dout = outSum.take() else { return }
            ySum?.add(context, copying: dout)
            xSum?.add(context, giving: dout)
        }
        return out
    }
}

extension ComputeContext {
    /// The rows of target from `row` on = source, converted between F32 and BF16 (to nearest, ties to even).
    package func convert(_ source: Tensor, into target: Tensor, at row: Int = 0) {
        precondition(source.columns == target.columns && row + source.rows <= target.rows)
        let target = row == 0 && source.rows == target.rows ? target : target.rows(row..<row + source.rows)
        parallelRuns(source, target, grain: 8192) { row, column, count in
            tspeft_convert(
                source.place(row, column), source.dtype.kernelCode, target.place(row, column),
                target.dtype.kernelCode, count)
        }
    }

    /// target += source; both F32 or BF16, a BF16 sum rounded to nearest.
    package func add(_ source: Tensor, to target: Tensor) {
        precondition(source.count == target.count)
        parallelRuns(source, target, grain: 8192) { row, column, count in
            tspeft_add(
                target.place(row, column), target.dtype.kernelCode, source.place(row, column),
                source.dtype.kernelCode, count)
        }
    }

    /// factor x, of x's shape and type.
    package func scaled(_ x: Tensor, by factor: Float) -> Tensor {
        let out = tensor(x.shape, x.dtype)
        parallelRuns(x, out, grain: 8192) { row, column, count in
            tspeft_scale(x.place(row, column), out.place(row, column), x.dtype.kernelCode, factor, count)
        }
        return out
    }

    /// The Euclidean norm of each row, [rows] F32.
    package func rowNorms(_ x: Tensor) -> Tensor {
        let norms = tensor([x.rows], .f32)
        parallelRows(x, grain: 16) { first, count in
            tspeft_row_norms(x.place(first), x.dtype.kernelCode, norms.floats + first, count, x.columns)
        }
        return norms
    }

    /// The inner product of each row of a with the same row of b, both [rows, width] F32; [rows] F32.
    package func rowDots(_ a: Tensor, _ b: Tensor) -> Tensor {
        precondition(a.shape == b.shape)
        let dots = tensor([a.rows], .f32)
        parallel(a.rows, grain: 64) { rows in
            tspeft_row_dots(
                a.floats + rows.lowerBound * a.columns, b.floats + rows.lowerBound * b.columns,
                dots.floats + rows.lowerBound, rows.count, a.columns)
        }
        return dots
    }

    /// The rows of x that `indices` name, in their order: [indices.count, width].
    package func gatherRows(_ x: Tensor, _ indices: [Int32]) -> Tensor {
        let rows = tensor([indices.count, x.columns], x.dtype)
        indices.withUnsafeBufferPointer { indices in
            parallel(indices.count, grain: 16) { range in
                let target = rows.place(range.lowerBound)
                if x.isContiguous {
                    tspeft_gather_rows(
                        x.address, indices.baseAddress! + range.lowerBound, target, range.count, rows.rowByteCount)
                } else {
                    for index in range {
                        rows.place(index).copyMemory(from: x.place(Int(indices[index])), byteCount: rows.rowByteCount)
                    }
                }
            }
        }
        return rows
    }

    /// target[indices[i]] += source[i] for each row; no index twice; equal types.
    package func scatterAddRows(_ source: Tensor, _ indices: [Int32], to target: Tensor) {
        precondition(source.dtype == target.dtype && source.columns == target.columns && source.rows == indices.count)
        guard source.isContiguous, target.isContiguous else {
            return addEachRow(of: source, to: target) { Int(indices[$0]) }
        }
        indices.withUnsafeBufferPointer { indices in
            parallel(indices.count, grain: 16) { range in
                tspeft_scatter_add_rows(
                    source.place(range.lowerBound), indices.baseAddress! + range.lowerBound, target.address,
                    target.dtype.kernelCode, range.count, source.columns)
            }
        }
    }

    /// Row `targetRow` of target += row `row` of source, of equal width; both F32 or BF16. On the calling thread.
    func addRow(_ source: Tensor, _ row: Int, to target: Tensor, _ targetRow: Int) {
        tspeft_add(
            target.place(targetRow), target.dtype.kernelCode, source.place(row), source.dtype.kernelCode,
            source.columns)
    }

    private func addEachRow(of source: Tensor, to target: Tensor, _ targetRow: (Int) -> Int) {
        parallel(source.rows, grain: 16) { range in
            for row in range { addRow(source, row, to: target, targetRow(row)) }
        }
    }

    /// Inverted dropout of `source` into `target` (which may be the same tensor); see `tspeft_dropout`. The same key
    /// gives the same mask, so the call on a gradient is the backward pass.
    package func dropout(_ source: Tensor, into target: Tensor, key: UInt64, rate: Float) {
        precondition(source.dtype == target.dtype && source.count == target.count)
        parallelRuns(source, target, grain: 8192) { row, column, count in
            tspeft_dropout(
                source.place(row, column), target.place(row, column), source.dtype.kernelCode, count,
                UInt64(row * source.columns + column), key, rate)
        }
    }
}
