import Compute
import TensorCore

/// An encoder of texts with a head for whole sequences: embeddings, layers whose attention sees all tokens, perhaps a norm.
///
/// Owns its weights in the context's type; the embeddings of words are read from the checkpoint row by row where they are
/// frozen.
final class Encoder: Model {
    let configuration: ModelConfiguration
    let tensors: ModelTensors
    let context: ComputeContext
    let slots: [ProjectionSlot]
    let classifier: (any SequenceHead)?
    private(set) var trainedEmbedding: TrainableWeight?
    var head: FrozenLinear? { nil }
    var trainedHead: TrainableWeight? { nil }

    private let embedding: EncoderEmbedding
    private let layers: [DecoderLayer]
    private let finalNorm: LayerNorm?
    private let relative: RelativeEmbedding?
    private let file: String
    private let typeCount: Int

    /// The parts of an encoder beside its layers.
    struct Parts {
        let embedding: EncoderEmbedding
        var finalNorm: LayerNorm?
        var relative: RelativeEmbedding?
        let head: any SequenceHead
        /// Types that have an embedding, or none.
        var typeCount = 0
    }

    /// An encoder of these parts; `makeLayer` makes each layer of its weights.
    init(
        _ weights: WeightLoader, layersBehind prefix: String, _ parts: Parts,
        makeLayer: (LayerWeights) throws -> DecoderLayer
    ) throws {
        context = weights.context
        configuration = weights.configuration
        tensors = weights.checkpoint.specifications
        file = weights.checkpoint.checkpoint.path
        classifier = parts.head
        embedding = parts.embedding
        finalNorm = parts.finalNorm
        relative = parts.relative
        typeCount = parts.typeCount
        layers = try (0..<configuration.layerCount).map { try makeLayer(weights.layer($0, behind: prefix)) }
        slots = layers.flatMap(\.slots)
    }

    func train(_ tensor: TensorSpecification, _ weight: TrainableWeight) {
        precondition(weight.value.shape == tensor.shape)
        if tensor.isOfHead, let classifier { return classifier.train(tensor, weight) }
        precondition(tensor.role == .embedding, "'\(tensor.module)' cannot be trained whole")
        trainedEmbedding = weight
    }

    func makeCache(capacity: Int) -> KeyValueCache { preconditionFailure("an encoder has no cache") }

    /// The last hidden states [tokens, hiddenSize]: F32 where the last norm stands behind a sum.
    func forward(
        _ tokens: [Int32], _ layout: TokenLayout, in pass: Pass, cache: KeyValueCache?
    ) throws -> Variable {
        precondition(tokens.count == layout.rowCount && !tokens.isEmpty && cache == nil)
        try embedding.words.check(tokens)
        let longest = layout.segments.map(\.count).max() ?? 0
        guard longest <= configuration.maximumPositions else {
            throw ModelError.tooManyTokens(file: file, tokens: longest, limit: configuration.maximumPositions)
        }
        if typeCount > 0, let types = layout.types, let type = types.first(where: { Int($0) >= typeCount || $0 < 0 }) {
            throw ModelError.badConfiguration(
                file: file, key: "type_vocab_size", expected: "above the type \(type) of a text's tokens",
                found: "\(typeCount)")
        }
        var stream = try embedding.forward(tokens, layout, trainedEmbedding, in: pass)
        let positions = relative?.forward(longest: longest, on: pass.tape)
        for (index, layer) in layers.enumerated() {
            let input = LayerInput(layout: layout, cache: nil, layer: index, relative: positions)
            stream = layer.forward(stream, input, in: pass)
        }
        return finalNorm?.forward(stream, on: pass.tape) ?? stream
    }
}
