import CheckpointIO
import Compute
import TensorCore

/// A Llama-family decoder (Touvron et al., "LLaMA", arXiv 2302.13971; grouped-query attention as in Llama 2 and 3) with
/// frozen weights, of which the output head and the embedding can be put in training.
///
/// Owns its weights in the context's type; embeddings are read from the checkpoint row by row where they are frozen.
package final class LlamaModel {
    /// Sizes and settings.
    package let configuration: LlamaConfiguration
    /// Type, memory and threads of all computation.
    package let context: ComputeContext
    /// The output head, [vocabulary, hiddenSize]; the embedding where they are tied. Its module path is `lm_head`.
    package private(set) var head: FrozenLinear
    /// The weight of `head` where it is trained.
    package private(set) var trainedHead: TrainableWeight?
    /// The embedding [vocabulary, hiddenSize] where it is trained.
    package private(set) var trainedEmbedding: TrainableWeight?

    private let checkpoint: ModelCheckpoint
    private let rotaryTable: RotaryTable
    private let finalNorm: Tensor
    private var layers: [Layer]

    /// One decoder layer: two norms and seven projections.
    private struct Layer {
        let inputNorm: Tensor
        let postAttentionNorm: Tensor
        /// In the order of `projectionNames`.
        var projections: [any Projection]

        var query: any Projection { projections[0] }
        var key: any Projection { projections[1] }
        var value: any Projection { projections[2] }
        var output: any Projection { projections[3] }
        var gate: any Projection { projections[4] }
        var up: any Projection { projections[5] }
        var down: any Projection { projections[6] }
    }

    /// The projections of a layer, by their paths inside it, in the order of computation.
    private static let projectionNames = [
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
        "mlp.down_proj",
    ]

    /// Loads the weights of `checkpoint` into the context's type.
    package init(_ checkpoint: ModelCheckpoint, _ context: ComputeContext) throws {
        self.checkpoint = checkpoint
        self.context = context
        configuration = checkpoint.configuration
        let configuration = checkpoint.configuration
        let loader = WeightLoader(checkpoint: checkpoint, context: context)
        rotaryTable = RotaryTable(inverseFrequencies: configuration.inverseFrequencies, context)
        finalNorm = try loader.vector("model.norm.weight")
        head = try loader.linear(configuration.tiedEmbeddings ? "model.embed_tokens" : "lm_head")
        layers = try (0..<configuration.layerCount).map { index in
            let prefix = "model.layers.\(index)."
            return Layer(
                inputNorm: try loader.vector(prefix + "input_layernorm.weight"),
                postAttentionNorm: try loader.vector(prefix + "post_attention_layernorm.weight"),
                projections: try Self.projectionNames.map { name in
                    PlainProjection(path: prefix + name, frozen: try loader.linear(prefix + name))
                })
        }
    }

    /// The heads of every attention layer.
    private var attentionShape: AttentionShape {
        AttentionShape(
            headCount: configuration.headCount, keyValueHeadCount: configuration.keyValueHeadCount,
            headSize: configuration.headSize)
    }

    /// All projections inside the layers, in the order of computation.
    package var projections: [any Projection] { layers.flatMap(\.projections) }

    /// Puts each projection that `replacement` gives in the place of the one it is handed; nil leaves that as it is.
    package func replaceProjections(_ replacement: (any Projection) throws -> (any Projection)?) rethrows {
        for layer in layers.indices {
            for index in layers[layer].projections.indices {
                let old = layers[layer].projections[index]
                if let new = try replacement(old) {
                    precondition(new.path == old.path, "a replacement keeps its module's path")
                    layers[layer].projections[index] = new
                }
            }
        }
    }

    /// Computes with `weight` [vocabulary, hiddenSize] in place of that of `module`, and gives it gradients in backward
    /// passes. Where the base ties head and embedding, the other of the two stays the frozen one.
    package func train(_ module: WholeModule, _ weight: TrainableWeight) {
        precondition(weight.value.shape == checkpoint.wholeModuleShape)
        switch module {
        case .outputHead:
            trainedHead = weight
            head = FrozenLinear(weight: weight.rounded, bias: head.bias)
        case .embedding: trainedEmbedding = weight
        }
    }

    /// An empty cache for `capacity` tokens.
    package func makeCache(capacity: Int) -> KeyValueCache {
        KeyValueCache(
            capacity: capacity, layerCount: configuration.layerCount,
            width: configuration.keyValueHeadCount * configuration.headSize, context)
    }

    /// The final hidden states [tokens, hiddenSize], normalised, in the context's type: what the head reads.
    ///
    /// Tokens and layout are of equal length; every id is below the vocabulary's size and every position below
    /// `maximumPositions`. With a cache the tokens are one run that continues it, and the tape must not record.
    package func forward(
        _ tokens: [Int32], _ layout: TokenLayout, on tape: Tape, cache: KeyValueCache? = nil
    ) throws -> Variable {
        precondition(tokens.count == layout.rowCount && !tokens.isEmpty)
        precondition(cache == nil || !tape.isRecording, "a cache has no backward pass")
        var layout = layout
        if let cache {
            let held = cache.count
            layout = TokenLayout(
                positions: (0..<tokens.count).map { Int32(held + $0) },
                segments: [.init(queryStart: 0, count: tokens.count, keyStart: held, prefixCount: held)])
        }
        var stream =
            try trainedEmbedding.map { tape.embedding(tokens, $0) }
            ?? Variable(try embed(tokens), needsGradient: false)
        for (index, layer) in layers.enumerated() {
            stream = attend(stream, layer, index, layout, tape, cache)
            stream = feedForward(stream, layer, tape)
        }
        cache?.advance(tokens.count)
        return tape.rmsNorm(stream, weight: finalNorm, epsilon: configuration.rmsNormEpsilon)
    }

    private func attend(
        _ stream: Variable, _ layer: Layer, _ index: Int, _ layout: TokenLayout, _ tape: Tape, _ cache: KeyValueCache?
    ) -> Variable {
        let normed = tape.rmsNorm(stream, weight: layer.inputNorm, epsilon: configuration.rmsNormEpsilon)
        let query = layer.query.forward(normed, on: tape)
        let key = layer.key.forward(normed, on: tape)
        var keys = key
        var values = layer.value.forward(normed, on: tape)
        tape.rotate(query, rotaryTable, positions: layout.positions, headSize: configuration.headSize)
        tape.rotate(key, rotaryTable, positions: layout.positions, headSize: configuration.headSize)
        if let cache {
            let held = cache.append(layer: index, keys: key.value, values: values.value)
            keys = Variable(held.keys, needsGradient: false)
            values = Variable(held.values, needsGradient: false)
        }
        let mixed = tape.attention(q: query, k: keys, v: values, attentionShape, layout)
        return tape.residual(stream, plus: layer.output.forward(mixed, on: tape))
    }

    private func feedForward(_ stream: Variable, _ layer: Layer, _ tape: Tape) -> Variable {
        let normed = tape.rmsNorm(stream, weight: layer.postAttentionNorm, epsilon: configuration.rmsNormEpsilon)
        let gate = layer.gate.forward(normed, on: tape)
        let up = layer.up.forward(normed, on: tape)
        let product = tape.siluProduct(gate: gate, up: up)
        return tape.residual(stream, plus: layer.down.forward(product, on: tape))
    }

    /// The embeddings of the tokens, [tokens, hiddenSize] F32, rounded to the computation's type as the head's weight
    /// is.
    private func embed(_ tokens: [Int32]) throws -> Tensor {
        let width = configuration.hiddenSize
        let rows = context.tensor([tokens.count, width], .f32)
        for (index, token) in tokens.enumerated() {
            try checkpoint.readFloats(
                "model.embed_tokens.weight", rows: Int(token)..<Int(token) + 1,
                into: UnsafeMutableBufferPointer(start: rows.floats + index * width, count: width))
        }
        if context.dtype != .f32 {
            let rounded = context.tensor(rows.shape)
            context.convert(rows, into: rounded)
            context.convert(rounded, into: rows)
        }
        return rows
    }
}

/// Reads named tensors of a checkpoint into a context's type.
private struct WeightLoader {
    let checkpoint: ModelCheckpoint
    let context: ComputeContext

    /// A vector in F32.
    func vector(_ name: String) throws -> Tensor {
        let count = (checkpoint.shape(of: name) ?? []).reduce(1, *)
        let tensor = context.tensor([count], .f32)
        try checkpoint.readFloats(
            name, into: UnsafeMutableBufferPointer(start: tensor.floats, count: count))
        return tensor
    }

    /// `module.weight` and, where there is one, `module.bias`.
    func linear(_ module: String) throws -> FrozenLinear {
        let name = module + ".weight"
        let bias = checkpoint.contains(module + ".bias") ? try vector(module + ".bias") : nil
        return FrozenLinear(weight: try matrix(name), bias: bias)
    }

    /// Rows decoded at a time: a few megabytes of F32.
    private static let rowsAtATime = 1024

    private func matrix(_ name: String) throws -> Tensor {
        let shape = checkpoint.shape(of: name) ?? [0, 0]
        let (rows, columns) = (shape[0], shape.count > 1 ? shape[1] : 1)
        let tensor = context.tensor([rows, columns])
        var start = 0
        while start < rows {
            let end = min(rows, start + Self.rowsAtATime)
            let part = context.tensor([end - start, columns], .f32)
            try checkpoint.readFloats(
                name, rows: start..<end, into: UnsafeMutableBufferPointer(start: part.floats, count: part.count))
            context.convert(part, into: tensor, at: start)
            start = end
        }
        // The copy is what is computed with; the mapped pages need not stay in memory.
        if let record = checkpoint.record(of: name) { checkpoint.checkpoint.advise(record, willNeed: false) }
        return tensor
    }
}
