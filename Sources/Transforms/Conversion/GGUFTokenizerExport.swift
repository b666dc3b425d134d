import CheckpointIO
import TensorCore
import Tokenization

/// The tokenizer of a GGUF file as the files that Hugging Face's libraries read: `tokenizer.json` with
/// `tokenizer_config.json`.
struct GGUFTokenizerExport {
    /// The vocabulary of the file.
    private let vocabulary: GGUFVocabulary
    private let paddingTokenID: Int?

    /// The tokenizer of a GGUF file's metadata; throws `TokenizationError`.
    init(_ metadata: GGUFMetadata, file: String) throws {
        self.init(
            try GGUFVocabulary(metadata, file: file),
            paddingTokenID: metadata["tokenizer.ggml.padding_token_id"]?.integer(in: .tokenIDs))
    }

    /// The tokenizer of a vocabulary.
    init(_ vocabulary: GGUFVocabulary, paddingTokenID: Int? = nil) {
        self.vocabulary = vocabulary
        self.paddingTokenID = paddingTokenID
    }

    /// The text of `tokenizer.json`. Throws `TransformError.unsupported` for a model or pre-tokenizer that has no such
    /// form here, and what `GGUFVocabulary.mergesByScore` and `makeTokenizer` throw.
    func tokenizer() throws -> String {
        let text: String
        switch vocabulary.model {
        case "gpt2": text = try byteLevel()
        case "llama": text = try scoredPieces()
        default:
            throw TransformError.unsupported(
                path: vocabulary.file, reason: "its tokenizer model '\(vocabulary.model)' cannot be written as JSON")
        }
        // A vocabulary that contradicts itself, with a token twice or merges of none, would be a file that nothing opens.
        _ = try vocabulary.makeTokenizer()
        return text
    }

    /// `tokenizer_config.json`.
    var configuration: JSONValue {
        var members = JSONObject()
        members["add_bos_token"] = .bool(beginsTexts)
        members["add_eos_token"] = .bool(vocabulary.addsEOS ?? false)
        members["bos_token"] = content(of: vocabulary.bosTokenID)
        members["chat_template"] = vocabulary.chatTemplates.configuration
        members["clean_up_tokenization_spaces"] = .bool(false)
        members["eos_token"] = content(of: vocabulary.eosTokenID)
        members["pad_token"] = content(of: paddingTokenID)
        members["tokenizer_class"] = .string("PreTrainedTokenizerFast")
        members["unk_token"] = content(of: vocabulary.unknownTokenID)
        return .object(members)
    }

    /// Whether texts begin with the token for that: as the file says, or else as its models' custom is.
    private var beginsTexts: Bool {
        vocabulary.addsBOS ?? (vocabulary.model == "llama" || rule?.beginsTexts == true)
    }

    /// The rule that cuts words before byte-level merges; nil for an unknown one.
    private var rule: ByteLevelRule? { vocabulary.preTokenizer.flatMap(ByteLevelRule.init(name:)) }

    private func text(of id: Int) -> String { String(decoding: vocabulary.tokens[id], as: UTF8.self) }

    private func content(of id: Int?) -> JSONValue? {
        guard let id, vocabulary.tokens.indices.contains(id) else { return nil }
        return .string(text(of: id))
    }

    // MARK: Byte-level pairs

    private func byteLevel() throws(TransformError) -> String {
        guard let rule else {
            throw .unsupported(
                path: vocabulary.file,
                reason: "its pre-tokenizer '\(vocabulary.preTokenizer ?? "(none)")' cannot be written as JSON")
        }
        for merge in vocabulary.merges where merge.split(separator: UInt8(ascii: " ")).count != 2 {
            throw .unsupported(
                path: vocabulary.file,
                reason: "its merge '\(String(decoding: merge.prefix(100), as: UTF8.self))' does not join two tokens")
        }
        let merges = vocabulary.merges.lazy.map { merge in
            let parts = merge.split(separator: UInt8(ascii: " "))
            return (String(decoding: parts[0], as: UTF8.self), String(decoding: parts[1], as: UTF8.self))
        }
        return try file(
            merges: merges, normalizer: rule.normalizerJSON, preTokenizer: rule.preTokenizerJSON,
            decoder: ByteLevelRule.decoderJSON,
            model: model(byteFallback: false, ignoresMerges: rule.ignoresMerges, unknown: nil))
    }

    // MARK: SentencePiece's scored pieces

    private static let mark = "▁"

    private func scoredPieces() throws -> String {
        guard vocabulary.scores.count == vocabulary.tokens.count else {
            throw TransformError.unsupported(path: vocabulary.file, reason: "its SentencePiece tokens have no scores")
        }
        let addsSpace = vocabulary.addsSpacePrefix ?? true
        let toMark: JSONValue = .object([
            "type": .string("Replace"), "pattern": .object(["String": .string(" ")]), "content": .string(Self.mark),
        ])
        let prepend: JSONValue = .object(["type": .string("Prepend"), "prepend": .string(Self.mark)])
        var decoders: [JSONValue] = [
            .object([
                "type": .string("Replace"), "pattern": .object(["String": .string(Self.mark)]),
                "content": .string(" "),
            ]),
            .object(["type": .string("ByteFallback")]), .object(["type": .string("Fuse")]),
        ]
        if addsSpace {
            decoders.append(
                .object([
                    "type": .string("Strip"), "content": .string(" "), "start": .integer(1), "stop": .integer(0),
                ]))
        }
        let merges = try vocabulary.mergesByScore()
        return try file(
            merges: merges.lazy.map { (text(of: $0.left), text(of: $0.right)) },
            normalizer: .object([
                "type": .string("Sequence"), "normalizers": .array((addsSpace ? [prepend] : []) + [toMark]),
            ]),
            preTokenizer: .null,
            decoder: .object(["type": .string("Sequence"), "decoders": .array(decoders)]),
            model: model(
                byteFallback: true, ignoresMerges: false, unknown: content(of: vocabulary.unknownTokenID ?? 0)))
    }

    // MARK: The file

    /// The model with no merges yet.
    private func model(
        byteFallback: Bool, ignoresMerges: Bool, unknown: JSONValue?
    ) -> JSONValue {
        var tokens = JSONObject()
        for id in vocabulary.tokens.indices { tokens[text(of: id)] = .integer(id) }
        return .object([
            "type": .string("BPE"), "dropout": .null, "unk_token": unknown ?? .null,
            "continuing_subword_prefix": .null, "end_of_word_suffix": .null, "fuse_unk": .bool(byteFallback),
            "byte_fallback": .bool(byteFallback), "ignore_merges": .bool(ignoresMerges), "vocab": .object(tokens),
            "merges": .array([]),
        ])
    }

    /// Added tokens at most: ten times what any vocabulary has.
    private static let addedLimit = 1 << 16

    /// The text of the file. Merges, which are many, are written one by one: as JSON values they would take several
    /// times the memory.
    private func file(
        merges: some Collection<(String, String)>, normalizer: JSONValue, preTokenizer: JSONValue, decoder: JSONValue,
        model: JSONValue
    ) throws(TransformError) -> String {
        let addedCount = vocabulary.types.count { $0 == .control || $0 == .unknown || $0 == .userDefined }
        guard addedCount <= Self.addedLimit else {
            throw .unsupported(
                path: vocabulary.file,
                reason:
                    "its vocabulary has \(addedCount) special tokens, more than the \(Self.addedLimit) that are taken")
        }
        let value: JSONValue = .object([
            "version": .string("1.0"), "truncation": .null, "padding": .null, "added_tokens": .array(addedTokens),
            "normalizer": normalizer, "pre_tokenizer": preTokenizer, "post_processor": postProcessor,
            "decoder": decoder, "model": model,
        ])
        var text = value.text(indent: 2)
        let ending = "[]\n  }\n}"
        precondition(text.utf8.suffix(ending.utf8.count).elementsEqual(ending.utf8), "the merges come last")
        guard !merges.isEmpty else { return text }
        text.unicodeScalars.removeLast(ending.unicodeScalars.count)
        var separator = "["
        for (left, right) in merges {
            text += separator + "\n      [\n        "
            text += JSONValue.string(left).text()
            text += ",\n        "
            text += JSONValue.string(right).text()
            text += "\n      ]"
            separator = ","
        }
        return text + "\n    ]\n  }\n}"
    }

    private var addedTokens: [JSONValue] {
        zip(vocabulary.tokens.indices, vocabulary.types).compactMap { id, type in
            guard type == .control || type == .unknown || type == .userDefined, !vocabulary.tokens[id].isEmpty else {
                return nil
            }
            return .object([
                "id": .integer(id), "content": .string(text(of: id)), "single_word": .bool(false),
                "lstrip": .bool(false), "rstrip": .bool(false), "normalized": .bool(false),
                "special": .bool(type != .userDefined),
            ])
        }
    }

    /// Begins and ends texts with the tokens that the file asks for; null where there are none.
    private var postProcessor: JSONValue {
        let prefix = beginsTexts ? vocabulary.bosTokenID : nil
        let suffix = vocabulary.addsEOS ?? false ? vocabulary.eosTokenID : nil
        guard prefix != nil || suffix != nil else { return .null }
        func special(_ id: Int?, _ type: Int) -> [JSONValue] {
            guard let content = content(of: id) else { return [] }
            return [.object(["SpecialToken": .object(["id": content, "type_id": .integer(type)])])]
        }
        func sequence(_ name: String, _ type: Int) -> [JSONValue] {
            special(prefix, type) + [.object(["Sequence": .object(["id": .string(name), "type_id": .integer(type)])])]
                + special(suffix, type)
        }
        var tokens = JSONObject()
        for id in [prefix, suffix].compactMap({ $0 }) {
            guard let content = content(of: id), let name = content.stringValue else { continue }
            tokens[name] = .object(["id": content, "ids": .array([.integer(id)]), "tokens": .array([content])])
        }
        return .object([
            "type": .string("TemplateProcessing"), "single": .array(sequence("A", 0)),
            "pair": .array(sequence("A", 0) + sequence("B", 1)), "special_tokens": .object(tokens),
        ])
    }
}
