/// A regular expression over module paths, matched by Unicode scalars as Python's `re` does.
package struct PathExpression {
    private let regex: Regex<AnyRegexOutput>

    /// An expression; with `before` and `after`, which are our own, around it.
    ///
    /// Throws `.badExpression` with the compiler's reason, or where matching could take for ever: matching goes back
    /// and tries again, and the pattern may come from a file.
    package init(_ pattern: String, before: String = "", after: String = "") throws(AdapterError) {
        var cost = RepetitionCost()
        if let reason = cost.refusal(of: pattern) { throw .badExpression(pattern, reason: reason) }
        do {
            regex = try Regex(before + pattern + after).matchingSemantics(.unicodeScalar)
        } catch {
            throw .badExpression(pattern, reason: "\(error)")
        }
    }

    /// Throws `.badExpression` unless `pattern` compiles.
    package static func check(_ pattern: String) throws(AdapterError) {
        _ = try PathExpression(pattern)
    }

    /// Whether the expression matches all of `path` (Python's `re.fullmatch`).
    package func matchesWhole(_ path: String) -> Bool {
        // A match throws only from code inside an expression, which text cannot hold.
        (try? regex.wholeMatch(in: path)) != nil
    }

    /// What the last group captured in a match of the whole of `path`.
    package func lastGroup(in path: String) -> Substring? {
        guard let match = try? regex.wholeMatch(in: path) else { return nil }
        return match.output.last?.substring
    }
}

/// Finds expressions whose matching takes a time that grows too fast with the path: a group that is repeated and whose
/// inside can match in more than one way (2^n ways to try), and too many repetitions or options one after another (n^k,
/// 2^k).
private struct RepetitionCost {
    /// Repetitions without a bound, of which the expressions that people write for modules have two or three.
    private static let repetitionLimit = 6
    private static let optionLimit = 10

    private var repetitions = 0
    private var options = 0
    /// For each open group, and the whole, whether its inside can match in more than one way.
    private var varies = [false]

    /// Why the pattern is refused, if it is.
    mutating func refusal(of pattern: String) -> String? {
        var rest = Array(pattern.unicodeScalars)[...]
        /// Whether the item before varies inside; nil where there is none to be repeated.
        var last: Bool?
        while let scalar = rest.popFirst() {
            switch scalar {
            case "\\":
                _ = rest.popFirst()
                last = false
            case "[":
                // A class ends at the first bracket that is not its first member.
                if rest.first == "^" { rest = rest.dropFirst() }
                if rest.first == "]" { rest = rest.dropFirst() }
                while let member = rest.popFirst(), member != "]" { if member == "\\" { _ = rest.popFirst() } }
                last = false
            case "(":
                varies.append(false)
                last = nil
                // (?: (?= (?! (?<name> and the like, whose mark is no option.
                if rest.first == "?" { rest = rest.dropFirst() }
            case ")":
                last = varies.count > 1 ? varies.removeLast() : false
                if last == true { varies[varies.count - 1] = true }
            case "|":
                varies[varies.count - 1] = true
                last = nil
            case "*", "+", "{":
                let isBounded = scalar == "{" && Self.skipBounds(&rest)
                if last == true { return "it repeats a group that can match in several ways, which can take for ever" }
                repetitions += isBounded ? 0 : 1
                options += isBounded ? 1 : 0
                varies[varies.count - 1] = true
                // A mark of laziness or possession belongs to it.
                if rest.first == "?" || rest.first == "+" { rest = rest.dropFirst() }
                last = nil
            case "?":
                options += 1
                varies[varies.count - 1] = true
                if rest.first == "?" || rest.first == "+" { rest = rest.dropFirst() }
                last = nil
            default: last = false
            }
        }
        guard repetitions <= Self.repetitionLimit, options <= Self.optionLimit else {
            return "it has \(repetitions) repetitions and \(options) options, which can take for ever; "
                + "\(Self.repetitionLimit) and \(Self.optionLimit) are allowed"
        }
        return nil
    }

    /// Skips `n}`, `n,m}` or `n,}` behind a brace; whether there is an upper bound, and a low one.
    private static func skipBounds(_ rest: inout ArraySlice<Unicode.Scalar>) -> Bool {
        let end = rest.firstIndex(of: "}") ?? rest.endIndex
        let bounds = String(String.UnicodeScalarView(rest[..<end])).split(
            separator: ",", omittingEmptySubsequences: false)
        rest = rest[min(end + 1, rest.endIndex)...]
        return bounds.last.flatMap { Int($0) }.map { $0 <= 4 } ?? false
    }
}
