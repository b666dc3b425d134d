import CheckpointIO
import TensorCore

extension Tokenizer {
    /// The largest tokenizer file that is read, in bytes; the largest known ones have about 35 MB.
    private static let fileByteLimit = 64 << 20

    /// JSON values in it, of which a merge of two tokens takes three; the largest have 2 million.
    private static let valueLimit = 4 << 20
    /// Members of its objects, most of which are tokens; the largest have 0.3 million.
    private static let memberLimit = 1 << 20

    /// The tokenizer of the model at `modelPath`: a Hugging Face directory (or a `.safetensors` file in one) with a
    /// `tokenizer.json`, or a GGUF file.
    ///
    /// - Parameter chatTemplate: the one of the model's chat templates that is meant, by its name, or else a file with
    ///   one; nil for what the model means where none is named.
    ///
    /// Throws `CheckpointError` for what cannot be read, `TokenizationError` for what cannot be used.
    package static func load(modelPath: String, chatTemplate: String? = nil) throws -> Tokenizer {
        let tokenizer =
            switch try checkedPathKind(modelPath) {
            case .directory: try load(directory: modelPath, chatTemplate)
            case .regularFile where modelPath.hasSuffix(".safetensors"):
                try load(directory: parentDirectory(of: modelPath), chatTemplate)
            default: try load(Checkpoint.open(modelPath), chatTemplate: chatTemplate)
            }
        if let chatTemplate, let problem = tokenizer.chatTemplateProblem {
            throw TokenizationError.malformed(file: "the chat template '\(chatTemplate)'", problem: problem)
        }
        return tokenizer
    }

    /// The tokenizer beside, or inside, an open checkpoint.
    package static func load(_ checkpoint: Checkpoint, chatTemplate: String? = nil) throws -> Tokenizer {
        switch checkpoint.layout {
        case .huggingFace(let directory):
            return try load(directory: directory, chatTemplate)
        case .gguf:
            guard let metadata = checkpoint.metadata else {
                throw TokenizationError.missing(path: checkpoint.path, remedy: "name a GGUF file with a vocabulary")
            }
            var vocabulary = try GGUFVocabulary(metadata, file: checkpoint.path)
            if let chatTemplate {
                vocabulary.chatTemplates = try vocabulary.chatTemplates.choosing(chatTemplate, of: checkpoint.path)
            }
            return try vocabulary.makeTokenizer()
        }
    }

    private static func load(directory: String, _ chatTemplate: String?) throws -> Tokenizer {
        let path = "\(directory)/tokenizer.json"
        // Older models name their tokens in a file of their own.
        let configuration = try readOptionalJSON("\(directory)/tokenizer_config.json")
        let tokenMap = try readOptionalJSON("\(directory)/special_tokens_map.json")
        let parts: TokenizerParts
        if pathKind(path) != .nothing {
            parts = try TokenizerFile(readJSON(path), file: path).parts()
        } else if let form = SentencePieceForm.all.first(where: { pathKind("\(directory)/\($0.fileName)") != .nothing })
        {
            let path = "\(directory)/\(form.fileName)"
            let file = try SentencePieceFile(readSmallFile(path, limit: fileByteLimit), file: path)
            parts = try form.parts(file, configuration: configuration)
        } else {
            let hasSentencePiece = pathKind("\(directory)/tokenizer.model") == .regularFile
            throw TokenizationError.missing(
                path: directory,
                remedy: hasSentencePiece
                    ? "its tokenizer.model must be converted to a tokenizer.json first"
                    : "a tokenizer.json is needed beside the model")
        }
        func token(_ key: String) throws(TokenizationError) -> Int32? {
            for value in [configuration?[key], tokenMap?[key]] {
                guard let text = value?.stringValue ?? value?["content"]?.stringValue else { continue }
                guard let id = parts.tokens.id(of: Array(text.utf8)) else {
                    throw .malformed(
                        file: path,
                        problem: "the \(key) '\(text)' of the tokenizer's configuration is not in the vocabulary")
                }
                return id
            }
            return nil
        }
        var templates = try ChatTemplateTexts(directory: directory, configuration: configuration)
        if let chatTemplate { templates = try templates.choosing(chatTemplate, of: directory) }
        return Tokenizer(
            parts, bosTokenID: try token("bos_token"), eosTokenID: try token("eos_token"),
            namedTokens: namedTokens(configuration, tokenMap), chatTemplates: templates,
            cutEnd: try cutEnd(configuration, file: "\(directory)/tokenizer_config.json"))
    }

    /// The `truncation_side` of a configuration.
    private static func cutEnd(_ configuration: JSONValue?, file: String) throws(TokenizationError) -> CutEnd {
        guard let value = configuration?["truncation_side"], !value.isNull else { return .right }
        guard let end = value.stringValue.flatMap(CutEnd.init) else {
            throw .malformed(file: file, problem: "'truncation_side' is neither right nor left")
        }
        return end
    }

    /// The texts of all tokens that a tokenizer's configuration names, by their names: what ends in `_token`, and what
    /// `extra_special_tokens` holds.
    private static func namedTokens(_ configuration: JSONValue?, _ tokenMap: JSONValue?) -> NameTable<String> {
        var tokens: NameTable<String> = [:]
        for source in [tokenMap, configuration].compactMap({ $0?.objectValue }) {
            let extra = source["extra_special_tokens"]?.objectValue ?? [:]
            for key in extra.keys { tokens[key] = extra[key]?.stringValue ?? extra[key]?["content"]?.stringValue }
            for key in source.keys where key.hasSuffix("_token") {
                guard let text = source[key]?.stringValue ?? source[key]?["content"]?.stringValue else { continue }
                tokens[key] = text
            }
        }
        return tokens
    }

    static func readJSON(_ path: String) throws -> JSONValue {
        let bytes = try readSmallFile(path, limit: fileByteLimit)
        do {
            return try JSONValue.parse(bytes, valueLimit: valueLimit, memberLimit: memberLimit)
        } catch {
            throw TokenizationError.malformed(file: path, problem: error.description)
        }
    }

    static func readOptionalJSON(_ path: String) throws -> JSONValue? {
        try checkedPathKind(path) == .nothing ? nil : readJSON(path)
    }
}
