import CheckpointIO
import Compute
import TensorCore

/// A decoder of text: the embedding of tokens, layers, a norm and an output head.
///
/// Owns its weights in the context's type; embeddings are read from the checkpoint row by row where they are frozen.
final class Decoder: Model {
    let configuration: ModelConfiguration
    let tensors: ModelTensors
    let context: ComputeContext
    let slots: [ProjectionSlot]
    private(set) var head: FrozenLinear
    private(set) var trainedHead: TrainableWeight?
    private(set) var trainedEmbedding: TrainableWeight?

    private let checkpoint: ModelCheckpoint
    private let embeddingName: String
    private let finalNorm: RMSNorm
    private let layers: [DecoderLayer]

    /// Loads what is outside the layers; `makeLayer` makes each layer of its weights.
    init(_ weights: WeightLoader, makeLayer: (LayerWeights) throws -> DecoderLayer) throws {
        checkpoint = weights.checkpoint
        context = weights.context
        configuration = weights.configuration
        tensors = checkpoint.specifications
        embeddingName = CheckpointNames.weight(of: ModulePart.embedding.path)
        finalNorm = try weights.norm(ModulePart.finalNorm.path)
        head = try weights.linear(
            configuration.tiedEmbeddings ? ModulePart.embedding.path : ModulePart.outputHead.path)
        layers = try (0..<configuration.layerCount).map { try makeLayer(weights.layer($0)) }
        slots = layers.flatMap(\.slots)
    }

    func train(_ module: TensorSpecification, _ weight: TrainableWeight) {
        precondition(weight.value.shape == module.shape)
        switch module.role {
        case .outputHead:
            trainedHead = weight
            head = FrozenLinear(weight: weight.rounded, bias: head.bias)
        case .embedding: trainedEmbedding = weight
        case .projection, .norm, .bias, .experts, .quantized, .other:
            preconditionFailure("'\(module.module)' cannot be trained whole")
        }
    }

    func makeCache(capacity: Int) -> KeyValueCache {
        KeyValueCache(
            capacity: capacity, layerCount: configuration.layerCount, width: configuration.keyValueSize, context)
    }

    func forward(
        _ tokens: [Int32], _ layout: TokenLayout, in pass: Pass, cache: KeyValueCache?
    ) throws -> Variable {
        precondition(tokens.count == layout.rowCount && !tokens.isEmpty)
        precondition(cache == nil || !pass.tape.isRecording, "a cache has no backward pass")
        if let token = tokens.first(where: { !(0..<configuration.vocabularySize).contains(Int($0)) }) {
            throw ModelError.tokenBeyondEmbedding(
                file: checkpoint.checkpoint.path, token: Int(token), rows: configuration.vocabularySize)
        }
        var layout = layout
        if let cache {
            let (held, each) = (cache.count, tokens.count / (1 + cache.beside.count))
            layout = TokenLayout(
                positions: (0..<tokens.count).map { Int32(held + $0 % each) },
                segments: [.init(queryStart: 0, count: each, keyStart: held, prefixCount: held)])
        }
        var stream =
            try trainedEmbedding.map { pass.tape.embedding(tokens, $0) }
            ?? Variable(try embed(tokens), needsGradient: false)
        for (index, layer) in layers.enumerated() {
            stream = layer.forward(stream, LayerInput(layout: layout, cache: cache, layer: index), in: pass)
        }
        if let cache {
            for one in [cache] + cache.beside { one.advance(tokens.count / (1 + cache.beside.count)) }
        }
        return finalNorm.forward(stream, on: pass.tape)
    }

    /// The embeddings of the tokens, [tokens, hiddenSize] F32, rounded as the head's weight is.
    private func embed(_ tokens: [Int32]) throws -> Tensor {
        let width = configuration.hiddenSize
        let rows = context.tensor([tokens.count, width], .f32)
        for (index, token) in tokens.enumerated() {
            try checkpoint.readFloats(
                embeddingName, rows: Int(token)..<Int(token) + 1,
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
