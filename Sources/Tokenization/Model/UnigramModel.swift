/// The unigram language model of subwords ("Subword Regularization", arXiv:1804.10959, section 3.2): of all ways to cut
/// a word into tokens, the one whose sum of log probabilities is highest, found by Viterbi's algorithm; the first found
/// of equals, as in `tokenizers`.
struct UnigramModel: Sendable {
    /// What an unknown character costs below the least probable token, in nats.
    private static let unknownPenalty = 10.0

    private let trie: PieceTrie
    /// By text, to find again what fused unknown characters spell.
    private let tokens: TokenTable
    private let scores: [Double]
    private let unknownToken: Int32
    private let unknownScore: Double
    /// For each byte its token `<0x00>`...`<0xFF>`, -1 where there is none; nil without byte fallback.
    private let fallbackTokens: [Int32]?

    /// The model of a vocabulary.
    ///
    /// - Parameter scores: log probabilities, one for each id of `tokens`, finite.
    ///
    /// The texts of all tokens together have at most `PieceTrie.byteLimit` bytes.
    init(tokens: TokenTable, scores: [Double], unknownToken: Int32, fallbackTokens: [Int32]?) {
        let texts = (0..<Int32(tokens.idBound)).map { tokens[$0] }
        var trie = PieceTrie(byteCount: texts.reduce(0) { $0 + ($1?.count ?? 0) })
        for (id, text) in texts.enumerated() {
            if let text, !text.isEmpty { trie.insert(text, id: Int32(id)) }
        }
        self.trie = trie
        self.tokens = tokens
        self.scores = scores
        self.unknownToken = unknownToken
        unknownScore = (scores.min() ?? 0) - Self.unknownPenalty
        self.fallbackTokens = fallbackTokens
    }

    /// The best way to each place of a word, kept from word to word.
    struct Lattice: Sendable {
        /// The last token of the best way to a place.
        fileprivate struct Node {
            var id: Int32 = -1
            /// Where the token begins, counted from the start of the word; -1 where no way leads here.
            var start = -1
            var score = 0.0
        }
        fileprivate var nodes: [Node] = []
        fileprivate var path: [Symbol] = []

        /// Room for no word yet.
        init() {}
    }

    /// Appends the tokens of the word `text.bytes[word]`.
    func encode(_ word: Range<Int>, of text: TrackedText, using lattice: inout Lattice, into sink: inout TokenSink) {
        if word.isEmpty { return }
        fill(&lattice.nodes, word, of: text.bytes)
        lattice.path.removeAll(keepingCapacity: true)
        var end = word.count
        while end > 0 {
            let node = lattice.nodes[end]
            let start = word.lowerBound + node.start
            if node.id == unknownToken, let last = lattice.path.last, last.id == unknownToken {
                // Unknown neighbours are one.
                lattice.path[lattice.path.count - 1].start = start
            } else {
                lattice.path.append(Symbol(id: node.id, start: start, end: word.lowerBound + end))
            }
            end = node.start
        }
        for symbol in lattice.path.reversed() {
            let range = symbol.start..<symbol.end
            if symbol.id == unknownToken {
                appendUnknown(range, of: text, into: &sink)
            } else {
                sink.append(symbol.id, for: range, of: text)
            }
        }
    }

    private func fill(_ nodes: inout [Lattice.Node], _ word: Range<Int>, of bytes: [UInt8]) {
        nodes.removeAll(keepingCapacity: true)
        nodes.append(contentsOf: repeatElement(Lattice.Node(), count: word.count + 1))
        nodes[0].start = 0
        var start = word.lowerBound
        while start < word.upperBound {
            let place = start - word.lowerBound
            let score = nodes[place].score
            let end = min(start + UTF8Scalar.length(lead: bytes[start]), word.upperBound)
            var hasCharacter = false
            func offer(_ id: Int32, _ end: Int, _ score: Double) {
                let target = end - word.lowerBound
                guard nodes[target].start < 0 || score > nodes[target].score else { return }
                nodes[target] = Lattice.Node(id: id, start: place, score: score)
            }
            trie.forEachToken(in: bytes, start..<word.upperBound) { id, tokenEnd in
                offer(id, tokenEnd, score + scores[Int(id)])
                if tokenEnd == end { hasCharacter = true }
            }
            if !hasCharacter { offer(unknownToken, end, score + unknownScore) }
            start = end
        }
    }

    /// A stretch without tokens: the token that it spells after all, its bytes' tokens, or the unknown token.
    private func appendUnknown(_ range: Range<Int>, of text: TrackedText, into sink: inout TokenSink) {
        if let id = tokens.id(of: text.bytes, range) {
            sink.append(id, for: range, of: text)
        } else if let fallbackTokens, range.allSatisfy({ fallbackTokens[Int(text.bytes[$0])] >= 0 }) {
            for index in range {
                sink.append(fallbackTokens[Int(text.bytes[index])], for: index..<index + 1, of: text)
            }
        } else {
            sink.append(unknownToken, for: range, of: text)
        }
    }
}
