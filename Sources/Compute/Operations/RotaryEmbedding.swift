import CKernels
import Glibc
import TensorCore

/// How the elements of heads turn, besides the angles.
package struct RotaryForm: Sendable {
    /// What cosines and sines are multiplied by.
    package var factor: Float
    /// Whether elements 2i and 2i + 1 turn together; else i and i + half do, the Hugging Face layout.
    package var isInPairs: Bool
    /// What the cosines and sines of a position are multiplied by besides.
    package var positionFactor: (@Sendable (Int) -> Float)?

    /// Halves turned without a factor, unless told otherwise.
    package init(
        factor: Float = 1, isInPairs: Bool = false, positionFactor: (@Sendable (Int) -> Float)? = nil
    ) {
        (self.factor, self.isInPairs, self.positionFactor) = (factor, isInPairs, positionFactor)
    }
}

/// Cosines and sines of rotary position embedding, for as many positions as have been asked for.
package final class RotaryTable {
    /// [positions, turned / 2], F32.
    package private(set) var cosine: Tensor
    /// [positions, turned / 2], F32.
    package private(set) var sine: Tensor
    /// How heads turn.
    package let form: RotaryForm

    /// Radians a position; those of a pass over so many positions where they depend on the length.
    private let frequencies: (_ positions: Int) -> [Float]
    private let dependsOnLength: Bool
    private var current: [Float]
    /// The positions of the pass that `current` is of.
    private var length = 0
    private let context: ComputeContext

    /// Elements of a head that turn, from its first; the others stay.
    package var turned: Int { 2 * current.count }

    /// A table without positions for `inverseFrequencies` (radians a position, half as many as elements turn).
    package init(inverseFrequencies: [Float], _ context: ComputeContext, form: RotaryForm = RotaryForm()) {
        self.context = context
        self.form = form
        frequencies = { _ in inverseFrequencies }
        dependsOnLength = false
        current = inverseFrequencies
        (cosine, sine) = Self.room(0, inverseFrequencies.count, context)
    }

    /// A table for frequencies that depend on how many positions a pass goes over: its last one and all before it. The
    /// count of frequencies is always the same.
    package init(
        _ context: ComputeContext, form: RotaryForm = RotaryForm(), frequencies: @escaping (Int) -> [Float]
    ) {
        self.context = context
        self.form = form
        self.frequencies = frequencies
        dependsOnLength = true
        current = frequencies(1)
        (cosine, sine) = Self.room(0, current.count, context)
    }

    private static func room(_ rows: Int, _ width: Int, _ context: ComputeContext) -> (Tensor, Tensor) {
        (context.tensor([rows, width], .f32), context.tensor([rows, width], .f32))
    }

    /// Makes sure that the table has the positions 0..<count for a pass that goes to the last of them; it at least
    /// doubles when it grows.
    ///
    /// Angles are products in F32, as transformers computes them.
    package func reserve(positions count: Int) {
        if dependsOnLength, count != length {
            let wanted = frequencies(count)
            if wanted != current {
                current = wanted
                (cosine, sine) = Self.room(0, wanted.count, context)
            }
            length = count
        }
        guard count > cosine.rows else { return }
        let rows = max(count, 2 * cosine.rows, 256)
        let width = current.count
        (cosine, sine) = Self.room(rows, width, context)
        for position in 0..<rows {
            let factor = form.factor * (form.positionFactor?(position) ?? 1)
            for (index, frequency) in current.enumerated() {
                let angle = Float(position) * frequency
                cosine.floats[position * width + index] = Float(cos(Double(angle))) * factor
                sine.floats[position * width + index] = Float(sin(Double(angle))) * factor
            }
        }
    }
}

extension Tape {
    /// Each head of x [tokens, heads * headSize] rotated by its token's position (Su et al., "RoFormer", arXiv
    /// 2104.09864), as far as the table says; of x's type.
    ///
    /// Backward: dx += the gradient rotated back.
    package func rotated(_ x: Variable, _ table: RotaryTable, positions: [Int32], headSize: Int) -> Variable {
        let context = context
        let y = Variable(context.tensor(x.value.shape, x.value.dtype), needsGradient: x.needsGradient)
        context.rotate(x.value, into: y.value, table, positions: positions, headSize: headSize, direction: 1)
        guard x.needsGradient else { return y }
        let (xSum, ySum) = (x.gradientSum, y.gradientSum)
        record {
            guard let dy = ySum.take() else { return }
            context.rotate(dy, into: dy, table, positions: positions, headSize: headSize, direction: -1)
            xSum.add(context, giving: dy)
        }
        return y
    }
}

extension ComputeContext {
    fileprivate func rotate(
        _ x: Tensor, into target: Tensor, _ table: RotaryTable, positions: [Int32], headSize: Int, direction: Int32
    ) {
        precondition(positions.count == x.rows && x.columns % headSize == 0)
        table.reserve(positions: Int(positions.max() ?? -1) + 1)
        precondition(table.turned <= headSize)
        positions.withUnsafeBufferPointer { positions in
            parallel(x.rows, grain: 8) { rows in
                var rotation = tspeft_rotation(
                    positions: positions.baseAddress! + rows.lowerBound, cosine: table.cosine.floats,
                    sine: table.sine.floats, direction: direction, heads: x.columns / headSize, head_size: headSize,
                    turned: table.turned, in_pairs: table.form.isInPairs ? 1 : 0)
                tspeft_rope(
                    tspeft_matrix(data: x.place(rows.lowerBound), stride: x.rowStride),
                    tspeft_matrix(data: target.place(rows.lowerBound), stride: target.rowStride), x.dtype.kernelCode,
                    &rotation, rows.count)
            }
        }
    }
}
