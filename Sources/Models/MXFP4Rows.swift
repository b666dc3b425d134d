import CheckpointIO
import TensorCore

/// A projection of packed experts as published gpt-oss checkpoints hold it, in MXFP4 (Open Compute Project, "OCP
/// Microscaling Formats (MX) Specification", 2023): `NAME_blocks` [experts, rows, blocks, 16], U8, two numbers of four bits a byte,
/// the lower half first, and `NAME_scales` [experts, rows, blocks], U8, e for the factor 2^(e - 127) on a block of 32. A row is
/// one output's.
struct MXFP4Rows {
    static let method = "mxfp4"
    static let blocksSuffix = "_blocks"
    static let scalesSuffix = "_scales"
    /// Numbers of a block, and bytes that hold them.
    static let (blockSize, blockBytes) = (32, 16)

    /// E2M1: a sign, two bits of exponent, one of mantissa.
    private static let values: [Float] = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
    private static let bias = 127

    private let checkpoint: Checkpoint
    private let blocks: TensorRecord
    private let scales: TensorRecord
    /// Outputs and inputs of one expert.
    var rowCount: Int { blocks.shape[1] }
    var width: Int { blocks.shape[2] * Self.blockSize }

    /// The projection `name` of a checkpoint whose shapes were checked; nil where that holds it as numbers.
    init?(_ model: ModelCheckpoint, _ name: String) {
        guard let blocks = model.record(of: name + Self.blocksSuffix),
            let scales = model.record(of: name + Self.scalesSuffix), blocks.shape.count == 4,
            blocks.encoding == .plain(.u8), scales.encoding == .plain(.u8)
        else { return nil }
        (checkpoint, self.blocks, self.scales) = (model.checkpoint, blocks, scales)
    }

    /// Decodes an expert's matrix, [rows, width]. Throws what reading the file does.
    func decode(_ expert: Int, into target: UnsafeMutablePointer<Float>) throws {
        let count = rowCount * blocks.shape[2]
        try checkpoint.withBytes(of: blocks) { pairs in
            try checkpoint.withBytes(of: scales) { exponents in
                for block in 0..<count {
                    let exponent = Int(exponents[expert * count + block]) - Self.bias
                    let factor = Float(sign: .plus, exponent: exponent, significand: 1)
                    let start = (expert * count + block) * Self.blockBytes
                    for place in 0..<Self.blockBytes {
                        let pair = pairs[start + place]
                        let first = target + block * Self.blockSize + 2 * place
                        first[0] = Self.values[Int(pair & 15)] * factor
                        first[1] = Self.values[Int(pair >> 4)] * factor
                    }
                }
            }
        }
    }
}
