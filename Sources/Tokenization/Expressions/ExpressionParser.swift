/// Reads a regular expression. What is not understood gives nil.
struct ExpressionParser {
    private let scalars: [Unicode.Scalar]
    private var place = 0
    private var depth = 0
    private var ignoresCase = false

    /// Groups inside groups at most, and repetitions of one thing.
    private static let depthLimit = 50
    private static let repetitionLimit = 1000

    init(_ pattern: String) { scalars = Array(pattern.unicodeScalars) }

    /// The whole expression.
    mutating func parse() -> ExpressionNode? {
        guard let node = parseAlternatives(), place == scalars.count else { return nil }
        return node
    }

    private var next: Unicode.Scalar? { place < scalars.count ? scalars[place] : nil }

    /// Takes a text if it stands next.
    private mutating func take(_ text: String) -> Bool {
        let wanted = Array(text.unicodeScalars)
        guard scalars[place...].starts(with: wanted) else { return false }
        place += wanted.count
        return true
    }

    private mutating func parseAlternatives() -> ExpressionNode? {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthLimit else { return nil }
        let outerCase = ignoresCase
        defer { ignoresCase = outerCase }
        var alternatives: [ExpressionNode] = []
        repeat {
            var parts: [ExpressionNode] = []
            while let scalar = next, scalar != "|", scalar != ")" {
                guard let part = parseRepeated() else { return nil }
                parts.append(part)
            }
            alternatives.append(parts.count == 1 ? parts[0] : .sequence(parts))
        } while take("|")
        return alternatives.count == 1 ? alternatives[0] : .alternatives(alternatives)
    }

    private mutating func parseRepeated() -> ExpressionNode? {
        guard var node = parseAtom() else { return nil }
        while let bounds = parseBounds() {
            guard let (least, most, isCounted) = bounds else { return nil }
            var greed = ExpressionNode.Greed.greedy
            // In Ruby's syntax a plus after counts repeats once more.
            if take("?") { greed = .lazy } else if !isCounted, take("+") { greed = .possessive }
            node = .repeated(node, least: least, most: most, greed)
        }
        return node
    }

    /// The bounds of a repetition that stands next: nil for none, an inner nil for one that is not understood.
    private mutating func parseBounds() -> (least: Int, most: Int, isCounted: Bool)?? {
        if take("*") { return (0, Int.max, false) }
        if take("+") { return (1, Int.max, false) }
        if take("?") { return (0, 1, false) }
        guard take("{") else { return nil }
        let least = parseNumber()
        var most = least
        if take(",") { most = parseNumber() ?? .max }
        guard take("}"), let most, most >= (least ?? 0), (least ?? 0) <= Self.repetitionLimit,
            most == .max || most <= Self.repetitionLimit
        else { return .some(nil) }
        return (least ?? 0, most, true)
    }

    private mutating func parseNumber() -> Int? {
        var number: Int?
        while let scalar = next, let digit = scalar.properties.numericType == .decimal ? Int(String(scalar)) : nil {
            number = min((number ?? 0) * 10 + digit, 1 << 20)
            place += 1
        }
        return number
    }

    private mutating func parseAtom() -> ExpressionNode? {
        if take("(?:") { return parseGroup() }
        if take("(?i:") {
            let outer = ignoresCase
            ignoresCase = true
            defer { ignoresCase = outer }
            return parseGroup()
        }
        if take("(?i)") {
            ignoresCase = true
            return .sequence([])
        }
        if take("(?!") { return parseGroup().map { .ahead($0, isNegated: true) } }
        if take("(?=") { return parseGroup().map { .ahead($0, isNegated: false) } }
        if take("(?>") { return parseGroup().map { .atomic($0) } }
        guard let scalar = next else { return nil }
        place += 1
        switch scalar {
        case "(": return next == "?" ? nil : parseGroup()
        case "[": return parseClass().map { .set($0) }
        case ".": return .set(ScalarSet([.range(0x0A, 0x0A)], isNegated: true))
        case "$": return .lineEnd
        case "^": return .lineStart
        case "\\": return parseEscape().map { .set($0) }
        case "*", "+", "?", "{", ")": return nil
        default: return .set(set(of: scalar))
        }
    }

    private mutating func parseGroup() -> ExpressionNode? {
        guard let node = parseAlternatives(), take(")") else { return nil }
        return node
    }

    /// The set of one character, in both cases where case is ignored, as simple case folding has it.
    private func set(of scalar: Unicode.Scalar) -> ScalarSet {
        guard ignoresCase else { return ScalarSet([.range(scalar.value, scalar.value)]) }
        var values: Set<UInt32> = [scalar.value]
        for text in [scalar.properties.lowercaseMapping, scalar.properties.uppercaseMapping] {
            if text.unicodeScalars.count == 1, let other = text.unicodeScalars.first { values.insert(other.value) }
        }
        // The only characters outside ASCII that fold to letters of it.
        if values.contains(0x73) { values.insert(0x17F) }
        if values.contains(0x6B) { values.insert(0x212A) }
        return ScalarSet(values.sorted().map { .range($0, $0) })
    }

    // MARK: Classes

    /// What follows `[`.
    private mutating func parseClass() -> ScalarSet? {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.depthLimit else { return nil }
        let isNegated = take("^")
        var items: [ScalarSet.Item] = []
        var isFirst = true
        while let scalar = next {
            place += 1
            defer { isFirst = false }
            var low = scalar
            switch scalar {
            case "]" where !isFirst: return ScalarSet(items, isNegated: isNegated)
            case "[":
                guard next != ":", let inner = parseClass() else { return nil }
                items.append(.set(inner))
                continue
            case "&" where next == "&": return nil
            case "\\":
                if let literal = parseLiteralEscape() {
                    low = literal
                } else {
                    guard let set = parseEscape() else { return nil }
                    items.append(.set(set))
                    continue
                }
            default: break
            }
            guard let high = parseRangeEnd(from: low) else { return nil }
            if ignoresCase, low == high { items.append(.set(set(of: low))) }
            items.append(.range(low.value, high.value))
        }
        return nil
    }

    /// The end of a range that begins with `low`, which is `low` where it is no range; nil for a broken one.
    private mutating func parseRangeEnd(from low: Unicode.Scalar) -> Unicode.Scalar? {
        guard next == "-", place + 1 < scalars.count, scalars[place + 1] != "]" else { return low }
        place += 1
        var high = scalars[place]
        place += 1
        if high == "\\" {
            guard let literal = parseLiteralEscape() else { return nil }
            high = literal
        }
        return high.value >= low.value && high != "[" && !ignoresCase ? high : nil
    }

    // MARK: Escapes

    /// One character after a backslash; nil, with nothing taken, where it is a class or unknown.
    private mutating func parseLiteralEscape() -> Unicode.Scalar? {
        guard let scalar = next else { return nil }
        let literal: Unicode.Scalar
        switch scalar {
        case "n": literal = "\n"
        case "r": literal = "\r"
        case "t": literal = "\t"
        case "f": literal = "\u{0C}"
        case "v": literal = "\u{0B}"
        case "u", "x": return parseHexadecimal()
        default:
            guard scalar.isASCII, !scalar.properties.isAlphabetic, scalar.properties.numericType == nil else {
                return nil
            }
            literal = scalar
        }
        place += 1
        return literal
    }

    /// `uHHHH`, `xHH` or `x{H...}`.
    private mutating func parseHexadecimal() -> Unicode.Scalar? {
        let start = place
        let isLong = next == "u"
        place += 1
        let isBraced = !isLong && take("{")
        var digits = ""
        let most = isBraced ? 8 : isLong ? 4 : 2
        while digits.count < most, let scalar = next, Character(scalar).isHexDigit {
            digits.unicodeScalars.append(scalar)
            place += 1
        }
        let isWhole = isBraced ? take("}") : !isLong || digits.count == 4
        if isWhole, let value = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(value) { return scalar }
        place = start
        return nil
    }

    /// What follows a backslash, as a set.
    private mutating func parseEscape() -> ScalarSet? {
        if let literal = parseLiteralEscape() { return set(of: literal) }
        guard let scalar = next else { return nil }
        place += 1
        let digits = ScalarSet.Item.categories(ScalarSet.categories(named: "Nd") ?? 0)
        switch scalar {
        case "s": return ScalarSet([.whiteSpace])
        case "S": return ScalarSet([.whiteSpace], isNegated: true)
        case "d": return ScalarSet([digits])
        case "D": return ScalarSet([digits], isNegated: true)
        case "w": return ScalarSet([.word])
        case "W": return ScalarSet([.word], isNegated: true)
        case "p", "P":
            guard take("{") else { return nil }
            let isNegated = take("^") != (scalar == "P")
            var name = ""
            while let letter = next, letter != "}" {
                name.unicodeScalars.append(letter)
                place += 1
            }
            guard take("}"), let bits = ScalarSet.categories(named: name) else { return nil }
            return ScalarSet([.categories(bits)], isNegated: isNegated)
        default: return nil
        }
    }
}
