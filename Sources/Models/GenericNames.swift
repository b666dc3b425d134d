import CheckpointIO

/// What a tensor's name and shape say of it, in a model of any kind.
struct GenericNames {
    /// The tensor.
    let record: TensorRecord
    /// Its name in the model: the one that it has in the file, unless that stands for another.
    let name: String
    /// The path of the module whose it is: the name without its last component.
    let module: String
    /// The module's path behind the layer's number; the whole path outside the layers.
    let part: String
    /// The first number in the path.
    let layer: Int?
    /// The last component of the module's path.
    let last: Substring
    /// Whether it is called `weight` or `bias`.
    let isWeight: Bool
    let isBias: Bool

    init(_ record: TensorRecord, name: String? = nil) {
        self.record = record
        self.name = name ?? record.name
        let components = self.name.split(separator: ".", omittingEmptySubsequences: false)
        isWeight = components.count > 1 && components.last == "weight"
        isBias = components.count > 1 && components.last == "bias"
        let path = components.dropLast()
        module = path.joined(separator: ".")
        last = path.last ?? ""
        if let place = path.firstIndex(where: { Int($0).map { $0 >= 0 } ?? false }) {
            layer = Int(path[place])
            part = path[(place + 1)...].joined(separator: ".")
        } else {
            layer = nil
            part = module
        }
    }

    /// Whether it is the weight of a linear module, which an adapter can wrap.
    var isLinear: Bool {
        isWeight && isMatrix && !isEmbedding && !isNorm && !isConvolution && !Self.isPacked(record.encoding)
    }

    /// Whether it is the weight of a norm.
    var isNorm: Bool {
        guard isWeight, record.shape.count < 3 else { return false }
        return last.contains("norm") || last.contains("Norm") || last == "ln" || last.hasPrefix("ln_")
            || last.hasSuffix("_ln")
    }

    /// Whether it holds the matrices of a layer's experts: [experts, ...].
    var isExperts: Bool {
        guard record.shape.count == 3, !Self.isPacked(record.encoding), layer != nil else { return false }
        return name.contains("experts") || name.contains("_exps.")
            || Self.packedExperts.contains(where: { last == $0 })
    }

    /// Whether it is a linear module's weight in packed integers, as GPTQ, AWQ, compressed-tensors, HQQ and bitsandbytes
    /// (4 bits, in one column) have it.
    var isQuantized: Bool {
        guard record.shape.count == 2, Self.isPacked(record.encoding) else { return false }
        if isWeight { return record.shape[1] == 1 && record.encoding == .plain(.u8) }
        return PlaceProbe.packedWeights.contains { self.name.hasSuffix("." + $0) }
    }

    /// What GraniteMoE and JetMoE call the matrices of their experts.
    static let packedExperts = ["input_linear", "output_linear"]

    private var isMatrix: Bool { record.shape.count == 2 && record.elementCount > 0 }

    /// Whether the module is a table of rows.
    private var isEmbedding: Bool {
        Self.tokenEmbeddings.contains(where: { last == $0 }) || Self.tables.contains(where: { last == $0 })
            || Self.tableEndings.contains(where: last.hasSuffix) || last.hasPrefix("embed_tokens")
            || last.hasPrefix("embed_positions")
    }

    /// A convolution over time keeps its kernel as a matrix in GGUF files.
    private var isConvolution: Bool {
        last == "conv" || last.hasSuffix("conv1d") || last.hasSuffix("_conv") || last.hasPrefix("conv1d")
    }

    /// Names of embeddings of tokens, the most telling first.
    private static let tokenEmbeddings = [
        "embed_tokens", "wte", "word_embeddings", "tok_embeddings", "token_embd", "tokens_embed", "word_embedding",
        "token_embedding", "embed_in", "shared", "embeddings", "embedding", "embed", "word_emb", "emb",
    ]
    /// Other tables.
    private static let tables = ["wpe", "relative_attention_bias", "token_types", "pos_emb", "position_embd"]
    private static let tableEndings = ["_embeddings", "_embedding", "_embed", "_embd", "_emb", "Embedding"]

    /// Its place among the names of embeddings of tokens.
    var embeddingPlace: Int? {
        guard isWeight, isMatrix else { return nil }
        return Self.tokenEmbeddings.firstIndex { last == $0 }
    }

    /// Its place among the names of output heads, the most telling first.
    var headPlace: (order: Int, needsVocabulary: Bool)? {
        guard isWeight, isMatrix, !Self.isPacked(record.encoding) else { return nil }
        if let order = Self.heads.firstIndex(where: { last == $0 }) { return (order, false) }
        if let order = Self.possibleHeads.firstIndex(where: { last == $0 }) {
            return (Self.heads.count + order, true)
        }
        if let order = Self.classifiers.firstIndex(where: { last == $0 }) {
            return (Self.heads.count + Self.possibleHeads.count + order, false)
        }
        return nil
    }

    private static let heads = ["lm_head", "embed_out", "vocab_projector", "generator_lm_head"]
    /// Names that are other modules' too.
    private static let possibleHeads = ["output", "decoder", "proj_out", "output_projection", "head", "lm_proj"]
    private static let classifiers = ["score", "classifier"]

    /// Whether elements are no numbers of their own: several in a byte or word, or signs and masks.
    private static func isPacked(_ encoding: TensorEncoding) -> Bool {
        switch encoding {
        case .block: false
        case .plain(let type):
            switch type {
            case .f64, .f32, .f16, .bf16, .f8e4m3, .f8e5m2, .f8e4m3fnuz, .f8e5m2fnuz, .i8: false
            case .bool, .u8, .f8e8m0, .i16, .u16, .i32, .u32, .i64, .u64, .c64: true
            }
        }
    }
}
