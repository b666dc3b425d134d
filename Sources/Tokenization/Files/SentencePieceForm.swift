import CheckpointIO
import TensorCore

/// A model family whose tokenizer comes as a SentencePiece model alone, and what its class in transformers (5.24) makes
/// of that: the file says neither where special tokens go nor, for DeBERTa, which normalizer is meant.
struct SentencePieceForm {
    /// The name of the family's file.
    let fileName: String
    /// Special tokens by their names in a configuration, with what they are where it does not say.
    let specialTokens: [(name: String, text: String)]
    /// Which of them begin and end a text.
    let begin: String?
    let end: String
    /// Which stand for what is unknown and for a masked word.
    let unknown: String
    let mask: String?
    /// Whether a second text has a type of its own, and whether one more end stands before it.
    let hasTypes: Bool
    let repeatsEnd: Bool
    /// Whether the vocabulary begins with four tokens of fairseq's in place of the model's first three.
    let isFairseq: Bool
    /// Sentinels behind the vocabulary, counted down to 0.
    let sentinelCount: Int

    /// The families.
    static let all = [
        SentencePieceForm(
            fileName: "spm.model",
            specialTokens: [
                ("pad_token", "[PAD]"), ("cls_token", "[CLS]"), ("sep_token", "[SEP]"), ("unk_token", "[UNK]"),
                ("mask_token", "[MASK]"),
            ],
            begin: "cls_token", end: "sep_token", unknown: "unk_token", mask: "mask_token", hasTypes: true,
            repeatsEnd: false, isFairseq: false, sentinelCount: 0),
        SentencePieceForm(
            fileName: "sentencepiece.bpe.model",
            specialTokens: [
                ("bos_token", "<s>"), ("pad_token", "<pad>"), ("eos_token", "</s>"), ("unk_token", "<unk>"),
                ("mask_token", "<mask>"),
            ],
            begin: "bos_token", end: "eos_token", unknown: "unk_token", mask: "mask_token", hasTypes: false,
            repeatsEnd: true, isFairseq: true, sentinelCount: 0),
        SentencePieceForm(
            fileName: "spiece.model",
            specialTokens: [("pad_token", "<pad>"), ("eos_token", "</s>"), ("unk_token", "<unk>")],
            begin: nil, end: "eos_token", unknown: "unk_token", mask: nil, hasTypes: false, repeatsEnd: false,
            isFairseq: false, sentinelCount: 100),
    ]

    /// The tokenizer of a SentencePiece model of this family.
    ///
    /// - Parameter configuration: `tokenizer_config.json`, which may name other special tokens.
    ///
    /// Throws `unsupported` for a model that is no unigram one, `malformed` for one without a token that is needed.
    func parts(_ file: SentencePieceFile, configuration: JSONValue?) throws(TokenizationError) -> TokenizerParts {
        guard file.algorithm == 1 else {
            throw .unsupported(file: file.file, feature: "a SentencePiece model that is no unigram model")
        }
        let names = texts(configuration)
        var pieces = UnigramPieces(file: file.file, capacity: file.pieces.count)
        var added: [AddedToken] = []
        func add(_ text: String, score: Double = 0) throws(TokenizationError) {
            try pieces.append(Array(text.utf8), score: score)
        }
        if isFairseq {
            for (name, _) in specialTokens.prefix(4) { try add(names[name] ?? "") }
        }
        for piece in file.pieces.dropFirst(isFairseq ? 3 : 0) {
            let id = Int32(pieces.scores.count)
            try pieces.append(piece.text, score: Double(piece.score))
            if piece.kind == .control || piece.kind == .userDefined {
                added.append(AddedToken(id: id, content: piece.text, isSpecial: piece.kind == .control))
            }
        }
        let sentinels = try sentinelCount(configuration, file.file)
        for number in (0..<sentinels).reversed() { try add("<extra_id_\(number)>") }
        if isFairseq, let mask, let text = names[mask] { try add(text) }
        var tokens = pieces.tokens
        func special(_ text: String) throws(TokenizationError) -> Int32 {
            let content = Array(text.utf8)
            let id = tokens.id(of: content) ?? Int32(tokens.idBound)
            guard !content.isEmpty, tokens.id(of: content) != nil || Int(id) < TokenTable.idLimit else {
                throw .malformed(file: file.file, problem: "a special token is empty, or there are too many")
            }
            if tokens.id(of: content) == nil { _ = tokens.insert(content, id: id) }
            if !added.contains(where: { $0.id == id }) {
                added.append(AddedToken(id: id, content: content, isSpecial: true))
            }
            return id
        }
        var ids: [String: Int32] = [:]
        for (name, _) in specialTokens { ids[name] = try special(names[name] ?? "") }
        for number in 0..<sentinels { _ = try special("<extra_id_\(number)>") }
        guard let unknownID = ids[unknown], Int(unknownID) < pieces.scores.count, let endID = ids[end] else {
            throw .malformed(
                file: file.file, problem: "the unknown token '\(names[unknown] ?? "")' is not in the vocabulary")
        }
        let model = try pieces.model(unknown: Int(unknownID), fallsBack: false)
        let mark = Array("▁".utf8)
        return TokenizerParts(
            tokens: tokens, added: added, normalizers: try normalizers(file, configuration),
            preTokenizers: try preTokenizers(configuration, mark: mark), model: .unigram(model),
            decoder: TokenDecoder(steps: [.metaspace(replacement: mark, dropsFirst: true)]),
            frame: frame(begin: begin.flatMap { ids[$0] }, end: endID))
    }

    /// The special tokens of a configuration by their names.
    func texts(_ configuration: JSONValue?) -> [String: String] {
        var texts: [String: String] = [:]
        for (name, text) in specialTokens {
            let value = configuration?[name]
            texts[name] = value?.stringValue ?? value?["content"]?.stringValue ?? text
        }
        return texts
    }

    private func sentinelCount(_ configuration: JSONValue?, _ file: String) throws(TokenizationError) -> Int {
        guard sentinelCount > 0, let value = configuration?["extra_ids"], !value.isNull else { return sentinelCount }
        guard let count = value.integer(in: 0...10_000) else {
            throw .malformed(file: file, problem: "'extra_ids' of its configuration is no number from 0 to 10000")
        }
        return count
    }

    /// DeBERTa's class leaves the model's table of characters out, and composes.
    private func normalizers(
        _ file: SentencePieceFile, _ configuration: JSONValue?
    ) throws(TokenizationError) -> [Normalizer] {
        guard hasTypes else { return file.characterMap.map { [.characterMap($0)] } ?? [] }
        let spaces = #"\s{2,}|[\n\r\t]"#
        guard let expression = TextExpression(spaces) else {
            throw .unsupported(file: file.file, feature: "the expression '\(spaces)'")
        }
        let lowers = configuration?["do_lower_case"]?.boolValue == true
        return (lowers ? [.lowercase] : []) + [
            .replaceMatches(expression, with: [UInt8(ascii: " ")]), .composed, .strip(left: false, right: true),
        ]
    }

    private func preTokenizers(
        _ configuration: JSONValue?, mark: [UInt8]
    ) throws(TokenizationError) -> [PreTokenizer] {
        let addsSpace = configuration?["add_prefix_space"]?.boolValue ?? true
        let scheme: PreTokenizer.PrefixScheme = addsSpace || sentinelCount > 0 ? .always : hasTypes ? .first : .never
        let words = PreTokenizer.metaspace(replacement: mark, prefix: scheme, splits: true)
        guard hasTypes else { return [.split(.whiteSpace, behavior: .removed, inverted: false), words] }
        let splits = configuration?["split_by_punct"]?.boolValue == true
        return (splits ? [.split(.punctuation, behavior: .isolated, inverted: false)] : []) + [words]
    }

    private func frame(begin: Int32?, end: Int32) -> TextFrame {
        let beginning: [TextFrame.Piece] = begin.map { [.token($0, type: 0)] } ?? []
        let type: Int32 = hasTypes ? 1 : 0
        let single = beginning + [.text(isSecond: false, type: 0), .token(end, type: 0)]
        let second: [TextFrame.Piece] = [.text(isSecond: true, type: type), .token(end, type: type)]
        return TextFrame(single: single, pair: single + (repeatsEnd ? [.token(end, type: 0)] : []) + second)
    }
}
