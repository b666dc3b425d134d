import CKernels
import Glibc
import TensorCore

/// Cosines and sines of rotary position embedding, for as many positions as have been asked for.
package final class RotaryTable {
    /// [positions, headSize / 2], F32.
    package private(set) var cosine: Tensor
    /// [positions, headSize / 2], F32.
    package private(set) var sine: Tensor

    private let inverseFrequencies: [Float]
    private let context: ComputeContext

    /// A table without positions for `inverseFrequencies` (radians a position, headSize / 2 of them).
    package init(inverseFrequencies: [Float], _ context: ComputeContext) {
        self.inverseFrequencies = inverseFrequencies
        self.context = context
        cosine = context.tensor([0, inverseFrequencies.count], .f32)
        sine = context.tensor([0, inverseFrequencies.count], .f32)
    }

    /// Makes sure that the table has the positions 0..<count; it at least doubles when it grows.
    ///
    /// Angles are products in F32, as transformers computes them.
    package func reserve(positions count: Int) {
        guard count > cosine.rows else { return }
        let rows = max(count, 2 * cosine.rows, 256)
        let width = inverseFrequencies.count
        cosine = context.tensor([rows, width], .f32)
        sine = context.tensor([rows, width], .f32)
        for position in 0..<rows {
            for (index, frequency) in inverseFrequencies.enumerated() {
                let angle = Float(position) * frequency
                cosine.floats[position * width + index] = Float(cos(Double(angle)))
                sine.floats[position * width + index] = Float(sin(Double(angle)))
            }
        }
    }
}

extension Tape {
    /// Each head of x [tokens, heads * headSize] rotated by its token's position (Su et al., "RoFormer", arXiv
    /// 2104.09864; halves rotated against each other, the Hugging Face layout); of x's type.
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
        positions.withUnsafeBufferPointer { positions in
            parallel(x.rows, grain: 8) { rows in
                var rotation = tspeft_rotation(
                    positions: positions.baseAddress! + rows.lowerBound, cosine: table.cosine.floats,
                    sine: table.sine.floats, direction: direction, heads: x.columns / headSize, head_size: headSize)
                tspeft_rope(
                    tspeft_matrix(data: x.place(rows.lowerBound), stride: x.rowStride),
                    tspeft_matrix(data: target.place(rows.lowerBound), stride: target.rowStride), x.dtype.kernelCode,
                    &rotation, rows.count)
            }
        }
    }
}
