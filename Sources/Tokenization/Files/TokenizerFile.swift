import CheckpointIO
import TensorCore

/// Reads Hugging Face's `tokenizer.json`.
///
/// Whatever in it is not understood is refused by name: a step left out would give other ids in silence. Two fields are
/// known and not applied, as `truncation` and `padding` are for the caller of `tokenizers` to choose anew each time.
struct TokenizerFile {
    private let root: JSONFields

    /// Takes the parsed text of `file`.
    init(_ value: JSONValue, file: String) throws(TokenizationError) {
        root = try JSONFields(value, file: file, path: "")
        try root.allow(
            "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
            "decoder", "model")
    }

    /// Everything that the file says.
    func parts() throws(TokenizationError) -> TokenizerParts {
        let normalizers = try root["normalizer"] == nil ? [] : Self.normalizers(root.fields("normalizer"))
        let preTokenizers = try root["pre_tokenizer"] == nil ? [] : Self.preTokenizers(root.fields("pre_tokenizer"))
        let isByteLevel = preTokenizers.contains { if case .byteLevel = $0 { true } else { false } }
        if isByteLevel, case .byteLevel = preTokenizers.last {
        } else if isByteLevel {
            throw root.unsupported("a pre-tokenizer after ByteLevel")
        }
        let model = try vocabularyModel(isByteLevel: isByteLevel)
        var tokens = model.tokens
        let added = try addedTokens(into: &tokens)
        let frame = try root["post_processor"] == nil ? nil : Self.frame(root.fields("post_processor"))
        for id in frame?.addedTokens ?? [] where tokens[id] == nil {
            throw .malformed(file: root.file, problem: "'post_processor' adds token \(id), which does not exist")
        }
        let steps = try root["decoder"] == nil ? [] : Self.decoderSteps(root.fields("decoder"))
        try checkGrowth(
            normalizers.map { step in
                switch step {
                case .replace(let old, let new): (old.count, new.count)
                case .replaceMatches(_, let new): (1, new.count)
                default: (1, 1)
                }
            }, "normalizer")
        try checkGrowth(
            steps.map { if case .replace(let old, let new) = $0 { (old.count, new.count) } else { (1, 1) } }, "decoder")
        return TokenizerParts(
            tokens: tokens, added: added, normalizers: normalizers, preTokenizers: preTokenizers,
            model: model.model, decoder: TokenDecoder(steps: steps), frame: frame ?? .none)
    }

    /// The vocabulary and what cuts words into it.
    private func vocabularyModel(
        isByteLevel: Bool
    ) throws(TokenizationError) -> (tokens: TokenTable, model: TokenizerParts.Model) {
        let fields = try root.fields("model")
        let type = try fields["type"] == nil ? Self.kind(of: fields) : fields.string("type")
        if isByteLevel, type != "BPE" { throw root.unsupported("the pre-tokenizer ByteLevel before \(type)") }
        switch type {
        case "WordPiece":
            let (tokens, model) = try fields.wordPiece()
            return (tokens, .wordPiece(model))
        case "Unigram":
            let (tokens, model) = try fields.unigram()
            return (tokens, .unigram(model))
        default:
            let file = try BytePairModelFile(fields)
            return (file.tokens, .bytePair(try file.makeModel(isByteLevel: isByteLevel)))
        }
    }

    /// The kind of a model that older files do not name, by its fields.
    private static func kind(of model: JSONFields) -> String {
        if model["vocab"]?.arrayValue != nil { return "Unigram" }
        return model["merges"] == nil && model["max_input_chars_per_word"] != nil ? "WordPiece" : "BPE"
    }

    /// How many times as long as it was a text may become by replacing; the steps of known tokenizers treble it.
    private static let growthLimit = 1000

    /// Throws `malformed` where replacements, each of a text of so many bytes by one of so many, could make a text far
    /// longer one after the other.
    private func checkGrowth(_ replacements: [(old: Int, new: Int)], _ key: String) throws(TokenizationError) {
        var growth = 1
        for replacement in replacements {
            growth *= max(1, (replacement.new + replacement.old - 1) / max(1, replacement.old))
            guard growth <= Self.growthLimit else {
                throw .malformed(
                    file: root.file,
                    problem: "the steps of '\(key)' can make a text more than \(Self.growthLimit) times as long")
            }
        }
    }

    // MARK: Added tokens

    private func addedTokens(into tokens: inout TokenTable) throws(TokenizationError) -> [AddedToken] {
        var added: [AddedToken] = []
        for fields in try root.fieldsList("added_tokens") {
            try fields.allow("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special")
            let id = try fields.natural("id")
            let content = try fields.bytes("content")
            guard id < TokenTable.idLimit else {
                throw fields.malformed("id", "below \(TokenTable.idLimit)")
            }
            let known = tokens.id(of: content)
            guard known == Int32(id) || (known == nil && tokens.insert(content, id: Int32(id))) else {
                let text = String(decoding: content, as: UTF8.self)
                let clash = known.map { "the vocabulary gives it \($0)" } ?? "that id is another token's"
                throw .malformed(file: root.file, problem: "added token '\(text)' has id \(id), but \(clash)")
            }
            let isSpecial = try fields.bool("special", default: false)
            added.append(
                AddedToken(
                    id: Int32(id), content: content, isSpecial: isSpecial,
                    isSingleWord: try fields.bool("single_word", default: false),
                    stripsLeft: try fields.bool("lstrip", default: false),
                    stripsRight: try fields.bool("rstrip", default: false),
                    isNormalized: try fields.bool("normalized", default: !isSpecial)))
        }
        return added
    }
}
