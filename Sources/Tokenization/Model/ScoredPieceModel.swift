/// SentencePiece's byte-pair model as GGUF files hold it: two neighbours merge if their joint text is a token, the one
/// with the highest score first, the leftmost of equals; what is no token at the end becomes bytes.
struct ScoredPieceModel: Sendable {
    private let ranking: ScoreRanking
    /// For each byte its token, -1 where there is none.
    private let byteTokens: [Int32]
    private let unknownToken: Int32

    /// `scores` has one score for each id of `tokens`; NaN counts as the lowest.
    init(tokens: TokenTable, scores: [Float], byteTokens: [Int32], unknownToken: Int32) {
        ranking = ScoreRanking(tokens: tokens, ranks: Self.ranks(of: scores))
        self.byteTokens = byteTokens
        self.unknownToken = unknownToken
    }

    /// Appends the tokens of the word `text.bytes[word]`.
    func encode(_ word: Range<Int>, of text: TrackedText, using merger: inout PairMerger, into sink: inout TokenSink) {
        merger.symbols.removeAll(keepingCapacity: true)
        var start = word.lowerBound
        while start < word.upperBound {
            let end = min(start + UTF8Scalar.length(lead: text.bytes[start]), word.upperBound)
            let id = ranking.tokens.id(of: text.bytes, start..<end) ?? -1
            merger.symbols.append(Symbol(id: id, start: start, end: end))
            start = end
        }
        merger.mergeAll(ranking, in: text.bytes)
        for symbol in merger.symbols {
            if symbol.id >= 0 {
                sink.append(symbol.id, for: symbol.start..<symbol.end, of: text)
                continue
            }
            for index in symbol.start..<symbol.end {
                let id = byteTokens[Int(text.bytes[index])]
                sink.append(id >= 0 ? id : unknownToken, for: index..<index + 1, of: text)
            }
        }
    }

    /// Equal ranks for equal scores, 0 for the highest.
    private static func ranks(of scores: [Float]) -> [UInt32] {
        let order = scores.indices.sorted { scores[$0] > scores[$1] || (scores[$1].isNaN && !scores[$0].isNaN) }
        var ranks = [UInt32](repeating: 0, count: scores.count)
        var rank: UInt32 = 0
        for (place, id) in order.enumerated() {
            if place > 0, scores[id] != scores[order[place - 1]] { rank += 1 }
            ranks[id] = rank
        }
        return ranks
    }
}

/// Ranks a pair by the score of the token that its joint text is.
private struct ScoreRanking: PairRanking, Sendable {
    let tokens: TokenTable
    let ranks: [UInt32]

    func merge(_ left: Symbol, _ right: Symbol, in text: [UInt8]) -> UInt64 {
        guard right.end - left.start <= tokens.longestText, let id = tokens.id(of: text, left.start..<right.end),
            Int(id) < ranks.count
        else { return noMerge }
        return UInt64(ranks[Int(id)]) << 32 | UInt64(id)
    }
}
