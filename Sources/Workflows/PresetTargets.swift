import Adapters

/// The projections that the paper's Table 6 names by letters.
enum TargetLetter: Sendable {
    case query, key, value
    /// The projection behind attention (O).
    case output
    /// The first of an encoder's feed-forward block (I): what a decoder calls up.
    case intermediate
    case up, down, gate
}

/// How architectures call these projections, as peft's `target_modules`.
struct TargetNames: Sendable {
    private let names: [TargetLetter: String]

    /// Projections by their names, of all architectures; the first that fits a model counts. Where one projection
    /// computes several, it is named for each.
    static let all = [
        // Llama, Qwen, Mistral, Gemma and those like them.
        TargetNames([
            .query: "q_proj", .key: "k_proj", .value: "v_proj", .output: "o_proj", .intermediate: "up_proj",
            .up: "up_proj", .down: "down_proj", .gate: "gate_proj",
        ]),
        // DeBERTa.
        TargetNames([
            .query: "query_proj", .key: "key_proj", .value: "value_proj", .output: "attention.output.dense",
            .intermediate: "intermediate.dense",
        ]),
        // BERT and RoBERTa.
        TargetNames([
            .query: "query", .key: "key", .value: "value", .output: "attention.output.dense",
            .intermediate: "intermediate.dense",
        ]),
        // ModernBERT.
        TargetNames([
            .query: "attn.Wqkv", .key: "attn.Wqkv", .value: "attn.Wqkv", .output: "attn.Wo", .intermediate: "mlp.Wi",
            .up: "mlp.Wi", .down: "mlp.Wo", .gate: "mlp.Wi",
        ]),
        // GLM.
        TargetNames([
            .query: "q_proj", .key: "k_proj", .value: "v_proj", .output: "o_proj", .intermediate: "gate_up_proj",
            .up: "gate_up_proj", .down: "down_proj", .gate: "gate_up_proj",
        ]),
        // Phi-3.
        TargetNames([
            .query: "qkv_proj", .key: "qkv_proj", .value: "qkv_proj", .output: "o_proj",
            .intermediate: "gate_up_proj", .up: "gate_up_proj", .down: "down_proj", .gate: "gate_up_proj",
        ]),
    ]

    private init(_ names: [TargetLetter: String]) { self.names = names }

    /// The names of these projections, each once; nil where one has none.
    func names(of letters: [TargetLetter]) -> [String]? {
        var list: [String] = []
        for letter in letters {
            guard let name = names[letter] else { return nil }
            if !list.contains(name) { list.append(name) }
        }
        return list
    }
}

extension Preset {
    /// The projections as a model calls them whose linear modules have these paths; `targets` where none of the known
    /// architectures' names are all there.
    func targets(in modules: [String]) -> [String] {
        for dialect in TargetNames.all {
            guard let names = dialect.names(of: letters) else { continue }
            if names.allSatisfy({ name in modules.contains { TargetMatch.name(name, matches: $0) } }) { return names }
        }
        return targets
    }
}
