import CheckpointIO
import Compute
import TensorCore

/// BERT (Devlin et al., arXiv 1810.04805): learned positions and types, a LayerNorm behind each sum, biases everywhere, a
/// pooler of the first token.
package struct BERT: Architecture {
    package static let names = ArchitectureNames(
        encoder: "bert", class: "BertModel", classifier: "BertForSequenceClassification", gguf: "bert")
    package static let layerPrefix = "bert.encoder.layer."
    package static let basePrefix = "bert."

    package static var modules: [ModuleTemplate<BERT>] {
        bertEmbeddings(typeCount: { $0.encoder.typeCount })
            + bertLayer
            + [
                .headLinear("bert.pooler.dense") { $0.configuration.hiddenSize },
                .headLinear("classifier") { $0.configuration.task?.labels.count ?? 0 },
            ]
    }

    package let configuration: ModelConfiguration
    let encoder: EncoderFields

    package init(_ fields: ModelFields) throws {
        try fields.refuseDecoding()
        encoder = try EncoderFields(fields, assumedTypes: 2)
        configuration = try ModelConfiguration(
            encoder: fields, Self.names, assuming: .init(vocabularySize: 30522))
    }

    package var ggufProblem: String? { "an encoder's graph" }

    package func write(to fields: inout WrittenFields) {
        configuration.writeEncoder(names, to: &fields)
        encoder.write(to: &fields)
        fields.setJSON("classifier_dropout", .real(encoder.headDropout))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let head = PooledHead(weights, pooling: .first, output: try HeadLinear(weights, "classifier"))
        head.dense = (try HeadLinear(weights, "bert.pooler.dense"), .tanh)
        head.dropout = HiddenDropout(rate: Float(encoder.headDropout), place: "dropout")
        return try Encoder.bert(weights, Self.basePrefix, encoder, head: head)
    }
}

// MARK: What BERT shares with the encoders after it

extension ModelFields {
    /// Refuses a model that decodes, or whose positions are no learned rows.
    func refuseDecoding() throws(ModelError) {
        let json = try requiredJSON()
        try json.refuse("is_decoder", unless: [.bool(false)])
        try json.refuse("add_cross_attention", unless: [.bool(false)])
        try json.refuse("position_embedding_type", unless: [.string("absolute")])
    }
}

extension ModulePart {
    /// The parts of BERT's layers.
    static let bertQuery = ModulePart("attention.self.query", gguf: "attn_q")
    static let bertKey = ModulePart("attention.self.key", gguf: "attn_k")
    static let bertValue = ModulePart("attention.self.value", gguf: "attn_v")
    static let bertOutput = ModulePart("attention.output.dense", gguf: "attn_output")
    static let bertOutputNorm = ModulePart("attention.output.LayerNorm", gguf: "attn_output_norm")
    static let bertInner = ModulePart("intermediate.dense", gguf: "ffn_up")
    static let bertOuter = ModulePart("output.dense", gguf: "ffn_down")
    static let bertNorm = ModulePart("output.LayerNorm", gguf: "layer_output_norm")
}

extension ModuleTemplate {
    /// A linear layer of a head, from the hidden size to so many numbers.
    static func headLinear(
        _ path: String, hasBias: @escaping @Sendable (Model) -> Bool = { _ in true },
        _ size: @escaping @Sendable (Model) -> Int
    ) -> Self {
        Self(ModulePart(path, gguf: "cls." + path), .classifier, isInLayer: false, hasBias: hasBias) {
            [size($0), $0.configuration.hiddenSize]
        }.with { $0.isOfHead = true }
    }

    /// A table outside the layers, of so many rows.
    static func table(
        _ path: String, gguf: String, _ role: TensorRole = .other, _ rows: @escaping @Sendable (Model) -> Int
    ) -> Self {
        Self(ModulePart(path, gguf: gguf), role, isInLayer: false) { [rows($0), $0.configuration.hiddenSize] }
    }

    /// A LayerNorm outside the layers.
    static func outerNorm(_ path: String, gguf: String, hasBias: Bool = true) -> Self {
        Self(ModulePart(path, gguf: gguf), .norm, isInLayer: false, hasBias: { _ in hasBias }) {
            [$0.configuration.hiddenSize]
        }
    }

    /// A linear module of a layer with a bias.
    static func biased(_ part: ModulePart, _ shape: @escaping @Sendable (ModelConfiguration) -> [Int]) -> Self {
        Self(part, .projection, hasBias: { _ in true }) { shape($0.configuration) }
    }

    /// A LayerNorm of a layer with a bias.
    static func biasedNorm(_ part: ModulePart) -> Self {
        Self(part, .norm, hasBias: { _ in true }) { [$0.configuration.hiddenSize] }
    }
}

extension Architecture {
    /// The embeddings of words, positions and types, and their norm.
    static func bertEmbeddings(
        unusedPositions: Int = 0, typeCount: @escaping @Sendable (Self) -> Int
    ) -> [ModuleTemplate<Self>] {
        let outer = basePrefix + "embeddings."
        return [
            .table(outer + "word_embeddings", gguf: "token_embd", .embedding) { $0.configuration.vocabularySize },
            .table(outer + "position_embeddings", gguf: "position_embd") {
                $0.configuration.maximumPositions + unusedPositions
            },
            .table(outer + "token_type_embeddings", gguf: "token_types", .other, typeCount),
            .outerNorm(outer + "LayerNorm", gguf: "token_embd_norm"),
        ]
    }

    /// The modules of a layer, with these names of the projections of queries, keys and values.
    static func bertModules(_ parts: [ModulePart]) -> [ModuleTemplate<Self>] {
        parts.map { part in ModuleTemplate<Self>.biased(part) { [$0.hiddenSize, $0.hiddenSize] } } + [
            .biased(.bertOutput) { [$0.hiddenSize, $0.hiddenSize] }, .biasedNorm(.bertOutputNorm),
            .biased(.bertInner) { [$0.intermediateSize, $0.hiddenSize] },
            .biased(.bertOuter) { [$0.hiddenSize, $0.intermediateSize] }, .biasedNorm(.bertNorm),
        ]
    }

    /// The modules of a layer by BERT's names.
    static var bertLayer: [ModuleTemplate<Self>] { bertModules([.bertQuery, .bertKey, .bertValue]) }
}

extension DecoderLayer {
    /// A layer with BERT's names around an attention.
    init(bert layer: LayerWeights, _ attention: any LayerBlock, _ encoder: EncoderFields) throws {
        self.init(
            attention: Sublayer(
                block: attention, dropout: layer.dropout(encoder.hiddenDropout, "attention.output.dropout"),
                sumNorm: try layer.layerNorm(.bertOutputNorm)),
            feedForward: Sublayer(
                block: ActivatedBlock(
                    inner: try layer.projection(.bertInner), outer: try layer.projection(.bertOuter),
                    activation: encoder.activation),
                dropout: layer.dropout(encoder.hiddenDropout, "output.dropout"),
                sumNorm: try layer.layerNorm(.bertNorm)))
    }
}

extension Encoder {
    /// BERT's graph. `positionOf` gives the positions of a run's tokens where they are not their places.
    static func bert(
        _ weights: WeightLoader, _ prefix: String, _ encoder: EncoderFields, head: any SequenceHead,
        positionOf: ((ArraySlice<Int32>) -> [Int])? = nil
    ) throws -> Encoder {
        let outer = prefix + "embeddings."
        func table(_ name: String) throws -> Tensor {
            try weights.floats(CheckpointNames.weight(of: outer + name))
        }
        let embedding = EncoderEmbedding(
            words: EmbeddingTable(weights, outer + "word_embeddings"), positions: try table("position_embeddings"),
            positionOf: positionOf, types: try table("token_type_embeddings"),
            norm: try weights.layerNorm(outer + "LayerNorm"),
            dropout: HiddenDropout(rate: Float(encoder.hiddenDropout), place: outer + "dropout"))
        let parts = Parts(embedding: embedding, head: head, typeCount: encoder.typeCount)
        return try Encoder(weights, layersBehind: prefix + "encoder.layer.", parts) { layer in
            let form = AttentionForm(
                scoring: AttentionScoring(.everything),
                dropout: layer.dropout(encoder.attentionDropout, "attention.self.dropout"))
            let attention = try AttentionBlock(
                layer, weights.configuration, form,
                parts: AttentionParts(inputs: [.bertQuery, .bertKey, .bertValue], output: .bertOutput))
            return try DecoderLayer(bert: layer, attention, encoder)
        }
    }
}
