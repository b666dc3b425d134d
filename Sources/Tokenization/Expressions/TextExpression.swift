/// A regular expression as tokenizer files have them, in the syntax of Oniguruma's Ruby as far as tokenizers use it:
/// alternatives, groups, classes, categories, greedy, lazy and possessive repetition, looking ahead.
///
/// Matched by backtracking, alternatives in their order. An expression that can match no characters is refused, since
/// what it matches between any two would be words.
struct TextExpression: Sendable, Equatable {
    /// As the file spells it.
    let pattern: String
    private let program: [Instruction]

    /// One step of the match.
    enum Instruction: Sendable, Equatable {
        /// One character of a set.
        case one(ScalarSet)
        /// As many characters of a set as there are, `most` at most; fewer on the way back, down to `least`.
        case run(ScalarSet, least: Int, most: Int, isPossessive: Bool)
        /// Goes on at `first`, on the way back at `second` (both counted from here).
        case either(Int, Int)
        /// Goes on so many instructions further.
        case jump(Int)
        /// The instructions up to `end` match what follows, or must not.
        case ahead(end: Int, isNegated: Bool)
        /// The instructions up to `end` match as they first do.
        case atomic(end: Int)
        /// The end of the text, or the place before a line feed.
        case lineEnd
        /// The beginning of the text, or the place after a line feed.
        case lineStart
        /// The match is complete.
        case done
    }

    /// Reads an expression; nil for one that is not understood.
    init?(_ pattern: String) {
        var parser = ExpressionParser(pattern)
        guard let node = parser.parse(), !node.canBeEmpty else { return nil }
        var program: [Instruction] = []
        guard node.compile(into: &program) else { return nil }
        self.pattern = pattern
        self.program = program + [.done]
    }

    static func == (left: TextExpression, right: TextExpression) -> Bool {
        left.pattern.utf8.elementsEqual(right.pattern.utf8)
    }

    /// All matches in a stretch of valid UTF-8, which counts as the whole text, from left to right; none is empty.
    func matches(in bytes: [UInt8], _ range: Range<Int>) -> [Range<Int>] {
        var matches: [Range<Int>] = []
        var matcher = ExpressionMatcher(program: program, bytes: bytes, text: range)
        var start = range.lowerBound
        while start < range.upperBound {
            if let end = matcher.end(from: start), end > start {
                matches.append(start..<end)
                start = end
            } else {
                start += UTF8Scalar.length(lead: bytes[start])
            }
        }
        return matches
    }
}

/// Runs an expression's program over a text.
private struct ExpressionMatcher {
    let program: [TextExpression.Instruction]
    let bytes: [UInt8]
    let text: Range<Int>

    /// Where to go on when a way fails: at an instruction, from any place from `place` back to `floor`.
    private struct Choice {
        let instruction: Int
        var place: Int
        let floor: Int
    }
    private var choices: [Choice] = []

    init(program: [TextExpression.Instruction], bytes: [UInt8], text: Range<Int>) {
        self.program = program
        self.bytes = bytes
        self.text = text
    }

    /// The end of the match that begins at `start`; nil where there is none.
    mutating func end(from start: Int) -> Int? {
        choices.removeAll(keepingCapacity: true)
        return run(from: 0, at: start)
    }

    /// Runs from an instruction to `done`.
    private mutating func run(from first: Int, at start: Int) -> Int? {
        let bottom = choices.count
        var instruction = first
        var place = start
        while true {
            var isMatch = true
            switch program[instruction] {
            case .one(let set):
                if let next = step(set, place) { place = next } else { isMatch = false }
                instruction += 1
            case .run(let set, let least, let most, let isPossessive):
                isMatch = takeRun(set, least, most, isPossessive, instruction, &place)
                instruction += 1
            case .either(let one, let other):
                choices.append(Choice(instruction: instruction + other, place: place, floor: place))
                instruction += one
            case .jump(let distance): instruction += distance
            case .ahead(let end, let isNegated):
                let found = run(from: instruction + 1, at: place) != nil
                isMatch = found != isNegated
                instruction += end
            case .atomic(let end):
                if let next = run(from: instruction + 1, at: place) { place = next } else { isMatch = false }
                instruction += end
            case .lineEnd:
                isMatch = place == text.upperBound || bytes[place] == 0x0A
                instruction += 1
            case .lineStart:
                isMatch = place == text.lowerBound || bytes[place - 1] == 0x0A
                instruction += 1
            case .done:
                choices.removeSubrange(bottom...)
                return place
            }
            if isMatch { continue }
            guard choices.count > bottom else { return nil }
            let last = choices.count - 1
            instruction = choices[last].instruction
            place = choices[last].place
            if place <= choices[last].floor {
                choices.removeLast()
            } else {
                var shorter = place - 1
                while bytes[shorter] & 0xC0 == 0x80 { shorter -= 1 }
                choices[last].place = shorter
            }
        }
    }

    private func step(_ set: ScalarSet, _ place: Int) -> Int? {
        guard place < text.upperBound else { return nil }
        let (isIn, length) = set.read(bytes, at: place)
        return isIn ? place + length : nil
    }

    private mutating func takeRun(
        _ set: ScalarSet, _ least: Int, _ most: Int, _ isPossessive: Bool, _ instruction: Int, _ place: inout Int
    ) -> Bool {
        var count = 0
        var floor = place
        var last = place
        while count < most, let next = step(set, place) {
            last = place
            place = next
            count += 1
            if count == least { floor = place }
        }
        guard count >= least else { return false }
        if !isPossessive, count > least {
            choices.append(Choice(instruction: instruction + 1, place: last, floor: floor))
        }
        return true
    }
}
