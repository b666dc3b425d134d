import CheckpointIO
import Compute
import TensorCore

/// DeBERTa's second and third version (He et al., arXiv 2006.03654 and 2111.09543): disentangled attention whose relative
/// positions go through the projections of queries and keys, in logarithmic buckets; a pooler of the first token.
package struct DeBERTaV2: Architecture {
    package static let names = ArchitectureNames(
        encoder: "deberta-v2", class: "DebertaV2Model", classifier: "DebertaV2ForSequenceClassification",
        gguf: "deberta-v2")
    package static let layerPrefix = "deberta.encoder.layer."
    package static let basePrefix = "deberta."

    private static let query = ModulePart("attention.self.query_proj", gguf: "attn_q")
    private static let key = ModulePart("attention.self.key_proj", gguf: "attn_k")
    private static let value = ModulePart("attention.self.value_proj", gguf: "attn_v")

    package static var modules: [ModuleTemplate<DeBERTaV2>] {
        [
            .table("deberta.embeddings.word_embeddings", gguf: "token_embd", .embedding) {
                $0.configuration.vocabularySize
            },
            ModuleTemplate<DeBERTaV2>.table("deberta.embeddings.position_embeddings", gguf: "position_embd") {
                $0.configuration.maximumPositions
            }.with { $0.isPresent = { $0.hasPositions } },
            ModuleTemplate<DeBERTaV2>.table("deberta.embeddings.token_type_embeddings", gguf: "token_types") {
                $0.encoder.typeCount
            }.with { $0.isPresent = { $0.encoder.typeCount > 0 } },
            .outerNorm("deberta.embeddings.LayerNorm", gguf: "token_embd_norm"),
            ModuleTemplate<DeBERTaV2>.table("deberta.encoder.rel_embeddings", gguf: "rel_embd") {
                2 * $0.relative.span
            }.with { $0.isPresent = { $0.relative.isUsed } },
            ModuleTemplate<DeBERTaV2>.outerNorm("deberta.encoder.LayerNorm", gguf: "rel_embd_norm").with {
                $0.isPresent = { $0.relative.isNormed }
            },
        ] + bertModules([query, key, value]) + [
            .headLinear("pooler.dense") { $0.configuration.hiddenSize },
            .headLinear("classifier") { $0.configuration.task?.labels.count ?? 0 },
        ]
    }

    package let configuration: ModelConfiguration
    let encoder: EncoderFields
    /// Whether absolute positions are added to the words.
    fileprivate let hasPositions: Bool
    /// How relative positions are used.
    fileprivate let relative: RelativeFields
    private let poolerActivation: HiddenActivation
    private let poolerDropout: Double
    private let headDropout: Double

    package init(_ fields: ModelFields) throws {
        let json = try fields.requiredJSON()
        encoder = try EncoderFields(fields, assumedTypes: 0)
        configuration = try ModelConfiguration(
            encoder: fields, Self.names,
            assuming: .init(
                hiddenSize: 1536, layerCount: 24, headCount: 24, intermediateSize: 6144, vocabularySize: 128_100,
                epsilon: 1e-7))
        hasPositions = try json.flag("position_biased_input") ?? true
        relative = try RelativeFields(json, maximumPositions: configuration.maximumPositions)
        for key in ["embedding_size", "pooler_hidden_size"] {
            try json.refuse(key, unless: [.integer(configuration.hiddenSize)])
        }
        try json.refuse("attention_head_size", unless: [.integer(configuration.headSize)])
        try json.refuse("conv_kernel_size", unless: [.integer(0)])
        poolerActivation = try json.activation("pooler_hidden_act") ?? .gelu
        poolerDropout = try json.share("pooler_dropout") ?? 0
        headDropout = try json.share("cls_dropout") ?? encoder.hiddenDropout
    }

    package var ggufProblem: String? { "an encoder's graph" }

    package func write(to fields: inout WrittenFields) {
        configuration.writeEncoder(names, to: &fields)
        encoder.write(to: &fields)
        relative.write(to: &fields)
        fields.setJSON("position_biased_input", .bool(hasPositions))
        fields.setJSON("pooler_hidden_act", .string(poolerActivation.name))
        fields.setJSON("pooler_hidden_size", .integer(configuration.hiddenSize))
        fields.setJSON("pooler_dropout", .real(poolerDropout))
        fields.setJSON("cls_dropout", .real(headDropout))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let head = PooledHead(weights, pooling: .first, output: try HeadLinear(weights, "classifier"))
        head.firstDropout = HiddenDropout(rate: Float(poolerDropout), place: "pooler.dropout")
        head.dense = (try HeadLinear(weights, "pooler.dense"), poolerActivation)
        head.dropout = HiddenDropout(rate: Float(headDropout), place: "dropout")
        func table(_ name: String) throws -> Tensor { try weights.floats(CheckpointNames.weight(of: name)) }
        let outer = "deberta.embeddings."
        let embedding = EncoderEmbedding(
            words: EmbeddingTable(weights, outer + "word_embeddings"),
            positions: hasPositions ? try table(outer + "position_embeddings") : nil,
            types: encoder.typeCount > 0 ? try table(outer + "token_type_embeddings") : nil,
            norm: try weights.layerNorm(outer + "LayerNorm"),
            dropout: HiddenDropout(rate: Float(encoder.hiddenDropout), place: outer + "dropout"))
        var parts = Encoder.Parts(embedding: embedding, head: head, typeCount: encoder.typeCount)
        if relative.isUsed {
            parts.relative = RelativeEmbedding(
                table: try table("deberta.encoder.rel_embeddings"),
                norm: relative.isNormed ? try weights.layerNorm("deberta.encoder.LayerNorm") : nil,
                span: relative.span, hasLogarithmicBuckets: relative.buckets != nil,
                maximumDistance: relative.maximumDistance)
        }
        return try Encoder(weights, layersBehind: Self.layerPrefix, parts) { try makeLayer($0) }
    }

    private func makeLayer(_ layer: LayerWeights) throws -> DecoderLayer {
        let block = DisentangledBlock(
            query: try layer.projection(Self.query), key: try layer.projection(Self.key),
            value: try layer.projection(Self.value), output: try layer.projection(.bertOutput),
            shape: AttentionShape(
                headCount: configuration.headCount, keyValueHeadCount: configuration.headCount,
                headSize: configuration.headSize),
            usesKeys: relative.usesKeys, usesQueries: relative.usesQueries,
            dropout: layer.dropout(encoder.attentionDropout, "attention.self.dropout"),
            relativeDropout: layer.dropout(encoder.hiddenDropout, "attention.self.pos_dropout"))
        return try DecoderLayer(bert: layer, block, encoder)
    }
}

/// How DeBERTa uses relative positions.
struct RelativeFields {
    /// Whether at all.
    let isUsed: Bool
    /// Whether queries meet relative keys (`c2p`), and keys relative queries (`p2c`).
    let usesKeys: Bool
    let usesQueries: Bool
    /// Whether the embeddings are normalised.
    let isNormed: Bool
    /// Buckets to either side; nil for a row for each distance.
    let buckets: Int?
    /// The farthest distance that counts.
    let maximumDistance: Int

    /// Rows to either side.
    var span: Int { buckets ?? maximumDistance }

    init(_ json: JSONConfigurationFields, maximumPositions: Int) throws(ModelError) {
        isUsed = try json.flag("relative_attention") ?? false
        // Either may be -1 for none.
        func size(_ key: String) -> Int? { json.member(key)?.integer(in: .sizes) }
        maximumDistance = size("max_relative_positions") ?? maximumPositions
        buckets = size("position_buckets")
        let norm = try json.string("norm_rel_ebd") ?? "none"
        isNormed = isUsed && norm.lowercased().contains("layer_norm")
        var types: [String] = []
        if let text = json.member("pos_att_type")?.stringValue {
            types = text.lowercased().split(separator: "|").map(String.init)
        } else {
            types = json.member("pos_att_type")?.arrayValue?.compactMap(\.stringValue) ?? []
        }
        (usesKeys, usesQueries) = (isUsed && types.contains("c2p"), isUsed && types.contains("p2c"))
        if isUsed {
            if let other = types.first(where: { $0 != "c2p" && $0 != "p2c" }) {
                throw json.unsupported("pos_att_type", "'\(other)'", "c2p and p2c")
            }
            guard usesKeys || usesQueries else { throw json.unsupported("pos_att_type", "none", "c2p and p2c") }
            guard try json.flag("share_att_key") ?? false else {
                throw json.unsupported("share_att_key", "false", "true, projections that tokens and positions share")
            }
        }
    }

    func write(to fields: inout WrittenFields) {
        fields.setJSON("relative_attention", .bool(isUsed))
        fields.setJSON("share_att_key", .bool(isUsed))
        fields.setJSON("max_relative_positions", .integer(maximumDistance))
        fields.setJSON("position_buckets", .integer(buckets ?? -1))
        fields.setJSON("norm_rel_ebd", .string(isNormed ? "layer_norm" : "none"))
        let types = [("p2c", usesQueries), ("c2p", usesKeys)].filter(\.1).map { JSONValue.string($0.0) }
        fields.setJSON("pos_att_type", .array(types))
    }
}
