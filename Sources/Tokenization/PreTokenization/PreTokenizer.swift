/// What becomes of the stretches that a splitting pattern matches, by the names of `tokenizers`.
enum SplitBehavior: String, Sendable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"

    /// The words that `stretches`, which cover a text without gaps, are made into.
    func words(of stretches: [(range: Range<Int>, isMatch: Bool)]) -> [Range<Int>] {
        var words: [Range<Int>] = []
        var wasMatch = false
        switch self {
        case .isolated:
            words = stretches.map(\.range)
        case .removed:
            words = stretches.filter { !$0.isMatch }.map(\.range)
        case .contiguous:
            for (range, isMatch) in stretches {
                if isMatch == wasMatch, let last = words.popLast() {
                    words.append(last.lowerBound..<range.upperBound)
                } else {
                    words.append(range)
                }
                wasMatch = isMatch
            }
        case .mergedWithPrevious:
            for (range, isMatch) in stretches {
                if isMatch, !wasMatch, let last = words.popLast() {
                    words.append(last.lowerBound..<range.upperBound)
                } else {
                    words.append(range)
                }
                wasMatch = isMatch
            }
        case .mergedWithNext:
            for (range, isMatch) in stretches.reversed() {
                if isMatch, !wasMatch, let next = words.popLast() {
                    words.append(range.lowerBound..<next.upperBound)
                } else {
                    words.append(range)
                }
                wasMatch = isMatch
            }
            words.reverse()
        }
        return words.filter { !$0.isEmpty }
    }
}

/// What a splitting step looks for.
enum SplitPattern: Sendable, Equatable {
    case words(WordPattern)
    case expression(TextExpression)
    /// One text.
    case literal([UInt8])
    /// Characters of Unicode's number categories.
    case numbers
    /// White space characters.
    case whiteSpace
    /// ASCII punctuation and Unicode's punctuation categories.
    case punctuation
    /// `\w+|[^\w\s]+`: runs of letters, marks, digits and underscores, and runs of symbols.
    case wordsAndSymbols

    /// The matches in `bytes[range]` and what lies between them, in order and without gaps.
    func stretches(in bytes: [UInt8], _ range: Range<Int>) -> [(range: Range<Int>, isMatch: Bool)] {
        var stretches: [(range: Range<Int>, isMatch: Bool)] = []
        var kept = range.lowerBound
        func add(_ match: Range<Int>) {
            if kept < match.lowerBound { stretches.append((kept..<match.lowerBound, false)) }
            stretches.append((match, true))
            kept = match.upperBound
        }
        switch self {
        case .words(let pattern):
            while kept < range.upperBound {
                add(kept..<pattern.wordEnd(in: bytes, from: kept, to: range.upperBound))
            }
        case .expression(let expression):
            for match in expression.matches(in: bytes, range) { add(match) }
        case .literal(let text):
            while let match = bytes.firstOccurrence(of: text, in: kept..<range.upperBound) { add(match) }
        case .wordsAndSymbols:
            while let match = Self.wordOrSymbols(in: bytes, kept..<range.upperBound) { add(match) }
        case .numbers, .whiteSpace, .punctuation:
            var index = range.lowerBound
            while index < range.upperBound {
                let (scalar, length) = UTF8Scalar.scalar(in: bytes, at: index)
                if matches(scalar) { add(index..<index + length) }
                index += length
            }
        }
        if kept < range.upperBound { stretches.append((kept..<range.upperBound, false)) }
        return stretches
    }

    /// The first run of one kind in a stretch that is no white space.
    private static func wordOrSymbols(in bytes: [UInt8], _ range: Range<Int>) -> Range<Int>? {
        var start = range.lowerBound
        var isWord: Bool?
        var index = start
        while index < range.upperBound {
            let (scalar, length) = UTF8Scalar.scalar(in: bytes, at: index)
            let kind = scalar.properties.isWhitespace ? nil : scalar.isWordCharacter
            if isWord == nil { start = index } else if kind != isWord { break }
            isWord = kind
            index += length
        }
        return isWord == nil ? nil : start..<index
    }

    private func matches(_ scalar: Unicode.Scalar) -> Bool {
        switch self {
        case .numbers:
            if scalar.isASCII { return (0x30...0x39).contains(scalar.value) }
            switch scalar.properties.generalCategory {
            case .decimalNumber, .letterNumber, .otherNumber: return true
            default: return false
            }
        case .whiteSpace: return scalar.properties.isWhitespace
        case .punctuation: return OlderCategories.isPunctuation(scalar)
        case .words, .expression, .literal, .wordsAndSymbols: return false
        }
    }
}

/// One step that cuts text into words, and may rewrite it.
enum PreTokenizer: Sendable, Equatable {
    /// GPT-2's: perhaps a space before each word so far, perhaps a split by its pattern. The bytes of the words are
    /// then what the model sees, so this is the last step of all.
    case byteLevel(addsPrefixSpace: Bool, splits: Bool)
    case split(SplitPattern, behavior: SplitBehavior, inverted: Bool)
    /// BERT's: words end at white space, which goes, and at punctuation, which stands alone.
    case bert
    /// SentencePiece's: spaces become `replacement`, one may be added before the text, and words begin with it.
    case metaspace(replacement: [UInt8], prefix: PrefixScheme, splits: Bool)

    /// Where `metaspace` adds its replacement.
    enum PrefixScheme: String, Sendable {
        /// Before every piece between added tokens.
        case always
        /// Before the piece that begins the text.
        case first
        case never
    }
}

/// A text cut into words by pre-tokenizers.
struct WordList: Sendable {
    private(set) var text: TrackedText
    /// In order, none empty; they may leave gaps.
    private(set) var words: [Range<Int>]
    /// Whether the first word begins the source text.
    private var beginsSource: Bool

    /// One word: the whole text.
    init(text: TrackedText, beginsSource: Bool) {
        self.text = text
        self.beginsSource = beginsSource
        words = text.bytes.isEmpty ? [] : [0..<text.bytes.count]
    }

    /// Takes one step.
    mutating func apply(_ step: PreTokenizer) {
        switch step {
        case .byteLevel(let addsPrefixSpace, let splits):
            if addsPrefixSpace {
                let space = [UInt8(ascii: " ")]
                rewrite { word, text, _ in
                    text.bytes.hasBytes(space, at: word.lowerBound) ? nil : text.copy(word).prepending(space)
                }
            }
            if splits { split(.words(.gpt2), behavior: .isolated, inverted: false) }
        case .split(let pattern, let behavior, let inverted):
            split(pattern, behavior: behavior, inverted: inverted)
        case .bert: splitAsBert()
        case .metaspace(let replacement, let prefix, let splits):
            rewrite { word, text, beginsSource in
                let replaced = text.copy(word).replacing([UInt8(ascii: " ")], with: replacement)
                let isPrefixed = prefix == .always || (prefix == .first && beginsSource)
                if !isPrefixed || replaced.bytes.hasBytes(replacement, at: 0) { return replaced }
                return replaced.prepending(replacement)
            }
            if splits { split(.literal(replacement), behavior: .mergedWithNext, inverted: false) }
        }
    }

    private mutating func splitAsBert() {
        var shorter: [Range<Int>] = []
        shorter.reserveCapacity(text.bytes.count / 4)
        for word in words {
            var start = word.lowerBound
            var index = start
            while index < word.upperBound {
                let (kind, length) = BertCharacter.read(text.bytes, at: index)
                if kind != .letter {
                    if start < index { shorter.append(start..<index) }
                    if kind == .punctuation { shorter.append(index..<index + length) }
                    start = index + length
                }
                index += length
            }
            if start < word.upperBound { shorter.append(start..<word.upperBound) }
        }
        if words.first?.lowerBound != shorter.first?.lowerBound { beginsSource = false }
        words = shorter
    }

    private mutating func split(_ pattern: SplitPattern, behavior: SplitBehavior, inverted: Bool) {
        let first = words.first?.lowerBound
        if case .words(let pattern) = pattern, behavior == .isolated {
            // The usual case, without a list of stretches for each word. Inversion changes nothing: both sides stay.
            var shorter: [Range<Int>] = []
            shorter.reserveCapacity(text.bytes.count / 4)
            for word in words {
                var start = word.lowerBound
                while start < word.upperBound {
                    let end = pattern.wordEnd(in: text.bytes, from: start, to: word.upperBound)
                    shorter.append(start..<end)
                    start = end
                }
            }
            words = shorter
            return
        }
        words = words.flatMap { word in
            var stretches = pattern.stretches(in: text.bytes, word)
            if inverted { for index in stretches.indices { stretches[index].isMatch.toggle() } }
            return behavior.words(of: stretches)
        }
        if words.first?.lowerBound != first { beginsSource = false }
    }

    /// Replaces each word by what `change` makes of it (word, text, whether it begins the source); nil keeps it.
    private mutating func rewrite(_ change: (Range<Int>, TrackedText, Bool) -> TrackedText?) {
        var rewritten = text.emptied()
        var moved: [Range<Int>] = []
        for (index, word) in words.enumerated() {
            let start = rewritten.bytes.count
            if let changed = change(word, text, index == 0 && beginsSource) {
                rewritten.append(0..<changed.bytes.count, of: changed)
            } else {
                rewritten.append(word, of: text)
            }
            moved.append(start..<rewritten.bytes.count)
        }
        text = rewritten
        words = moved
    }
}
