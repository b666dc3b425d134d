/// Which layers are `Conv1D` of transformers, whose weight is stored [in, out].
package enum Conv1DModules {
    /// By model type, the last components of the paths of such layers. Model types that share names with these and
    /// have linear layers instead (`gpt_bigcode`, `gpt_neo`, `starcoder2`, `gptj`) are not here.
    private static let names: [String: Set<String>] = [
        "gpt2": ["c_attn", "q_attn", "c_proj", "c_fc"],
        "decision_transformer": ["c_attn", "q_attn", "c_proj", "c_fc"],
        "imagegpt": ["c_attn", "q_attn", "c_proj", "c_fc"],
        "openai-gpt": ["c_attn", "c_proj", "c_fc"],
        "clvp_decoder": ["c_proj", "c_fc"],
        "clvp": ["c_proj", "c_fc"],
    ]

    /// Whether the linear layer at `path` of a model of this type is stored [in, out].
    package static func isTransposed(_ path: String, modelType: String?) -> Bool {
        guard let modelType, let names = names[modelType] else { return false }
        let last = path.utf8.lastIndex(of: UInt8(ascii: ".")).map { path[path.index(after: $0)...] } ?? path[...]
        return names.contains(String(last))
    }
}
