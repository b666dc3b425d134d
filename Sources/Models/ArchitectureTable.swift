import CheckpointIO

/// The architectures that this program knows.
package enum ArchitectureTable {
    /// One line each. Of several that share a name in GGUF files the first that says so reads one.
    package static let all: [any Architecture.Type] = [
        Llama.self,
        Mistral.self,
        Ministral3.self,
        Qwen2.self,
        Qwen3.self,
        SmolLM3.self,
        Granite.self,
        OLMo2.self,
        OLMo3.self,
        Phi3.self,
        GLM4.self,
        Gemma2.self,
        Gemma3.self,
        Mixtral.self,
        Qwen3MoE.self,
        GPTOSS.self,
        Qwen35.self,
        BERT.self,
        RoBERTa.self,
        ModernBERT.self,
        DeBERTaV2.self,
    ]

    /// The architecture whose GGUF files are called `name`.
    package static func named(gguf name: String) -> (any Architecture.Type)? {
        all.first { $0.names.gguf == name && !$0.names.isEncoder }
    }

    /// The architecture and the sizes of a model's `config.json`; `file` names it in messages.
    ///
    /// Throws `ModelError.unknownArchitecture` and what the architecture throws.
    package static func read(
        configuration: JSONValue, file: String, as task: SequenceTask? = nil
    ) throws -> any Architecture {
        try read(ModelFields(configuration: configuration, file: file, checkpoint: nil), as: task)
    }

    /// The same of a checkpoint, as a model with a head for sequences where there is a task. Throws also
    /// `ModelError.missingConfiguration`.
    static func read(_ checkpoint: Checkpoint, as task: SequenceTask? = nil) throws -> any Architecture {
        switch checkpoint.layout {
        case .huggingFace(let directory):
            let file = joinedPath(directory, "config.json")
            guard let json = checkpoint.configuration else { throw ModelError.missingConfiguration(file: file) }
            return try read(ModelFields(configuration: json, file: file, checkpoint: checkpoint), as: task)
        case .gguf:
            guard let metadata = checkpoint.metadata else {
                throw ModelError.missingConfiguration(file: checkpoint.path)
            }
            return try read(ModelFields(metadata: metadata, checkpoint: checkpoint), as: task)
        }
    }

    /// The same of a checkpoint whose type is not known, as the architecture `name`.
    ///
    /// Throws `ModelError.unknownArchitecture` for a name that is none, `.unsupportedConfiguration` for a checkpoint whose
    /// type is known, for GGUF files, and for a field that the architecture does not read and that is none of
    /// `KnownFields.harmless`.
    static func read(_ checkpoint: Checkpoint, as name: String) throws -> any Architecture {
        guard let type = all.first(where: { $0.names.modelType == name && !$0.names.isEncoder }) else {
            throw ModelError.unknownArchitecture(file: checkpoint.path, name: name)
        }
        guard case .huggingFace(let directory) = checkpoint.layout else {
            throw ModelError.unsupportedConfiguration(
                file: checkpoint.path, key: "general.architecture", found: "another than '\(name)'",
                supported: "GGUF files by their own architecture alone")
        }
        let file = joinedPath(directory, "config.json")
        guard case .object(var json)? = checkpoint.configuration else {
            throw ModelError.missingConfiguration(file: file)
        }
        if let own = json["model_type"]?.stringValue, all.contains(where: { $0.names.modelType == own }) {
            throw ModelError.unsupportedConfiguration(
                file: file, key: "model_type", found: "'\(own)', a known architecture,",
                supported: "a model of a known type as that type alone")
        }
        json["model_type"] = .string(name)
        json["architectures"] = .array([.string(type.names.className)])
        let log = FieldLog()
        let fields = ModelFields(configuration: .object(json), file: file, checkpoint: checkpoint, log: log)
        let architecture = try type.init(fields)
        if let (key, value) = log.unread(in: json) {
            throw ModelError.unsupportedConfiguration(
                file: file, key: key, found: value,
                supported: "'\(name)' with the fields of its own, and others that say nothing of the computation")
        }
        return architecture
    }

    private static func read(_ fields: ModelFields, as task: SequenceTask?) throws -> any Architecture {
        let type: (any Architecture.Type)?
        let name: String
        var fields = fields
        fields.task = task
        switch fields.source {
        case .json(let json):
            (type, name) = try find(json, hasTask: task != nil)
            if let names = type?.names { fields.task = try Self.task(json, names, asked: task) }
        case .gguf(let metadata):
            let key = "general.architecture"
            guard let value = metadata.metadata[key] else {
                throw ModelError.unknownArchitecture(file: fields.file, name: "(no \(key))")
            }
            guard let text = value.stringValue else { throw metadata.bad(key, "a string", "something else") }
            let found =
                all.first { $0.names.gguf == text && !$0.names.isEncoder && $0.reads(metadata) }
                ?? named(gguf: text)
            (type, name) = (found, text.beginning(GGUFFields.shownLimit))
        }
        guard let type else { throw ModelError.unknownArchitecture(file: fields.file, name: name) }
        if fields.task != nil, type.names.classifierName == nil {
            let found = "'\(type.names.modelType)', of which transformers has no class with a head for sequences"
            throw ModelError.unsupportedConfiguration(
                file: fields.file, key: "model_type", found: found, supported: "models that have one")
        }
        return try type.init(fields)
    }

    /// What the head for sequences is asked for: what is asked of a base, or what the files of a model with one say. Throws
    /// `ModelError.unknownArchitecture` for an encoder with neither, which is not known without a head.
    private static func task(
        _ fields: JSONConfigurationFields, _ names: ArchitectureNames, asked: SequenceTask?
    ) throws(ModelError) -> SequenceTask? {
        if let asked { return asked }
        let first = fields.member("architectures")?.arrayValue?.first?.stringValue
        if first != nil, first == names.classifierName { return try SequenceTask(fields) }
        if names.isEncoder { throw .unknownArchitecture(file: fields.file, name: names.modelType) }
        return nil
    }

    /// The architecture that `model_type` and the first of `architectures` name, and the name that decided. Throws
    /// `ModelError.disagreeingArchitecture` where one of the two is known and the other is not its own.
    private static func find(
        _ fields: JSONConfigurationFields, hasTask: Bool
    ) throws(ModelError) -> (type: (any Architecture.Type)?, name: String) {
        let first = fields.member("architectures")?.arrayValue?.compactMap(\.stringValue).first
        let ofClass = all.first { $0.names.className == first || first != nil && $0.names.classifierName == first }
        guard let name = try fields.string("model_type") else { return (ofClass, first ?? "(no model_type)") }
        let type = all.first { $0.names.modelType == name }
        // Any other head of the same model makes way for the one that is asked for.
        if type != nil, ofClass == nil, hasTask || type?.names.isEncoder ?? false { return (type, name) }
        if let first, type != nil || ofClass != nil, type != ofClass {
            throw .disagreeingArchitecture(file: fields.file, modelType: name, className: first)
        }
        return (type, name)
    }
}
