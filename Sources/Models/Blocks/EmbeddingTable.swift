import CheckpointIO
import Compute
import TensorCore

/// The frozen embedding of tokens, read from the checkpoint row by row.
struct EmbeddingTable {
    private let checkpoint: ModelCheckpoint
    private let name: String
    private let configuration: ModelConfiguration
    private let context: ComputeContext

    /// The table of a module.
    init(_ weights: WeightLoader, _ module: String) {
        checkpoint = weights.checkpoint
        name = weights.name(of: CheckpointNames.weight(of: module))
        configuration = weights.configuration
        context = weights.context
    }

    /// The checkpoint's path, for errors.
    var path: String { checkpoint.checkpoint.path }

    /// Throws `ModelError.tokenBeyondEmbedding` for a token that has no row.
    func check(_ tokens: [Int32]) throws(ModelError) {
        guard let token = tokens.first(where: { !(0..<configuration.vocabularySize).contains(Int($0)) }) else { return }
        throw .tokenBeyondEmbedding(
            file: checkpoint.checkpoint.path, token: Int(token), rows: configuration.vocabularySize)
    }

    /// The embeddings of the tokens, [tokens, hiddenSize] F32, rounded as weights are.
    func rows(_ tokens: [Int32]) throws -> Tensor {
        let width = configuration.hiddenSize
        let rows = context.tensor([tokens.count, width], .f32)
        for (index, token) in tokens.enumerated() {
            try checkpoint.readFloats(
                name, rows: Int(token)..<Int(token) + 1,
                into: UnsafeMutableBufferPointer(start: rows.floats + index * width, count: width))
        }
        if context.weightType != .f32 {
            let rounded = context.tensor(rows.shape, context.weightType)
            context.convert(rows, into: rounded)
            context.convert(rounded, into: rows)
        }
        return rows
    }
}
