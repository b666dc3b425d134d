import CKernels
import TensorCore

extension Tape {
    /// silu(gate) * up, elementwise, silu(z) = z / (1 + exp(-z)); all [tokens, width] in the computation's type.
    package func siluProduct(gate: Variable, up: Variable) -> Variable {
        let context = context
        let needsGradient = gate.needsGradient || up.needsGradient
        let out = Variable(context.tensor(gate.value.shape), needsGradient: needsGradient)
        let code = out.value.dtype.kernelCode
        let size = out.value.dtype.byteCount
        context.parallel(out.value.count, grain: 4096) { range in
            let offset = range.lowerBound * size
            tspeft_silu_mul_forward(
                gate.value.address + offset, up.value.address + offset, out.value.address + offset, code, range.count)
        }
        guard needsGradient else { return out }
        record {
            guard let dout = out.takeGradient() else { return }
            gate.addGradient(context) { dgate, gateAccumulates in
                up.addGradient(context) { dup, upAccumulates in
                    precondition(!gateAccumulates && !upAccumulates, "gate and up feed this product alone")
                    context.parallel(dout.count, grain: 4096) { range in
                        let offset = range.lowerBound * size
                        tspeft_silu_mul_backward(
                            gate.value.address + offset, up.value.address + offset, dout.address + offset,
                            dgate.address + offset, dup.address + offset, code, range.count)
                    }
                }
            }
        }
        return out
    }

    /// The residual stream x [tokens, width] F32 plus a layer's contribution y in the computation's type: F32.
    package func residual(_ x: Variable, plus y: Variable) -> Variable {
        let context = context
        let needsGradient = x.needsGradient || y.needsGradient
        let out = Variable(context.tensor(x.value.shape, .f32), needsGradient: needsGradient)
        let code = y.value.dtype.kernelCode
        let size = y.value.dtype.byteCount
        context.parallel(out.value.count, grain: 4096) { range in
            let target = out.value.floats + range.lowerBound
            target.update(from: x.value.floats + range.lowerBound, count: range.count)
            tspeft_add(target, y.value.address + range.lowerBound * size, code, range.count)
        }
        guard needsGradient else { return out }
        record {
            guard let dout = out.takeGradient() else { return }
            if y.needsGradient {
                y.addGradient(context) { dy, accumulates in
                    precondition(!accumulates, "a layer's contribution is added to the stream once")
                    context.convert(dout, into: dy)
                }
            }
            guard x.needsGradient else { return }
            if x.gradient == nil {
                x.adoptGradient(dout)
            } else {
                x.addGradient(context) { dx, _ in context.add(dout, to: dx) }
            }
        }
        return out
    }
}

extension ComputeContext {
    /// The rows of target from `row` on = source, converted between F32 and BF16 (to nearest, ties to even).
    package func convert(_ source: Tensor, into target: Tensor, at row: Int = 0) {
        precondition(source.columns == target.columns && row + source.rows <= target.rows)
        let start = target.address + row * target.rowByteCount
        parallel(source.count, grain: 8192) { range in
            tspeft_convert(
                source.address + range.lowerBound * source.dtype.byteCount, source.dtype.kernelCode,
                start + range.lowerBound * target.dtype.byteCount, target.dtype.kernelCode, range.count)
        }
    }

    /// target += source; target F32, source F32 or BF16.
    package func add(_ source: Tensor, to target: Tensor) {
        precondition(source.count == target.count)
        parallel(source.count, grain: 8192) { range in
            tspeft_add(
                target.floats + range.lowerBound, source.address + range.lowerBound * source.dtype.byteCount,
                source.dtype.kernelCode, range.count)
        }
    }

    /// The Euclidean norm of each row, [rows] F32.
    package func rowNorms(_ x: Tensor) -> Tensor {
        let norms = tensor([x.rows], .f32)
        parallel(x.rows, grain: 16) { rows in
            tspeft_row_norms(
                x.address + rows.lowerBound * x.rowByteCount, x.dtype.kernelCode, norms.floats + rows.lowerBound,
                rows.count, x.columns)
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
                tspeft_gather_rows(
                    x.address, indices.baseAddress! + range.lowerBound,
                    rows.address + range.lowerBound * rows.rowByteCount, range.count, rows.rowByteCount)
            }
        }
        return rows
    }

    /// target[indices[i]] += source[i] for each row; no index twice; equal types.
    package func scatterAddRows(_ source: Tensor, _ indices: [Int32], to target: Tensor) {
        precondition(source.dtype == target.dtype && source.columns == target.columns && source.rows == indices.count)
        indices.withUnsafeBufferPointer { indices in
            parallel(indices.count, grain: 16) { range in
                tspeft_scatter_add_rows(
                    source.address + range.lowerBound * source.rowByteCount, indices.baseAddress! + range.lowerBound,
                    target.address, target.dtype.kernelCode, range.count, source.columns)
            }
        }
    }

    /// Inverted dropout of `source` into `target` (which may be the same tensor); see `tspeft_dropout`. The same key
    /// gives the same mask, so the call on a gradient is the backward pass.
    package func dropout(_ source: Tensor, into target: Tensor, key: UInt64, rate: Float) {
        precondition(source.dtype == target.dtype && source.count == target.count)
        let size = source.dtype.byteCount
        parallel(source.count, grain: 8192) { range in
            tspeft_dropout(
                source.address + range.lowerBound * size, target.address + range.lowerBound * size,
                source.dtype.kernelCode, range.count, UInt64(range.lowerBound), key, rate)
        }
    }
}
