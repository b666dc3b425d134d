/// Byte-pair encoding by a list of merges ("Neural Machine Translation of Rare Words with Subword Units",
/// arXiv:1508.07909, algorithm 1), with what Hugging Face's `BPE` model adds to it: unknown tokens, byte fallback,
/// whole words that ignore the merges.
struct BytePairModel: Sendable {
    /// How a word is cut into its first symbols.
    private enum Units: Sendable {
        /// One symbol a byte; texts are stored decoded from the byte alphabet.
        case bytes(ByteAlphabet)
        /// One symbol a character (Unicode scalar).
        case characters
    }

    private let units: Units
    /// The vocabulary as a word's bytes see it.
    private let tokens: TokenTable
    private let merges: MergeTable
    /// For each byte the token of that byte alone, -1 where there is none.
    private let byteTokens: [Int32]
    /// For each byte its token `<0x00>`...`<0xFF>`, -1 where there is none; nil without byte fallback.
    private let fallbackTokens: [Int32]?
    let unknownToken: Int32?
    private let fusesUnknown: Bool
    let ignoresMerges: Bool
    /// By id, whether the token's own text encodes to it alone, so that such a word needs no merging.
    private var isWhole: [Bool] = []

    /// Builds the model from a vocabulary as files spell it, byte-level ones in the byte alphabet.
    init(
        isByteLevel: Bool, tokens: TokenTable, merges: MergeTable, fallbackTokens: [Int32]?, unknownToken: Int32?,
        fusesUnknown: Bool, ignoresMerges: Bool
    ) {
        let alphabet = ByteAlphabet()
        let tokens = isByteLevel ? tokens.decoded(by: alphabet) : tokens
        units = isByteLevel ? .bytes(alphabet) : .characters
        self.tokens = tokens
        self.merges = merges
        self.fallbackTokens = fallbackTokens
        self.unknownToken = unknownToken
        self.fusesUnknown = fusesUnknown
        self.ignoresMerges = ignoresMerges
        byteTokens = (UInt8.min...UInt8.max).map { tokens.id(of: [$0]) ?? -1 }
        isWhole = wholeTokens()
    }

    /// Appends the tokens of the word `text.bytes[word]`.
    func encode(_ word: Range<Int>, of text: TrackedText, using merger: inout PairMerger, into sink: inout TokenSink) {
        if word.isEmpty { return }
        if word.count <= tokens.longestText, let id = tokens.id(of: text.bytes, word),
            ignoresMerges || isWhole[Int(id)]
        {
            sink.append(id, for: word, of: text)
            return
        }
        split(word, of: text.bytes, into: &merger.symbols)
        merger.mergeAll(merges, in: text.bytes)
        for symbol in merger.symbols { sink.append(symbol.id, for: symbol.start..<symbol.end, of: text) }
    }

    /// Bytes of a token at most whose text is merged in advance, to know whether that gives it back; a longer word is
    /// merged when it is met.
    private static let wholeLimit = 64

    /// Which tokens merging gives back from their own text.
    private func wholeTokens() -> [Bool] {
        var whole = [Bool](repeating: false, count: tokens.idBound)
        var merger = PairMerger()
        for id in whole.indices {
            guard let text = tokens[Int32(id)], !text.isEmpty, text.count <= Self.wholeLimit else { continue }
            let bytes = Array(text)
            split(0..<bytes.count, of: bytes, into: &merger.symbols)
            merger.mergeAll(merges, in: bytes)
            whole[id] = merger.symbols.count == 1 && merger.symbols[0].id == Int32(id)
        }
        return whole
    }

    /// The first symbols of a word. A character outside the vocabulary becomes its bytes' tokens where there is byte
    /// fallback, else the unknown token, else nothing, as in `tokenizers`.
    private func split(_ word: Range<Int>, of text: [UInt8], into symbols: inout [Symbol]) {
        symbols.removeAll(keepingCapacity: true)
        // An unknown stretch waits here until the next known symbol, as it may grow; fallback bytes overtake it.
        var unknown: Symbol?
        var start = word.lowerBound
        while start < word.upperBound {
            let end: Int
            let id: Int32
            switch units {
            case .bytes:
                end = start + 1
                id = byteTokens[Int(text[start])]
            case .characters:
                end = min(start + UTF8Scalar.length(lead: text[start]), word.upperBound)
                id = end == start + 1 ? byteTokens[Int(text[start])] : tokens.id(of: text, start..<end) ?? -1
            }
            if id >= 0 {
                if let waiting = unknown { symbols.append(waiting) }
                unknown = nil
                symbols.append(Symbol(id: id, start: start, end: end))
            } else if !appendFallback(start..<end, of: text, to: &symbols), let unknownToken {
                if let waiting = unknown, !fusesUnknown {
                    symbols.append(waiting)
                    unknown = nil
                }
                unknown = Symbol(id: unknownToken, start: unknown?.start ?? start, end: end)
            }
            start = end
        }
        if let waiting = unknown { symbols.append(waiting) }
    }

    /// Appends a character's fallback tokens; false where there is no fallback, or not for all of its bytes.
    private func appendFallback(_ range: Range<Int>, of text: [UInt8], to symbols: inout [Symbol]) -> Bool {
        guard let fallbackTokens else { return false }
        switch units {
        case .characters:
            if range.contains(where: { fallbackTokens[Int(text[$0])] < 0 }) { return false }
            for index in range {
                symbols.append(Symbol(id: fallbackTokens[Int(text[index])], start: index, end: index + 1))
            }
        case .bytes(let alphabet):
            // What falls back is the letter that stands for the byte.
            let letter = Array(UTF8.encode(alphabet.scalar(of: text[range.lowerBound]))!)
            if letter.contains(where: { fallbackTokens[Int($0)] < 0 }) { return false }
            for byte in letter {
                let id = fallbackTokens[Int(byte)]
                symbols.append(Symbol(id: id, start: range.lowerBound, end: range.upperBound))
            }
        }
        return true
    }
}

extension TokenTable {
    /// The tokens as the bytes that they stand for. A text with characters outside the alphabet stands for none: only
    /// an added token has one, and that is found before any word is cut.
    fileprivate func decoded(by alphabet: ByteAlphabet) -> TokenTable {
        var table = TokenTable(capacity: count)
        for id in 0..<Int32(idBound) {
            if let text = self[id], let bytes = alphabet.decode(text) { _ = table.insert(bytes, id: id) }
        }
        return table
    }
}

/// Which pairs of tokens merge, in which order, into what.
struct MergeTable: PairRanking, Sendable {
    private var keys: [UInt64]
    private var values: [UInt64]
    private let mask: Int
    /// No id is negative, so no pair has this key.
    private static let free = UInt64.max

    /// An empty table with room for `capacity` pairs.
    init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        keys = [UInt64](repeating: Self.free, count: size)
        values = [UInt64](repeating: noMerge, count: size)
        mask = size - 1
    }

    /// Sets what the pair becomes; a later rank replaces an earlier one. At most `capacity` pairs may be set.
    mutating func set(_ left: Int32, _ right: Int32, rank: UInt32, becomes id: Int32) {
        let key = Self.key(left, right)
        let slot = slot(of: key)
        keys[slot] = key
        values[slot] = UInt64(rank) << 32 | UInt64(UInt32(bitPattern: id))
    }

    func merge(_ left: Symbol, _ right: Symbol, in text: [UInt8]) -> UInt64 {
        values[slot(of: Self.key(left.id, right.id))]
    }

    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    private func slot(of key: UInt64) -> Int {
        // Multiplicative hashing by 2^64 / golden ratio; the high bits are the mixed ones.
        var slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
        while keys[slot] != key, keys[slot] != Self.free { slot = (slot + 1) & mask }
        return slot
    }
}
