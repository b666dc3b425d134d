import TensorCore

/// Which layers are `Conv1D` of transformers, whose weight is stored [in, out].
package enum Conv1DModules {
    /// By model type, the last components of the paths of such layers.
    private static let names: NameTable<NameSet> = [
        "gpt2": ["c_attn", "q_attn", "c_proj", "c_fc"],
        "decision_transformer": ["c_attn", "q_attn", "c_proj", "c_fc"],
        "imagegpt": ["c_attn", "q_attn", "c_proj", "c_fc"],
        "jais": ["c_attn", "q_attn", "c_proj", "c_fc", "c_fc2"],
        "openai-gpt": ["c_attn", "c_proj", "c_fc"],
        "clvp_decoder": ["c_proj", "c_fc"],
        "clvp": ["c_proj", "c_fc"],
    ]
    /// Every name that such a layer has in any model type.
    private static let allNames = names.values.reduce(into: NameSet()) { $0.formUnion($1) }
    /// Model types that have linear layers of these names.
    private static let linearTypes: NameSet = [
        "gpt_bigcode", "gpt_neo", "gptj", "codegen", "starcoder2", "exaone", "exaone4", "qwen", "gpt_refact", "bark",
        "inkling2", "step3p7",
    ]

    /// Whether the linear layer at `path` of a model of this type is stored [in, out].
    package static func isTransposed(_ path: String, modelType: String?) -> Bool {
        guard let modelType, let names = names[modelType] else { return false }
        return names.contains(NamePath.parent(path).last)
    }

    /// The same for a model with parts of several types; nil where the layer's name is one of these and neither a type
    /// nor `evidence` (what other layers of the base show) tells.
    static func isTransposed(_ path: String, modelTypes: [String], evidence: Bool?) -> Bool? {
        guard allNames.contains(NamePath.parent(path).last) else { return false }
        if modelTypes.contains(where: { isTransposed(path, modelType: $0) }) { return true }
        if !linearTypes.isDisjoint(with: modelTypes) { return false }
        return evidence
    }

    /// Whether layers of these names are stored [in, out], by one that is not square and has a bias; nil where there is none.
    static func evidence(among tensors: [NamedShape], shapes: NameTable<[Int]>) -> Bool? {
        for tensor in tensors where tensor.shape.count == 2 && tensor.shape[0] != tensor.shape[1] {
            let (module, last) = NamePath.parent(tensor.name)
            guard last == "weight", allNames.contains(NamePath.parent(module).last) else { continue }
            guard let bias = shapes[module + ".bias"], bias.count == 1 else { continue }
            if bias[0] == tensor.shape[1] { return true }
            if bias[0] == tensor.shape[0] { return false }
        }
        return nil
    }
}

extension BaseNames {
    /// Whether the linear layer at `path`, a path of the base's own, is stored [in, out] as `Conv1D` is; nil where its name is
    /// one of such layers and neither the model type nor other layers tell.
    package func isStoredTransposed(_ path: String) -> Bool? {
        Conv1DModules.isTransposed(path, modelTypes: modelTypes, evidence: conv1DEvidence)
    }
}
