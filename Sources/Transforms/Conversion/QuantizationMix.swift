import CheckpointIO
import Glibc
import TensorCore

/// A type of GGUF file by llama.cpp's name, such as `Q4_K_M`: which encoding each of its tensors gets.
///
/// The choices are those that `llama_model_quantize` makes without an importance matrix. Most matrices get `base`; the
/// table `rules` names the exceptions. Vectors, norms and a few small tensors keep the type that they have.
package struct QuantizationMix: Sendable, Equatable {
    /// The name, such as `Q4_K_M`.
    package let name: String
    /// What `general.file_type` says of such a file.
    package let fileType: UInt32
    /// The encoding of a matrix for which no rule stands.
    package let base: TensorEncoding

    private init(_ name: String, _ fileType: UInt32, _ base: TensorEncoding) {
        self.name = name
        self.fileType = fileType
        self.base = base
    }

    private init(_ name: String, _ fileType: UInt32, block: String) {
        self.init(name, fileType, .named(block))
    }

    /// The mixes that can be written, with llama.cpp's numbers.
    package static let all: [QuantizationMix] = [
        QuantizationMix("F32", 0, .plain(.f32)),
        QuantizationMix("F16", 1, .plain(.f16)),
        QuantizationMix("BF16", 32, .plain(.bf16)),
        QuantizationMix("Q8_0", 7, block: "Q8_0"),
        QuantizationMix("Q6_K", 18, block: "Q6_K"),
        QuantizationMix("Q5_K_M", 17, block: "Q5_K"),
        QuantizationMix("Q5_K_S", 16, block: "Q5_K"),
        QuantizationMix("Q5_1", 9, block: "Q5_1"),
        QuantizationMix("Q5_0", 8, block: "Q5_0"),
        QuantizationMix("Q4_K_M", 15, block: "Q4_K"),
        QuantizationMix("Q4_K_S", 14, block: "Q4_K"),
        QuantizationMix("IQ4_NL", 25, block: "IQ4_NL"),
        QuantizationMix("Q4_1", 3, block: "Q4_1"),
        QuantizationMix("Q4_0", 2, block: "Q4_0"),
        QuantizationMix("MXFP4", 38, block: "MXFP4"),
        QuantizationMix("Q3_K_L", 13, block: "Q3_K"),
        QuantizationMix("Q3_K_M", 12, block: "Q3_K"),
        QuantizationMix("Q3_K_S", 11, block: "Q3_K"),
        QuantizationMix("Q2_K", 10, block: "Q2_K"),
        QuantizationMix("TQ2_0", 37, block: "TQ2_0"),
        QuantizationMix("TQ1_0", 36, block: "TQ1_0"),
    ]

    /// The mix called `name`, as `TypeNames` has it; nil for an unknown one.
    package init?(named name: String) {
        let wanted = TypeNames.canonical(name)
        guard let mix = Self.all.first(where: { $0.name == wanted }) else { return nil }
        self = mix
    }

    /// The mix whose matrices are all of one plain type.
    package static func plain(_ type: DType) -> QuantizationMix? {
        all.first { $0.base == .plain(type) }
    }

    /// Whether matrices become blocks.
    package var isQuantized: Bool { if case .block = base { true } else { false } }

    // MARK: The rules

    /// What a tensor does in a model, as far as the rules tell it apart.
    enum Role {
        /// The output head, or an embedding that is the output head too.
        case head
        /// The embedding where the head is a tensor of its own.
        case embedding
        /// The value projection, alone or fused with others.
        case value
        case key
        case attentionOutput
        case down
        case other
    }

    /// For which tensors of a role a rule stands.
    enum Condition {
        case always
        /// Tensors of the first eighth of the layers.
        case firstEighth
        /// Tensors of the first sixteenth of the layers.
        case firstSixteenth
        /// The first so many tensors of the role.
        case first(Int)
        /// Those of the first and the last eighth, and every third one between.
        case moreBits
        /// At least four query heads share a key/value head.
        case groupedQueries
        /// The model has eight experts.
        case eightExperts
    }

    private struct Rule {
        let mixes: [String]
        let role: Role
        let condition: Condition
        let encoding: TensorEncoding

        init(_ mixes: [String], _ role: Role, _ condition: Condition, _ block: String) {
            self.mixes = mixes
            self.role = role
            self.condition = condition
            encoding = .named(block)
        }
    }

    /// The exceptions; of the rules for a mix and a role, the first whose condition holds.
    private static let rules: [Rule] = [
        Rule(["Q8_0", "MXFP4"], .head, .always, "Q8_0"),
        Rule(
            [
                "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "IQ4_NL", "Q4_1", "Q4_0", "Q3_K_L",
                "Q3_K_M", "Q3_K_S", "Q2_K", "TQ2_0", "TQ1_0",
            ], .head, .always, "Q6_K"),
        Rule(["TQ1_0", "TQ2_0"], .embedding, .always, "Q4_K"),

        Rule(["Q2_K"], .value, .groupedQueries, "Q4_K"),
        Rule(["Q2_K"], .value, .always, "Q3_K"),
        Rule(["Q3_K_M"], .value, .first(2), "Q5_K"),
        Rule(["Q3_K_M"], .value, .always, "Q4_K"),
        Rule(["Q3_K_L"], .value, .always, "Q5_K"),
        Rule(["IQ4_NL"], .value, .groupedQueries, "Q5_K"),
        Rule(["Q4_K_M", "Q5_K_M"], .value, .moreBits, "Q6_K"),
        Rule(["Q4_K_S"], .value, .first(4), "Q5_K"),

        Rule(["Q2_K"], .down, .always, "Q3_K"),
        Rule(["Q3_K_M"], .down, .firstSixteenth, "Q5_K"),
        Rule(["Q3_K_M"], .down, .always, "Q4_K"),
        Rule(["Q3_K_L"], .down, .always, "Q5_K"),
        Rule(["Q4_K_M", "Q5_K_M"], .down, .moreBits, "Q6_K"),
        Rule(["IQ4_NL", "Q4_K_S"], .down, .firstEighth, "Q5_K"),

        Rule(
            ["Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M"], .attentionOutput, .eightExperts, "Q5_K"),
        Rule(["Q2_K"], .attentionOutput, .always, "Q3_K"),
        Rule(["Q3_K_M"], .attentionOutput, .always, "Q4_K"),
        Rule(["Q3_K_L"], .attentionOutput, .always, "Q5_K"),
    ]

    /// The encoding that this mix prefers for a tensor, whatever its shape.
    private func preference(for role: Role, _ place: Place, _ model: ModelFacts) -> TensorEncoding {
        var encoding = base
        if name == "MXFP4", role != .head {
            // llama.cpp has this mix for matrices of experts, which lie together in tensors of three dimensions.
            return place.isStack ? base : .named("Q8_0")
        }
        let found = Self.rules.first {
            $0.mixes.contains(name) && $0.role == role && $0.condition.holds(place, model)
        }
        if let found, !(role == .attentionOutput && model.hasEightExperts && !found.condition.isForExperts) {
            encoding = found.encoding
        }
        if role == .value, model.is70B, encoding == .named("Q3_K") || encoding == .named("Q4_K") {
            encoding = .named("Q5_K")
        }
        if role == .value || role == .key, model.hasEightExperts { encoding = .named("Q8_0") }
        return encoding
    }

    // MARK: Rows that are no whole blocks

    /// What takes the place of an encoding whose blocks of 256 elements do not fit a tensor's rows.
    private static let narrower = [
        "Q2_K": "Q4_0", "Q3_K": "Q4_0", "TQ1_0": "Q4_0", "TQ2_0": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1",
        "Q6_K": "Q8_0",
    ]

    /// `encoding`, or what takes its place where rows of `width` elements are no whole blocks of it.
    private static func fitting(_ encoding: TensorEncoding, width: Int) -> TensorEncoding {
        if width % encoding.group.elements == 0 { return encoding }
        if let name = narrower[encoding.description] {
            let narrow = TensorEncoding.named(name)
            if width % narrow.group.elements == 0 { return narrow }
        }
        return .plain(.f16)
    }

    // MARK: Applying them

    /// What the rules ask of a model.
    struct ModelFacts: Sendable, Equatable {
        /// As `general.architecture` says.
        var architecture: String
        /// Layers, those without attention too.
        var layerCount: Int
        /// Query heads and key/value heads of the first layer.
        var headCount: Int
        var keyValueHeadCount: Int
        /// Experts of a layer; 0 in a dense model.
        var expertCount = 0

        var hasEightExperts: Bool { expertCount == 8 }
        /// llama.cpp tells models of 70 billion weights by these.
        var is70B: Bool {
            guard layerCount == 80 else { return false }
            return architecture == "llama" ? headCount != keyValueHeadCount : architecture == "qwen2"
        }
        var sharesKeys: Bool { keyValueHeadCount > 0 && headCount / keyValueHeadCount >= 4 }
    }

    /// Where a tensor stands among those of its role.
    struct Place {
        /// Its place among the tensors of its role in the order of layers, and how many there are.
        var index = 0
        var count = 0
        /// Its layer as the rules for layers count.
        var layer = 0
        /// Whether it holds several matrices.
        var isStack = false
    }

    /// A tensor that a GGUF file is to hold.
    struct Tensor {
        /// GGUF's name.
        let name: String
        /// Extents, outermost first.
        let shape: [Int]
        /// Its encoding unless the mix gives another.
        let current: TensorEncoding
    }

    /// Architectures with rules of their own in llama.cpp.
    private static let otherArchitectures: Set<String> = ["falcon", "glm5-next", "bailingmoe3"]

    /// Whether the rules hold for models of `architecture`; plain types suit all.
    func suits(_ architecture: String) -> Bool { !isQuantized || !Self.otherArchitectures.contains(architecture) }

    /// The encoding of each tensor, in the order given.
    func encodings(of tensors: [Tensor], _ model: ModelFacts) -> [TensorEncoding] {
        let order = tensors.indices.sorted { Self.key(tensors[$0].name) < Self.key(tensors[$1].name) }
        let hasHead = tensors.contains { $0.name == Self.headName }
        let valueCount = tensors.count { Self.role(of: $0.name, hasHead: hasHead) == .value }
        var encodings = tensors.map(\.current)
        var values = 0
        var downs = 0
        for index in order {
            let tensor = tensors[index]
            guard tensor.current.holdsReals, Self.mayChange(tensor) else { continue }
            guard isQuantized else {
                encodings[index] = base
                continue
            }
            let role = Self.role(of: tensor.name, hasHead: hasHead)
            var place = Place(isStack: tensor.shape.count > 2 && tensor.shape[tensor.shape.count - 3] > 1)
            switch role {
            case .value:
                (place.index, place.count) = (values, valueCount)
                values += 1
            case .down:
                // Experts' tensors come in no order of layers, so their names say it.
                let layer = model.expertCount > 1 ? Self.key(tensor.name).layer : downs
                (place.index, place.count, place.layer) = (layer, model.layerCount, layer)
                downs += 1
            default: break
            }
            var encoding = preference(for: role, place, model)
            let width = tensor.shape.last ?? 1
            if role == .head, width % base.group.elements != 0 { encoding = .named("Q8_0") }
            encodings[index] = Self.fitting(encoding, width: width)
        }
        return encodings
    }

    private static let headName = "output.weight"
    private static let embeddingNames = ["token_embd.weight", "per_layer_token_embd.weight"]

    private static func role(of name: String, hasHead: Bool) -> Role {
        if name == headName { return .head }
        if embeddingNames.contains(name) { return hasHead ? .embedding : .head }
        if ["attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight"].contains(where: name.has) { return .value }
        if name.has("attn_k.weight") { return .key }
        if name.has("attn_q.weight") { return .other }
        if name.has("attn_output.weight") { return .attentionOutput }
        // Before "ffn_down", as a name with both is one of these.
        if name.has("ffn_up") || name.has("ffn_gate") { return .other }
        return name.has("ffn_down") ? .down : .other
    }

    /// Parts of the names of tensors that are small or delicate and keep their type.
    private static let keptParts = [
        "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
        "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight",
        "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight",
        "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight",
        "time_mix_a2.weight", "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight",
        "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "attn_rel_b.weight", ".position_embd", "sam.pos_embd",
        "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger", "a.rvq.codebook", "mm.a.code_embd",
    ]
    /// Names of tensors that keep their type: positions and kinds of tokens.
    private static let keptNames: Set<String> = ["position_embd.weight", "token_types.weight"]

    /// Whether a mix may change the encoding of a tensor: matrices that are weights, but for a few.
    private static func mayChange(_ tensor: Tensor) -> Bool {
        // Extents of 1 do not make a vector a matrix.
        tensor.shape.dropLast().contains { $0 > 1 }
            && tensor.name.hasSuffix("weight") && !keptNames.contains(tensor.name)
            && !keptParts.contains(where: tensor.name.has)
    }

    /// Layer and name, the order in which llama.cpp goes through tensors; those outside the layers come first.
    private static func key(_ name: String) -> (layer: Int, name: String) {
        guard name.hasPrefix("blk."), let end = name.dropFirst(4).firstIndex(of: "."),
            let layer = Int(name.dropFirst(4)[..<end])
        else { return (-1, name) }
        return (layer, name)
    }
}

extension QuantizationMix.Condition {
    fileprivate func holds(_ place: QuantizationMix.Place, _ model: QuantizationMix.ModelFacts) -> Bool {
        switch self {
        case .always: return true
        case .firstEighth: return place.layer < model.layerCount / 8
        case .firstSixteenth: return place.layer < model.layerCount / 16
        case .first(let count): return place.index < count
        case .moreBits:
            let (index, eighth) = (place.index, place.count / 8)
            return index < eighth || index >= 7 * place.count / 8 || (index - eighth) % 3 == 2
        case .groupedQueries: return model.sharesKeys
        case .eightExperts: return model.hasEightExperts
        }
    }

    fileprivate var isForExperts: Bool { if case .eightExperts = self { true } else { false } }
}

extension TensorEncoding {
    /// The block format that ggml calls `name`; a name that is none is a programmer's mistake.
    static func named(_ name: String) -> TensorEncoding {
        guard let format = GGMLBlockFormat(name: name) else { preconditionFailure("'\(name)' is no block format") }
        return .block(format)
    }
}

extension String {
    /// Whether `part` stands in this text, byte for byte.
    fileprivate func has(_ part: String) -> Bool { strstr(self, part) != nil }
}
