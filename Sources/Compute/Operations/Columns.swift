import CKernels
import TensorCore

/// The non-linearity of a narrow layer.
package enum Activation: String, Sendable, CaseIterable {
    /// Hyperbolic tangent.
    case tanh
    /// max(x, 0).
    case relu
    /// x Phi(x) with the normal distribution's Phi, not its approximation by tanh.
    case gelu
    /// x / (1 + exp(-x)), also called swish.
    case silu

    fileprivate var kernelCode: Int32 {
        switch self {
        case .tanh: Int32(TSPEFT_TANH)
        case .relu: Int32(TSPEFT_RELU)
        case .gelu: Int32(TSPEFT_GELU)
        case .silu: Int32(TSPEFT_SILU)
        }
    }
}

extension ComputeContext {
    /// f(x), elementwise; [rows, width] F32.
    package func activate(_ x: Tensor, _ activation: Activation) -> Tensor {
        let out = tensor(x.shape, .f32)
        parallel(x.count, grain: 1024) { range in
            tspeft_activate(
                activation.kernelCode, x.floats + range.lowerBound, out.floats + range.lowerBound, range.count)
        }
        return out
    }

    /// gradient * f'(x), elementwise; both [rows, width] F32.
    package func activationGradient(_ x: Tensor, _ activation: Activation, _ gradient: Tensor) -> Tensor {
        precondition(x.shape == gradient.shape)
        let out = tensor(x.shape, .f32)
        parallel(x.count, grain: 1024) { range in
            tspeft_activate_backward(
                activation.kernelCode, x.floats + range.lowerBound, gradient.floats + range.lowerBound,
                out.floats + range.lowerBound, range.count)
        }
        return out
    }

    /// x_i += factor * values for each row; x [rows, width] in either type, values [width] F32.
    package func addToRows(_ values: Tensor, of x: Tensor, factor: Float = 1) {
        precondition(values.count == x.columns)
        parallelRows(x, grain: 16) { first, count in
            tspeft_add_to_rows(x.place(first), x.dtype.kernelCode, values.floats, factor, count, x.columns)
        }
    }

    /// target_ij += factors_j source_ij; equal shapes and types, factors [width] F32.
    package func addScaledColumns(_ source: Tensor, _ factors: Tensor, to target: Tensor) {
        precondition(source.shape == target.shape && source.dtype == target.dtype && factors.count == source.columns)
        parallelRows(source, target, grain: 16) { first, count in
            tspeft_add_scaled_columns(
                target.place(first), source.place(first), factors.floats, source.dtype.kernelCode, count,
                source.columns)
        }
    }

    /// x_ij *= 1 + excess_j for the rows that `rows` names, or all; excess [width] F32.
    package func scaleColumns(of x: Tensor, rows: [Int32]?, by excess: Tensor) {
        guard let rows else { return addScaledColumns(x, excess, to: x) }
        precondition(excess.count == x.columns)
        rows.withUnsafeBufferPointer { rows in
            parallel(rows.count, grain: 16) { range in
                for row in rows[range] {
                    let place = x.place(Int(row))
                    tspeft_add_scaled_columns(place, place, excess.floats, x.dtype.kernelCode, 1, x.columns)
                }
            }
        }
    }

    /// sum_j weights_j a_ij b_ij of each row, [rows] F32; a and b of one type, weights [width] F32.
    package func weightedRowDots(_ a: Tensor, _ b: Tensor, _ weights: Tensor) -> Tensor {
        precondition(a.shape == b.shape && a.dtype == b.dtype && weights.count == a.columns)
        let dots = tensor([a.rows], .f32)
        parallelRows(a, b, grain: 16) { first, count in
            tspeft_weighted_row_dots(
                a.place(first), b.place(first), weights.floats, a.dtype.kernelCode, dots.floats + first, count,
                a.columns)
        }
        return dots
    }

    /// sum_i a_ij b_ij of each column, [width] F32; a and b of one type.
    package func columnDots(_ a: Tensor, _ b: Tensor) -> Tensor {
        precondition(a.shape == b.shape && a.dtype == b.dtype)
        let sums = tensor([a.columns], .f32)
        parallel(a.columns, grain: 64) { columns in
            tspeft_column_dots(
                a.address, b.address, a.dtype.kernelCode, sums.floats, a.rows, a.columns, columns.lowerBound,
                columns.upperBound)
        }
        return sums
    }

    /// target_j += sum_i x_ij; both F32, for narrow x.
    package func addRowSum(of x: Tensor, to target: Tensor) {
        precondition(target.count == x.columns)
        for column in 0..<x.columns {
            var sum = 0.0
            for row in 0..<x.rows { sum += Double(x.floats[row * x.columns + column]) }
            target.floats[column] += Float(sum)
        }
        withExtendedLifetime((x, target)) {}
    }

    /// x with a further column of ones; [rows, width + 1] F32.
    package func appendingOnes(_ x: Tensor) -> Tensor {
        let (width, out) = (x.columns, tensor([x.rows, x.columns + 1], .f32))
        for row in 0..<x.rows {
            (out.floats + row * (width + 1)).update(from: x.floats + row * width, count: width)
            out.floats[row * (width + 1) + width] = 1
        }
        return withExtendedLifetime(x) { out }
    }

    /// The first `count` columns of x; [rows, count] F32.
    package func firstColumns(_ count: Int, of x: Tensor) -> Tensor {
        precondition(count <= x.columns)
        let out = tensor([x.rows, count], .f32)
        for row in 0..<x.rows {
            (out.floats + row * count).update(from: x.floats + row * x.columns, count: count)
        }
        return withExtendedLifetime(x) { out }
    }

    /// target = source; equal shapes and types.
    package func copy(_ source: Tensor, into target: Tensor) {
        precondition(source.shape == target.shape && source.dtype == target.dtype)
        parallelRows(source, target, grain: 16) { first, count in
            target.place(first).copyMemory(from: source.place(first), byteCount: count * source.rowByteCount)
        }
    }

    /// target += source; equal shapes and types.
    package func addRows(_ source: Tensor, to target: Tensor) {
        precondition(source.shape == target.shape && source.dtype == target.dtype)
        add(source, to: target)
    }

    /// Dropout of rows that were gathered from a larger tensor: row i of `source` gets the mask that row `rows[i]` of
    /// the whole would get from `dropout`.
    package func dropoutRows(_ source: Tensor, _ rows: [Int32], into target: Tensor, key: UInt64, rate: Float) {
        precondition(source.shape == target.shape && source.dtype == target.dtype && rows.count == source.rows)
        let width = source.columns
        parallel(rows.count, grain: 16) { range in
            for row in range {
                tspeft_dropout(
                    source.place(row), target.place(row), source.dtype.kernelCode, width,
                    UInt64(rows[row]) * UInt64(width), key, rate)
            }
        }
    }
}
