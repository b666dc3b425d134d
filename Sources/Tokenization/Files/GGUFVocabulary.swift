import CheckpointIO
import TensorCore

/// The tokenizer that a GGUF file carries under `tokenizer.ggml.*`, as plain arrays.
package struct GGUFVocabulary: Sendable {
    /// What a token is for, as `tokenizer.ggml.token_type` numbers it.
    package enum TokenType: Int64, Sendable {
        case normal = 1
        case unknown = 2
        case control = 3
        case userDefined = 4
        case unused = 5
        case byte = 6
    }

    /// The file, for error messages.
    package var file: String
    /// `gpt2` for byte-level pairs by merges, `llama` for SentencePiece's pairs by score.
    package var model: String
    /// The name of the rule that cuts words, with `gpt2`.
    package var preTokenizer: String?
    /// The token texts by id.
    package var tokens: [[UInt8]]
    /// What each token is for; empty where the file does not say (all are normal then).
    package var types: [TokenType] = []
    /// One score for each token, with `llama`.
    package var scores: [Float] = []
    /// Two texts with a space between, the most urgent first, with `gpt2`.
    package var merges: [[UInt8]] = []
    /// The tokens that begin and end a text, and the one for what has none.
    package var bosTokenID: Int?
    package var eosTokenID: Int?
    package var unknownTokenID: Int?
    /// The token that fills batches up.
    package var paddingTokenID: Int?
    /// Whether to begin and end an encoded text with those; nil leaves it to the model's custom.
    package var addsBOS: Bool?
    package var addsEOS: Bool?
    /// Whether a text gets a space before it, with `llama`; nil means yes.
    package var addsSpacePrefix: Bool?
    /// The Jinja texts of the chat templates.
    package var chatTemplates = ChatTemplateTexts()

    /// Merges that are read, and bytes of all tokens' texts: more than the largest vocabularies have (515,000 and 2
    /// MB).
    static let mergeLimit = 5 << 17
    static let textLimit = 8 << 20

    /// A vocabulary from its parts.
    package init(file: String, model: String, tokens: [[UInt8]]) {
        self.file = file
        self.model = model
        self.tokens = tokens
    }

    /// Reads the keys of a GGUF file. Throws `missing` where it has no vocabulary, `malformed` for a wrong type.
    package init(_ metadata: GGUFMetadata, file: String) throws(TokenizationError) {
        func wrong(_ key: String, _ expected: String) -> TokenizationError {
            .malformed(file: file, problem: "'\(key)' is not \(expected)")
        }
        func id(_ key: String) throws(TokenizationError) -> Int? {
            guard let value = metadata[key] else { return nil }
            guard let id = value.integer(in: .tokenIDs) else { throw wrong(key, "a token id") }
            return id
        }
        func bool(_ key: String) throws(TokenizationError) -> Bool? {
            guard let value = metadata[key] else { return nil }
            guard let bool = value.boolValue else { throw wrong(key, "true or false") }
            return bool
        }
        guard let model = metadata["tokenizer.ggml.model"]?.stringValue,
            let texts = metadata["tokenizer.ggml.tokens"]?.stringArray
        else {
            throw .missing(
                path: file, remedy: "a GGUF file with 'tokenizer.ggml.model' and 'tokenizer.ggml.tokens' has one")
        }
        guard texts.count <= TokenTable.idLimit else {
            throw .unsupported(file: file, feature: "a vocabulary of \(texts.count) tokens")
        }
        let byteCount = texts.byteCount
        guard byteCount <= Self.textLimit else {
            throw .unsupported(file: file, feature: "a vocabulary of \(byteCount) bytes (over \(Self.textLimit))")
        }
        self.init(file: file, model: model, tokens: texts.indices.map(texts.bytes(at:)))
        preTokenizer = metadata["tokenizer.ggml.pre"]?.stringValue
        if let value = metadata["tokenizer.ggml.token_type"] {
            guard value.elementCount == tokens.count, let numbers = value.integers(in: .settings) else {
                throw wrong("tokenizer.ggml.token_type", "\(tokens.count) numbers")
            }
            for number in numbers {
                guard let type = TokenType(rawValue: Int64(number)) else {
                    throw .unsupported(file: file, feature: "the token type \(number)")
                }
                types.append(type)
            }
        }
        if let value = metadata["tokenizer.ggml.scores"] {
            guard value.elementCount == tokens.count, let numbers = value.floatArray else {
                throw wrong("tokenizer.ggml.scores", "\(tokens.count) 32-bit floats")
            }
            scores = numbers
        }
        if let value = metadata["tokenizer.ggml.merges"] {
            guard let strings = value.stringArray else { throw wrong("tokenizer.ggml.merges", "a list of strings") }
            guard strings.count <= Self.mergeLimit, strings.byteCount <= 4 * Self.textLimit else {
                throw .unsupported(
                    file: file,
                    feature: "a vocabulary with \(strings.count) merges of \(strings.byteCount) bytes (over "
                        + "\(Self.mergeLimit) or \(4 * Self.textLimit))")
            }
            merges = strings.indices.map(strings.bytes(at:))
        }
        bosTokenID = try id("tokenizer.ggml.bos_token_id")
        eosTokenID = try id("tokenizer.ggml.eos_token_id")
        unknownTokenID = try id("tokenizer.ggml.unknown_token_id")
        paddingTokenID = try id("tokenizer.ggml.padding_token_id")
        addsBOS = try bool("tokenizer.ggml.add_bos_token")
        addsEOS = try bool("tokenizer.ggml.add_eos_token")
        addsSpacePrefix = try bool("tokenizer.ggml.add_space_prefix")
        chatTemplates = ChatTemplateTexts(metadata)
    }
}

extension GGUFVocabulary {
    /// The tokenizer. Throws `unsupported` for a model or a pre-tokenizer that is not known, `malformed` for a
    /// vocabulary that contradicts itself.
    package func makeTokenizer() throws(TokenizationError) -> Tokenizer {
        guard tokens.count <= TokenTable.idLimit else {
            throw .unsupported(file: file, feature: "a vocabulary of \(tokens.count) tokens")
        }
        for (name, id) in [("bos", bosTokenID), ("eos", eosTokenID), ("unknown", unknownTokenID)] {
            if let id, id >= tokens.count {
                throw .malformed(
                    file: file, problem: "the \(name) token is \(id), but there are \(tokens.count) tokens")
            }
        }
        var table = TokenTable(capacity: tokens.count)
        for (id, text) in tokens.enumerated() where !table.insert(text, id: Int32(id)) {
            let shown = String(decoding: text, as: UTF8.self)
            throw .malformed(file: file, problem: "'tokenizer.ggml.tokens' has '\(shown)' twice")
        }
        let parts: TokenizerParts
        switch model {
        case "gpt2": parts = try byteLevelParts(table)
        case "llama": parts = try scoredParts(table)
        default: throw .unsupported(file: file, feature: "the tokenizer model '\(model)' ('tokenizer.ggml.model')")
        }
        return Tokenizer(
            parts, bosTokenID: bosTokenID.map { Int32($0) }, eosTokenID: eosTokenID.map { Int32($0) },
            namedTokens: namedTokens, chatTemplates: chatTemplates)
    }

    /// The tokens that chat templates may name beside those that begin and end a text.
    private var namedTokens: NameTable<String> {
        var texts: NameTable<String> = [:]
        for (name, id) in [("unk_token", unknownTokenID), ("pad_token", paddingTokenID)] {
            if let id, tokens.indices.contains(id) { texts[name] = String(decoding: tokens[id], as: UTF8.self) }
        }
        return texts
    }

    private func byteLevelParts(_ table: TokenTable) throws(TokenizationError) -> TokenizerParts {
        let rule = try byteLevelRule()
        var mergeTable = MergeTable(capacity: merges.count)
        for (rank, merge) in merges.enumerated() {
            let pair = merge.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false).map { Array($0) }
            guard pair.count == 2, mergeTable.add(pair[0], pair[1], rank: rank, of: table) else {
                let shown = String(decoding: merge, as: UTF8.self)
                throw .malformed(
                    file: file, problem: "merge \(rank + 1), '\(shown)', does not join two tokens into a third")
            }
        }
        let model = BytePairModel(
            isByteLevel: true, tokens: table, merges: mergeTable, fallbackTokens: nil, unknownToken: nil,
            fusesUnknown: false, ignoresMerges: rule.ignoresMerges)
        return TokenizerParts(
            tokens: table, added: addedTokens(), normalizers: rule.normalizers, preTokenizers: rule.preTokenizers,
            model: .bytePair(model), decoder: TokenDecoder(steps: [.byteLevel]),
            frame: TextFrame(prefix: prefix(byDefault: rule.beginsTexts), suffix: suffix))
    }

    /// The rule that `tokenizer.ggml.pre` names.
    private func byteLevelRule() throws(TokenizationError) -> ByteLevelRule {
        guard let preTokenizer else {
            throw .unsupported(file: file, feature: "a byte-level vocabulary without 'tokenizer.ggml.pre'")
        }
        guard let rule = ByteLevelRule(name: preTokenizer) else {
            throw .unsupported(file: file, feature: "the pre-tokenizer '\(preTokenizer)' ('tokenizer.ggml.pre')")
        }
        return rule
    }

    private func scoredParts(_ table: TokenTable) throws(TokenizationError) -> TokenizerParts {
        guard scores.count == tokens.count else {
            throw .malformed(
                file: file,
                problem: "there are \(scores.count) scores in 'tokenizer.ggml.scores' for \(tokens.count) tokens")
        }
        var byteTokens = table.fallbackTokens()
        for byte in UInt8.min...UInt8.max where byteTokens[Int(byte)] < 0 {
            byteTokens[Int(byte)] = table.id(of: [byte]) ?? -1
        }
        let mark = Array("▁".utf8)
        let space = [UInt8(ascii: " ")]
        let addsSpace = addsSpacePrefix ?? true
        let model = ScoredPieceModel(
            tokens: table, scores: scores, byteTokens: byteTokens, unknownToken: Int32(unknownTokenID ?? 0))
        return TokenizerParts(
            tokens: table, added: addedTokens(),
            normalizers: (addsSpace ? [.prepend(mark)] : []) + [.replace(space, with: mark)], preTokenizers: [],
            model: .scoredPieces(model),
            decoder: TokenDecoder(
                steps: [.replace(pattern: mark, content: space), .byteFallback, .fuse]
                    + (addsSpace ? [.strip(character: space, start: 1, stop: 0)] : [])),
            frame: TextFrame(prefix: prefix(byDefault: true), suffix: suffix))
    }

    /// The tokens that are found in text as they stand.
    private func addedTokens() -> [AddedToken] {
        zip(tokens, types).enumerated().compactMap { id, entry in
            switch entry.1 {
            case .control, .unknown, .userDefined:
                guard !entry.0.isEmpty else { return nil }
                return AddedToken(id: Int32(id), content: entry.0, isSpecial: entry.1 != .userDefined)
            case .normal, .unused, .byte: return nil
            }
        }
    }

    private func prefix(byDefault: Bool) -> [Int32] {
        guard addsBOS ?? byDefault, let bosTokenID else { return [] }
        return [Int32(bosTokenID)]
    }

    private var suffix: [Int32] {
        guard addsEOS ?? false, let eosTokenID else { return [] }
        return [Int32(eosTokenID)]
    }
}
