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
    /// Rotates each head of x [tokens, heads * headSize] by its token's position, in place (Su et al., "RoFormer",
    /// arXiv 2104.09864; halves rotated against each other, the Hugging Face layout). The operation that made x must
    /// not need its value for its own backward pass.
    ///
    /// Backward: the gradient is rotated back, in place.
    package func rotate(_ x: Variable, _ table: RotaryTable, positions: [Int32], headSize: Int) {
        let context = context
        context.rotate(x.value, table, positions: positions, headSize: headSize, direction: 1)
        record {
            guard let gradient = x.gradient else { return }
            context.rotate(gradient, table, positions: positions, headSize: headSize, direction: -1)
        }
    }
}

extension ComputeContext {
    fileprivate func rotate(
        _ x: Tensor, _ table: RotaryTable, positions: [Int32], headSize: Int, direction: Int32
    ) {
        precondition(positions.count == x.rows && x.columns % headSize == 0)
        table.reserve(positions: Int(positions.max() ?? -1) + 1)
        positions.withUnsafeBufferPointer { positions in
            parallel(x.rows, grain: 8) { rows in
                tspeft_rope(
                    x.address + rows.lowerBound * x.rowByteCount, x.dtype.kernelCode, x.columns,
                    positions.baseAddress! + rows.lowerBound, table.cosine.floats, table.sine.floats, direction,
                    rows.count, x.columns / headSize, headSize)
            }
        }
    }
}
