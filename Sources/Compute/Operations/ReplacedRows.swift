import Glibc
import TensorCore

extension Tape {
    /// x [rows, width] with the rows that `rows` names, each once, taken from `parts` [rows.count, width] in order; both
    /// F32.
    ///
    /// Backward: dparts_i += dout of the row `rows[i]`; dx += dout without these rows.
    package func replacingRows(_ rows: [Int32], of x: Variable, by parts: Variable) -> Variable {
        let context = context
        precondition(x.value.dtype == .f32 && parts.value.dtype == .f32)
        precondition(x.value.columns == parts.value.columns && parts.value.rows == rows.count)
        let needsGradient = x.needsGradient || parts.needsGradient
        let out = Variable(context.tensor(x.value.shape, .f32), needsGradient: needsGradient)
        context.copy(x.value, into: out.value)
        let width = x.value.rowByteCount
        for (place, row) in rows.enumerated() {
            out.value.place(Int(row)).copyMemory(from: parts.value.place(place), byteCount: width)
        }
        guard needsGradient else { return out }
        let outSum = out.gradientSum
        let partsSum = parts.needsGradient ? parts.gradientSum : nil
        let xSum = x.needsGradient ? x.gradientSum : nil
        record {
            guard let dout = outSum.take() else { return }
            partsSum?.add(context, giving: context.gatherRows(dout, rows))
            guard let xSum else { return }
            for row in rows { memset(dout.place(Int(row)), 0, width) }
            xSum.add(context, giving: dout)
        }
        return out
    }
}
