import CheckpointIO
import Compute
import TensorCore

/// Factors and caps of a decoder outside its layers, and what it does beyond them.
struct DecoderForm {
    /// What embeddings are multiplied by.
    var embeddingFactor: Float = 1
    /// Whether pictures' tokens are multiplied by it too.
    var scalesImages = true
    /// Whether the last norm multiplies by 1 + w.
    var finalNormAddsOne = false
    /// What logits are multiplied by, which the last norm does.
    var logitFactor: Float = 1
    /// Logits z become c tanh(z / c) with this c.
    var logitSoftcap: Float?
    /// Tokens beyond which the rotation of all is another, so that a cache of fewer is made anew when it outgrows them.
    var restart: Int?
}

/// A decoder of text: the embedding of tokens, layers, a norm and an output head.
///
/// Owns its weights in the context's type; embeddings are read from the checkpoint row by row where they are frozen.
final class Decoder: Model {
    let configuration: ModelConfiguration
    let tensors: ModelTensors
    let context: ComputeContext
    let slots: [ProjectionSlot]
    private(set) var head: FrozenLinear?
    let classifier: (any SequenceHead)?
    private(set) var trainedHead: TrainableWeight?
    private(set) var trainedEmbedding: TrainableWeight?

    private let table: EmbeddingTable
    private let finalNorm: RMSNorm
    private let layers: [DecoderLayer]
    private let form: DecoderForm
    /// Pictures as tokens, where the model takes them.
    var images: ImageEmbedding?
    var imageFacts: ImageFacts? { images?.facts }

    /// Loads what is outside the layers; `makeLayer` makes each layer of its weights.
    init(
        _ weights: WeightLoader, _ form: DecoderForm = DecoderForm(),
        makeLayer: (LayerWeights) throws -> DecoderLayer
    ) throws {
        self.form = form
        context = weights.context
        configuration = weights.configuration
        tensors = weights.checkpoint.specifications
        table = EmbeddingTable(weights, ModulePart.embedding.path)
        // A head for sequences reads what an output head would read without its factor.
        finalNorm = try weights.norm(
            ModulePart.finalNorm.path, addsOne: form.finalNormAddsOne,
            factor: configuration.task == nil ? form.logitFactor : 1)
        if configuration.task == nil {
            classifier = nil
            head = try weights.linear(
                configuration.tiedEmbeddings ? ModulePart.embedding.path : ModulePart.outputHead.path,
                softcap: form.logitSoftcap)
        } else {
            classifier = PooledHead(
                weights, pooling: .last(padding: configuration.padTokenID),
                output: try HeadLinear(weights, ModulePart.score.path, hasBias: false))
        }
        layers = try (0..<configuration.layerCount).map { try makeLayer(weights.layer($0)) }
        slots = layers.flatMap(\.slots)
    }

    func train(_ module: TensorSpecification, _ weight: TrainableWeight) {
        precondition(weight.value.shape == module.shape)
        if module.isOfHead, let classifier { return classifier.train(module, weight) }
        switch module.role {
        case .outputHead:
            trainedHead = weight
            head = FrozenLinear(weight: weight.rounded, bias: head?.bias, softcap: head?.softcap)
        case .embedding: trainedEmbedding = weight
        case .projection, .norm, .bias, .experts, .quantized, .classifier, .other:
            preconditionFailure("'\(module.module)' cannot be trained whole")
        }
    }

    func makeCache(capacity: Int) -> KeyValueCache {
        let cache = KeyValueCache(
            capacity: capacity, windows: layers.map(\.attention.block.window), width: configuration.keyValueSize,
            context)
        cache.otherRotation = form.restart
        if case .dynamic = configuration.rotaryScaling { cache.otherRotation = configuration.maximumPositions }
        return cache
    }

    /// Whether runs that continue caches of their own can be computed in one pass.
    private var computesRunsTogether: Bool { layers.allSatisfy { $0.attention.block is AttentionBlock } }

    /// What `forward` gives for as many runs as there are caches, run by run.
    private func forwardEach(_ tokens: [Int32], in pass: Pass, _ cache: KeyValueCache) throws -> Variable {
        let caches = [cache] + cache.beside
        cache.beside = []
        defer { cache.beside = Array(caches.dropFirst()) }
        let each = tokens.count / caches.count
        let hidden = context.tensor([tokens.count, configuration.hiddenSize])
        for (number, one) in caches.enumerated() {
            let rows = number * each..<(number + 1) * each
            let part = try forward(Array(tokens[rows]), TokenLayout(lengths: [each]), in: pass, cache: one)
            context.copy(part.value, into: hidden.rows(rows))
        }
        return Variable(hidden, needsGradient: false)
    }

    func forward(
        _ tokens: [Int32], _ layout: TokenLayout, in pass: Pass, cache: KeyValueCache?
    ) throws -> Variable {
        precondition(tokens.count == layout.rowCount && !tokens.isEmpty)
        precondition(cache == nil || !pass.tape.isRecording, "a cache has no backward pass")
        try table.check(tokens)
        if let cache, !cache.beside.isEmpty, form.restart != nil || !computesRunsTogether {
            return try forwardEach(tokens, in: pass, cache)
        }
        if let cache, let restart = form.restart, (1...max(1, restart)).contains(cache.count),
            cache.count + tokens.count > restart
        {
            let all = cache.tokens + tokens
            var whole = pass
            whole.images = cache.images + pass.images
            cache.truncate(to: 0)
            cache.images = []
            let hidden = try forward(all, TokenLayout(lengths: [all.count]), in: whole, cache: cache)
            return hidden.rows(all.count - tokens.count..<all.count)
        }
        var layout = layout
        let each = tokens.count / (1 + (cache?.beside.count ?? 0))
        if let cache {
            layout = TokenLayout(
                positions: tokens.indices.map { Int32(cache.count + $0 % each) },
                segments: [.init(queryStart: 0, count: each)])
        }
        var stream = try embedded(tokens, in: pass)
        for (index, layer) in layers.enumerated() {
            stream = layer.forward(stream, LayerInput(layout: layout, cache: cache, layer: index), in: pass)
        }
        if let cache {
            for (number, one) in ([cache] + cache.beside).enumerated() {
                one.advance(Array(tokens[number * each..<(number + 1) * each]))
            }
            cache.images += pass.images
        }
        return finalNorm.forward(stream, on: pass.tape)
    }

    /// What the first layer reads, [tokens, hiddenSize] F32: embeddings of the tokens, and the pictures' in the place of
    /// theirs. Throws `ModelError.otherImageTokens` where they are not as many.
    private func embedded(_ tokens: [Int32], in pass: Pass) throws -> Variable {
        let stream =
            try trainedEmbedding.map { pass.tape.embedding(tokens, $0) }
            ?? Variable(try table.rows(tokens), needsGradient: false)
        guard !pass.images.isEmpty else { return scaled(stream, in: pass) }
        let rows = tokens.indices.filter { tokens[$0] == images?.facts.token }.map(Int32.init)
        guard let images, rows.count == pass.images.count * images.facts.tokenCount,
            pass.images.allSatisfy({ $0.count == images.facts.valueCount })
        else {
            throw ModelError.otherImageTokens(
                file: table.path, tokens: rows.count, images: pass.images.count,
                each: images?.facts.tokenCount ?? 0)
        }
        let pictures = images.embed(pass.images, in: pass)
        if form.scalesImages {
            return scaled(pass.tape.replacingRows(rows, of: stream, by: pictures), in: pass)
        }
        return pass.tape.replacingRows(rows, of: scaled(stream, in: pass), by: pictures)
    }

    private func scaled(_ stream: Variable, in pass: Pass) -> Variable {
        form.embeddingFactor == 1 ? stream : pass.tape.scaled(stream, by: form.embeddingFactor)
    }
}
