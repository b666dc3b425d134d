/// A regular expression over module paths, matched by Unicode scalars as Python's `re` does.
package struct PathExpression {
    private let regex: Regex<AnyRegexOutput>

    /// Throws `.badExpression` with the compiler's reason.
    package init(_ pattern: String) throws(AdapterError) {
        do {
            regex = try Regex(pattern).matchingSemantics(.unicodeScalar)
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
