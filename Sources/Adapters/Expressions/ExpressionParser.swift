import TensorCore

/// Why a text is no regular expression that is taken, as a phrase.
struct ExpressionError: Error {
    let reason: String
}

/// Reads a regular expression in the syntax of Python's `re`: all of it but references to groups, conditions on them,
/// and groups and repetitions that never give back what they took. A group may be named in the form `(?<name>` too.
struct ExpressionParser {
    /// Groups in groups that are taken, far more than people write, and far fewer than the stack holds.
    private static let depthLimit = 100

    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var groupCount = 0
    private var names: NameSet = []
    private var ignoresCase = false
    private var dotMatchesAll = false

    private init(_ text: String) { scalars = Array(text.unicodeScalars) }

    /// The expression in `text`, and how many groups it has.
    static func parse(_ text: String) throws(ExpressionError) -> (node: ExpressionNode, groupCount: Int) {
        var parser = ExpressionParser(text)
        let node = try parser.choice(depth: 0)
        guard parser.position == parser.scalars.count else { throw parser.failure("a ')' without its '('") }
        return (node, parser.groupCount)
    }

    private func failure(_ problem: String) -> ExpressionError {
        ExpressionError(reason: "\(problem) at character \(min(position, scalars.count) + 1)")
    }

    private var current: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    private mutating func take(_ text: StaticString) -> Bool {
        let wanted = Array(text.description.unicodeScalars)
        guard scalars[position...].starts(with: wanted) else { return false }
        position += wanted.count
        return true
    }

    private mutating func choice(depth: Int) throws(ExpressionError) -> ExpressionNode {
        guard depth <= Self.depthLimit else { throw failure("groups nested deeper than \(Self.depthLimit)") }
        // Flags that are set in a group hold to its end.
        let (outerCase, outerDot) = (ignoresCase, dotMatchesAll)
        defer { if depth > 0 { (ignoresCase, dotMatchesAll) = (outerCase, outerDot) } }
        var parts = [try sequence(depth: depth)]
        while take("|") { parts.append(try sequence(depth: depth)) }
        return parts.count == 1 ? parts[0] : .choice(parts)
    }

    private mutating func sequence(depth: Int) throws(ExpressionError) -> ExpressionNode {
        var parts: [ExpressionNode] = []
        while let scalar = current, scalar != "|", scalar != ")" {
            let item = try self.item(depth: depth)
            parts.append(try repeated(item, isGroup: scalar == "("))
        }
        return parts.count == 1 ? parts[0] : parts.isEmpty ? .empty : .sequence(parts)
    }

    // MARK: Repetition

    private mutating func repeated(_ item: ExpressionNode?, isGroup: Bool) throws(ExpressionError) -> ExpressionNode {
        guard let bounds = try bounds() else { return item ?? .empty }
        guard let item else { throw failure("nothing to repeat") }
        if case .place = item, !isGroup { throw failure("nothing to repeat") }
        let isLazy = take("?")
        if !isLazy, take("+") { throw failure("a repetition that gives nothing back, which is not supported,") }
        let start = position
        if try self.bounds() != nil {
            position = start
            throw failure("a repetition of a repetition")
        }
        return .repetition(item, lower: bounds.lower, upper: bounds.upper, isLazy: isLazy)
    }

    private mutating func bounds() throws(ExpressionError) -> (lower: Int, upper: Int?)? {
        if take("*") { return (0, nil) }
        if take("+") { return (1, nil) }
        if take("?") { return (0, 1) }
        guard current == "{" else { return nil }
        // As in Python, a brace that states no bounds is a brace.
        let start = position
        position += 1
        let lower = digits()
        let hasComma = take(",")
        let upper = hasComma ? digits() : lower
        guard take("}"), !(lower.isEmpty && !hasComma) else {
            position = start
            return nil
        }
        let low = lower.isEmpty ? 0 : Int(lower)
        let high = upper.isEmpty ? nil : Int(upper)
        guard let low, upper.isEmpty || high != nil, low <= high ?? .max else {
            throw failure("bounds of a repetition that cannot be")
        }
        return (low, high)
    }

    private mutating func digits() -> String {
        var text = ""
        while let scalar = current, ("0"..."9").contains(scalar) {
            text.unicodeScalars.append(scalar)
            position += 1
        }
        return text
    }

    // MARK: Items

    /// The next item; nil for one that is nothing, such as a comment or a flag.
    private mutating func item(depth: Int) throws(ExpressionError) -> ExpressionNode? {
        guard let scalar = current else { return nil }
        position += 1
        switch scalar {
        case "(": return try group(depth: depth)
        case "[": return .set(cased(try brackets()))
        case "\\": return try escape()
        case ".": return .set(ScalarSet(ranges: dotMatchesAll ? [] : [0x0A...0x0A], isNegative: true))
        case "^": return .place(.start)
        case "$": return .place(.endOrLastLineBreak)
        case "*", "+", "?":
            position -= 1
            throw failure("nothing to repeat")
        default: return .set(cased(ScalarSet(scalar)))
        }
    }

    private func cased(_ set: ScalarSet) -> ScalarSet {
        var set = set
        set.ignoresCase = ignoresCase
        return set
    }

    private mutating func group(depth: Int) throws(ExpressionError) -> ExpressionNode? {
        if take("?#") {
            while let scalar = current, scalar != ")" {
                _ = scalar
                position += 1
            }
            guard take(")") else { throw failure("a comment without its ')'") }
            return nil
        }
        for (mark, isBehind, isNegative) in [
            ("?=", false, false), ("?!", false, true), ("?<=", true, false), ("?<!", true, true),
        ] as [(StaticString, Bool, Bool)] where take(mark) {
            let inner = try closed(depth: depth)
            guard !isBehind || inner.width != nil else {
                throw failure("looks back at a text of no fixed length, before the group that ends")
            }
            return .look(inner, isBehind: isBehind, isNegative: isNegative)
        }
        if take("?:") { return try closed(depth: depth) }
        if take("?P<") || take("?<") {
            let name = try self.name()
            guard names.insert(name).inserted else { throw failure("the group '\(name)' stands there twice, again") }
            return try numbered(depth: depth)
        }
        if take("?P=") || take("?(") {
            throw failure("a reference to a group, whose matching can take for ever,")
        }
        if take("?>") { throw failure("a group that gives nothing back, which is not supported,") }
        if take("?") { return try flags(depth: depth) }
        return try numbered(depth: depth)
    }

    private mutating func numbered(depth: Int) throws(ExpressionError) -> ExpressionNode {
        groupCount += 1
        let number = groupCount
        return .group(try closed(depth: depth), number: number)
    }

    private mutating func closed(depth: Int) throws(ExpressionError) -> ExpressionNode {
        let inner = try choice(depth: depth + 1)
        guard take(")") else { throw failure("a '(' without its ')'") }
        return inner
    }

    private mutating func name() throws(ExpressionError) -> String {
        var name = ""
        while let scalar = current, scalar != ">" {
            guard ScalarSet.Kind.word.contains(scalar) else { throw failure("a group's name that cannot be") }
            name.unicodeScalars.append(scalar)
            position += 1
        }
        guard take(">"), !name.isEmpty else { throw failure("a group's name that does not end") }
        return name
    }

    /// `(?i)`, which holds from here on, or `(?i:...)`, for the group.
    private mutating func flags(depth: Int) throws(ExpressionError) -> ExpressionNode? {
        let outer = (ignoresCase, dotMatchesAll)
        var value = true
        while let scalar = current, scalar != ")", scalar != ":" {
            switch scalar {
            case "i": ignoresCase = value
            case "s": dotMatchesAll = value
            case "u": break
            case "-" where value: value = false
            default: throw failure("an unknown mark of a group")
            }
            position += 1
        }
        if take(")") {
            guard depth == 0, value else { throw failure("flags that are set within a group") }
            return nil
        }
        guard take(":") else { throw failure("a '(' without its ')'") }
        defer { (ignoresCase, dotMatchesAll) = outer }
        return try closed(depth: depth)
    }
}

// MARK: Escapes and brackets

extension ExpressionParser {
    private mutating func escape() throws(ExpressionError) -> ExpressionNode {
        guard let scalar = current else { throw failure("a backslash at the end") }
        switch scalar {
        case "b", "B", "A", "Z":
            position += 1
            switch scalar {
            case "b": return .place(.wordBoundary)
            case "B": return .place(.noWordBoundary)
            case "A": return .place(.start)
            default: return .place(.end)
            }
        case "1"..."9": throw failure("a reference to a group, whose matching can take for ever,")
        default: return .set(cased(try escapedSet()))
        }
    }

    /// What an escape stands for that may stand in brackets too; the backslash is read.
    private mutating func escapedSet() throws(ExpressionError) -> ScalarSet {
        guard let scalar = current else { throw failure("a backslash at the end") }
        position += 1
        func kind(_ kind: ScalarSet.Kind, _ isNegative: Bool) -> ScalarSet {
            ScalarSet(kinds: [(kind, isNegative)])
        }
        switch scalar {
        case "d", "D": return kind(.digit, scalar == "D")
        case "w", "W": return kind(.word, scalar == "W")
        case "s", "S": return kind(.space, scalar == "S")
        case "n": return ScalarSet("\n")
        case "t": return ScalarSet("\t")
        case "r": return ScalarSet("\r")
        case "f": return ScalarSet("\u{0C}")
        case "v": return ScalarSet("\u{0B}")
        case "a": return ScalarSet("\u{07}")
        case "0": return ScalarSet("\u{00}")
        case "x": return try coded(digits: 2)
        case "u": return try coded(digits: 4)
        case "U": return try coded(digits: 8)
        case "a"..."z", "A"..."Z", "1"..."9":
            position -= 1
            throw failure("an unknown escape '\\\(scalar)'")
        default: return ScalarSet(scalar)
        }
    }

    private mutating func coded(digits count: Int) throws(ExpressionError) -> ScalarSet {
        let end = position + count
        guard end <= scalars.count else { throw failure("an escape without its \(count) digits") }
        let text = String(String.UnicodeScalarView(scalars[position..<end]))
        guard text.utf8.allSatisfy({ $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") }),
            let value = UInt32(text, radix: 16), let scalar = Unicode.Scalar(value)
        else { throw failure("an escape without its \(count) digits") }
        position = end
        return ScalarSet(scalar)
    }

    /// A class in brackets, the first of which is read.
    private mutating func brackets() throws(ExpressionError) -> ScalarSet {
        var set = ScalarSet()
        set.isNegative = take("^")
        var isFirst = true
        while true {
            guard let scalar = current else { throw failure("a '[' without its ']'") }
            if scalar == "]", !isFirst {
                position += 1
                return set
            }
            isFirst = false
            let lower = try member()
            guard current == "-", position + 1 < scalars.count, scalars[position + 1] != "]" else {
                set.ranges += lower.ranges
                set.kinds += lower.kinds
                continue
            }
            position += 1
            let upper = try member()
            guard let first = lower.single?.value, let last = upper.single?.value, first <= last else {
                throw failure("a range of characters that cannot be")
            }
            set.ranges.append(first...last)
        }
    }

    private mutating func member() throws(ExpressionError) -> ScalarSet {
        guard let scalar = current else { throw failure("a '[' without its ']'") }
        position += 1
        guard scalar == "\\" else { return ScalarSet(scalar) }
        if take("b") { return ScalarSet("\u{08}") }
        return try escapedSet()
    }
}
