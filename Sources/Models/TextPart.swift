import CheckpointIO

/// The language model inside a checkpoint that has more, such as a tower for images: what its tensors are called there,
/// and the architecture that `text_config` tells.
///
/// Such a checkpoint is generic: all its tensors go by their own names, and so do the modules that adapters name. The
/// language model computes with its own tensors on text, and leaves the others alone.
package struct TextPart: Sendable {
    /// The language model.
    let architecture: any Architecture
    /// What stands in the checkpoint for `model.` and `lm_head`.
    private let prefix: String
    private let head: String

    /// Model types whose text models, by `text_config.model_type`, are ones that the table has.
    private static let hosts: [String: [String]] = [
        "gemma3": ["gemma3_text"], "mistral3": ["mistral", "ministral3"], "qwen3_5": ["qwen3_5_text"],
    ]
    /// The ways in which such checkpoints name the language model.
    private static let namings = [
        ("language_model.model.", "language_model.lm_head"), ("model.language_model.", "lm_head"),
    ]
    private static let ownPrefix = "model."

    /// The language model of a checkpoint of one of those types; nil of any other. Throws what its architecture does.
    init?(_ checkpoint: Checkpoint) throws {
        guard case .huggingFace(let directory) = checkpoint.layout, let json = checkpoint.configuration,
            let host = json["model_type"]?.stringValue, let types = Self.hosts[host],
            case .object(var text)? = json["text_config"],
            let type = types.first(where: { $0 == text["model_type"]?.stringValue })
        else { return nil }
        let embedding = String(
            ModulePart.Kind.weight.name(of: ModulePart.embedding.path).dropFirst(Self.ownPrefix.count))
        guard let naming = Self.namings.first(where: { checkpoint.record($0.0 + embedding) != nil }) else { return nil }
        (prefix, head) = naming
        text["model_type"] = .string(type)
        text["architectures"] = nil
        // The head is the embedding where there is none.
        text["tie_word_embeddings"] = .bool(checkpoint.record(ModulePart.Kind.weight.name(of: head)) == nil)
        for key in ["bos_token_id", "eos_token_id"] where text[key] == nil { text[key] = json[key] }
        for key in ["quantization_config", "quantization"] { if let value = json[key] { text[key] = value } }
        architecture = try ArchitectureTable.read(
            configuration: .object(text), file: joinedPath(directory, "config.json"))
    }

    /// What the checkpoint calls a module or tensor of the language model.
    func name(of own: String) -> String {
        if own.hasPrefix(Self.ownPrefix) { return prefix + own.dropFirst(Self.ownPrefix.count) }
        let ownHead = ModulePart.outputHead.path
        return own.hasPrefix(ownHead) ? head + own.dropFirst(ownHead.count) : own
    }

    /// Whether a module of the checkpoint is in one of the language model's layers.
    package func hasInLayers(_ module: String) -> Bool { module.hasPrefix(name(of: ModulePart.layerPrefix)) }

    /// Checks that every tensor of the language model is there in the shape that the configuration gives, and that its
    /// layers have no others. Throws `ModelError.missingTensor`, `.wrongShape` and `.unreadTensors`.
    func check(_ checkpoint: Checkpoint) throws(ModelError) {
        var expected: Set<String> = []
        for tensor in architecture.specifications(limit: checkpoint.tensors.count + 1) where tensor.tiedTo == nil {
            let name = name(of: tensor.name)
            guard let record = checkpoint.record(name) else {
                throw .missingTensor(file: checkpoint.path, tensor: name, shape: tensor.shape)
            }
            guard record.shape == tensor.shape else {
                throw .wrongShape(
                    file: checkpoint.files[record.fileIndex], tensor: name, expected: tensor.shape, found: record.shape)
            }
            expected.insert(name)
        }
        let unread = checkpoint.tensors.map(\.name).filter { hasInLayers($0) && !expected.contains($0) }
        guard let first = unread.first else { return }
        throw .unreadTensors(
            file: checkpoint.path, tensor: first, count: unread.count,
            cause: .unknownPart(declared: architecture.names.modelType))
    }
}
