/// BERT's subwords: from the start of a word the longest token that fits, then the longest of those that continue one,
/// and so on ("BERT: Pre-training of Deep Bidirectional Transformers", arXiv:1810.04805; the scheme of arXiv:1609.08144,
/// section 4.1). A word that cannot be covered, or is too long, is the unknown token.
struct WordPieceModel: Sendable {
    /// Tokens that begin a word.
    private let beginnings: TokenTable
    /// Tokens that continue one, without the mark that says so.
    private let continuations: TokenTable
    private let unknownToken: Int32
    /// Characters of a word at most.
    private let longestWord: Int
    /// What stands before a token that continues a word, `##`.
    let continuationMark: [UInt8]

    /// The model of a vocabulary as files spell it.
    init(tokens: TokenTable, unknownToken: Int32, longestWord: Int, continuationMark: [UInt8]) {
        var continuations = TokenTable(capacity: tokens.count)
        for id in 0..<Int32(tokens.idBound) {
            guard let text = tokens[id], text.starts(with: continuationMark) else { continue }
            _ = continuations.insert(text.dropFirst(continuationMark.count), id: id)
        }
        beginnings = tokens
        self.continuations = continuations
        self.unknownToken = unknownToken
        self.longestWord = longestWord
        self.continuationMark = continuationMark
    }

    /// Appends the tokens of the word `text.bytes[word]`.
    func encode(
        _ word: Range<Int>, of text: TrackedText, using found: inout [Symbol], into sink: inout TokenSink
    ) {
        if word.isEmpty { return }
        let bytes = text.bytes
        if word.count > longestWord, text.scalarCount(word) > longestWord {
            sink.append(unknownToken, for: word, of: text)
            return
        }
        found.removeAll(keepingCapacity: true)
        var start = word.lowerBound
        while start < word.upperBound {
            let table = start == word.lowerBound ? beginnings : continuations
            guard let symbol = Self.longest(in: table, of: bytes, start..<word.upperBound) else {
                sink.append(unknownToken, for: word, of: text)
                return
            }
            found.append(symbol)
            start = symbol.end
        }
        for symbol in found { sink.append(symbol.id, for: symbol.start..<symbol.end, of: text) }
    }

    /// The longest token at the start of a stretch; it ends where a character does.
    private static func longest(in table: TokenTable, of bytes: [UInt8], _ stretch: Range<Int>) -> Symbol? {
        var end = min(stretch.upperBound, stretch.lowerBound + table.longestText)
        while end > stretch.lowerBound {
            let isBoundary = end == stretch.upperBound || bytes[end] & 0xC0 != 0x80
            if isBoundary, let id = table.id(of: bytes, stretch.lowerBound..<end) {
                return Symbol(id: id, start: stretch.lowerBound, end: end)
            }
            end -= 1
        }
        return nil
    }
}
