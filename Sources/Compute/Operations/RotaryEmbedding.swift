import CKernels
import Glibc
import TensorCore

/// Cosines and sines of rotary position embedding for every position of a model.
package struct RotaryTable {
    /// [positions, headSize / 2], F32.
    package let cosine: Tensor
    /// [positions, headSize / 2], F32.
    package let sine: Tensor

    /// The table for `inverseFrequencies` (radians a position, headSize / 2 of them) and positions 0..<count.
    ///
    /// Angles are products in F32, as transformers computes them.
    package init(inverseFrequencies: [Float], positions count: Int, _ context: ComputeContext) {
        cosine = context.tensor([count, inverseFrequencies.count], .f32)
        sine = context.tensor([count, inverseFrequencies.count], .f32)
        for position in 0..<count {
            for (index, frequency) in inverseFrequencies.enumerated() {
                let angle = Float(position) * frequency
                cosine.floats[position * inverseFrequencies.count + index] = Float(cos(Double(angle)))
                sine.floats[position * inverseFrequencies.count + index] = Float(sin(Double(angle)))
            }
        }
    }
}

extension Tape {
    /// Rotates each head of x [tokens, heads * headSize] by its token's position, in place (Su et al., "RoFormer", arXiv 2104.09864;
    /// halves rotated against each other, the Hugging Face layout). The operation that made x must not need its value for its own
    /// backward pass.
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
