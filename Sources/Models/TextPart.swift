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
    /// What turns pictures into tokens of it; nil where its pictures are left alone.
    let images: LLaVA?

    /// How it takes pictures; nil for a model of text alone.
    package var imageFacts: ImageFacts? { images?.facts }

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
            let host = json["model_type"]?.stringValue
        else { return nil }
        let file = joinedPath(directory, "config.json")
        let isLLaVA = host == LLaVA.modelType
        if isLLaVA { try Self.refuseOtherClasses(json, file: file) }
        let types = isLLaVA ? ArchitectureTable.all.map { $0.names.modelType } : Self.hosts[host]
        guard let types, case .object(var text)? = json["text_config"] ?? (isLLaVA ? .object([:]) : nil) else {
            return nil
        }
        if isLLaVA { Self.assume(into: &text) }
        guard let type = types.first(where: { $0 == text["model_type"]?.stringValue }) else {
            guard isLLaVA else { return nil }
            throw ModelError.unsupportedConfiguration(
                file: file, key: "text_config.model_type", found: text["model_type"]?.text() ?? "missing",
                supported: types.joined(separator: ", "))
        }
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
        architecture = try ArchitectureTable.read(configuration: .object(text), file: file)
        images = isLLaVA ? try LLaVA(json, file: file, hiddenSize: architecture.configuration.hiddenSize) : nil
    }

    /// LLaVA's first checkpoints are of another class, whose tower lies elsewhere.
    private static func refuseOtherClasses(_ json: JSONValue, file: String) throws(ModelError) {
        guard let name = json["architectures"]?.arrayValue?.first?.stringValue, name != LLaVA.className else { return }
        throw .unsupportedConfiguration(
            file: file, key: "architectures", found: "'\(name)'",
            supported: "'\(LLaVA.className)', the form of the models that transformers converts")
    }

    /// What transformers assumes of a language model of which `text_config` says little, as LLaVA's own does.
    private static let assumed: [String: JSONObject] = [
        "llama": [
            "vocab_size": .integer(32_000), "hidden_size": .integer(4096), "intermediate_size": .integer(11_008),
            "num_hidden_layers": .integer(32), "num_attention_heads": .integer(32),
        ],
        "mistral": [
            "vocab_size": .integer(32_000), "hidden_size": .integer(4096), "intermediate_size": .integer(14_336),
            "num_hidden_layers": .integer(32), "num_attention_heads": .integer(32),
        ],
    ]

    private static func assume(into text: inout JSONObject) {
        if text["model_type"] == nil { text["model_type"] = .string("llama") }
        for (key, value) in assumed[text["model_type"]?.stringValue ?? ""]?.members ?? [] where text[key] == nil {
            text[key] = value
        }
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
        for tensor in images?.tensors(LLaVANames(checkpoint)) ?? [] {
            guard let record = checkpoint.record(tensor.name) else {
                throw .missingTensor(file: checkpoint.path, tensor: tensor.name, shape: tensor.shape)
            }
            guard record.shape == tensor.shape else {
                throw .wrongShape(
                    file: checkpoint.files[record.fileIndex], tensor: tensor.name, expected: tensor.shape,
                    found: record.shape)
            }
        }
        let unread = checkpoint.tensors.map(\.name).filter { hasInLayers($0) && !expected.contains($0) }
        guard let first = unread.first else { return }
        throw .unreadTensors(
            file: checkpoint.path, tensor: first, count: unread.count,
            cause: .unknownPart(declared: architecture.names.modelType))
    }
}
