import CheckpointIO
import TensorCore

/// The `model` object of a `tokenizer.json` where it is no byte-pair encoding.
extension JSONFields {
    /// BERT's subwords: a vocabulary, the unknown token, the mark of tokens that continue a word.
    func wordPiece() throws(TokenizationError) -> (tokens: TokenTable, model: WordPieceModel) {
        try allow("type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab")
        let tokens = try vocabulary()
        let unknown = try string("unk_token")
        guard let id = tokens.id(of: Array(unknown.utf8)) else {
            throw .malformed(file: file, problem: "the unknown token '\(unknown)' is not in the vocabulary")
        }
        let mark = try self["continuing_subword_prefix"] == nil ? "##" : string("continuing_subword_prefix")
        let longest = try self["max_input_chars_per_word"] == nil ? 100 : natural("max_input_chars_per_word")
        let model = WordPieceModel(
            tokens: tokens, unknownToken: id, longestWord: longest, continuationMark: Array(mark.utf8))
        return (tokens, model)
    }

    /// A unigram language model: tokens with their log probabilities, ids in their order.
    func unigram() throws(TokenizationError) -> (tokens: TokenTable, model: UnigramModel) {
        try allow("type", "unk_id", "vocab", "byte_fallback")
        guard self["vocab"] != nil else { throw malformed("vocab", "a list of tokens and their scores") }
        let list = try list("vocab")
        var pieces = UnigramPieces(file: file, capacity: list.count)
        for (id, value) in list.enumerated() {
            let pair = value.arrayValue ?? []
            guard pair.count == 2, let text = pair[0].stringValue, let score = pair[1].doubleValue else {
                throw .malformed(file: file, problem: "'\(place(of: "vocab"))[\(id)]' is no token with its score")
            }
            try pieces.append(Array(text.utf8), score: score)
        }
        guard self["unk_id"] != nil else { throw malformed("unk_id", "the id of the unknown token") }
        let unknown = try natural("unk_id")
        return (pieces.tokens, try pieces.model(unknown: unknown, fallsBack: bool("byte_fallback", default: false)))
    }

    /// Tokens by text and their ids.
    func vocabulary() throws(TokenizationError) -> TokenTable {
        let vocabulary = try fields("vocab").object
        var tokens = TokenTable(capacity: vocabulary.count)
        for (text, value) in vocabulary.members {
            guard let id = value.integer(in: 0...TokenTable.idLimit - 1) else {
                throw .malformed(
                    file: file,
                    problem: "the id of token '\(text)' is not a whole number from 0 below \(TokenTable.idLimit)")
            }
            guard tokens.insert(text.utf8, id: Int32(id)) else {
                throw .malformed(file: file, problem: "id \(id) stands for two tokens, one of them '\(text)'")
            }
        }
        return tokens
    }
}

/// The tokens of a unigram model as they are read, one after the other.
struct UnigramPieces {
    /// The file, for error messages.
    let file: String
    private(set) var tokens: TokenTable
    private(set) var scores: [Double] = []
    private var byteCount = 0

    /// No tokens yet.
    init(file: String, capacity: Int) {
        self.file = file
        tokens = TokenTable(capacity: min(capacity, TokenTable.idLimit))
    }

    /// Adds the token of the next id. Throws `malformed` for a text that is there already or a score that is no number,
    /// `unsupported` where there are too many.
    mutating func append(_ text: [UInt8], score: Double) throws(TokenizationError) {
        byteCount += text.count
        guard scores.count < TokenTable.idLimit, byteCount <= PieceTrie.byteLimit else {
            throw .unsupported(file: file, feature: "a vocabulary of \(scores.count) tokens and \(byteCount) bytes")
        }
        let shown = String(decoding: text, as: UTF8.self)
        guard score.isFinite else {
            throw .malformed(file: file, problem: "the score of token '\(shown)' is \(score)")
        }
        guard tokens.insert(text, id: Int32(scores.count)) else {
            throw .malformed(file: file, problem: "the vocabulary has the token '\(shown)' twice")
        }
        scores.append(score)
    }

    /// The model. Throws `malformed` where no token has the id `unknown`.
    func model(unknown: Int, fallsBack: Bool) throws(TokenizationError) -> UnigramModel {
        guard scores.indices.contains(unknown) else {
            throw .malformed(
                file: file, problem: "the unknown token is \(unknown), but there are \(scores.count) tokens")
        }
        return UnigramModel(
            tokens: tokens, scores: scores, unknownToken: Int32(unknown),
            fallbackTokens: fallsBack ? tokens.fallbackTokens() : nil)
    }
}
