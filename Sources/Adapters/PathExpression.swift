/// A regular expression over module paths, matched by Unicode scalars as Python's `re` does, in a time that is bounded
/// however it is written: it may come from a file.
package struct PathExpression: Sendable {
    private let pattern: String
    private let program: ExpressionProgram

    /// An expression; with `before` and `after`, which are our own, around it.
    ///
    /// Throws `.badExpression` with the reason, also for references to groups, whose matching has no bound.
    package init(_ pattern: String, before: String = "", after: String = "") throws(AdapterError) {
        do {
            // What is wrong with it is told by places in the pattern itself.
            let own = try ExpressionProgram(pattern)
            program = before.isEmpty && after.isEmpty ? own : try ExpressionProgram(before + pattern + after)
            self.pattern = pattern
        } catch {
            throw .badExpression(pattern, reason: error.reason)
        }
    }

    /// Throws `.badExpression` unless `pattern` compiles.
    package static func check(_ pattern: String) throws(AdapterError) {
        _ = try PathExpression(pattern)
    }

    /// Its steps, to which the time of matching is in proportion.
    var size: Int { program.instructions.count }

    /// Whether the expression matches all of `path` (Python's `re.fullmatch`). Throws `.badExpression` where telling
    /// would take longer than is reasonable.
    package func matchesWhole(_ path: String) throws(AdapterError) -> Bool { try groups(in: path) != nil }

    /// What the last group captured in a match of the whole of `path`. Throws as `matchesWhole` does.
    package func lastGroup(in path: String) throws(AdapterError) -> String? {
        guard let groups = try groups(in: path), groups.count >= 2,
            let start = groups[groups.count - 2], let end = groups[groups.count - 1]
        else { return nil }
        return String(path.unicodeScalars.dropFirst(start).prefix(end - start))
    }

    private func groups(in path: String) throws(AdapterError) -> [Int?]? {
        let scalars = Array(path.unicodeScalars)
        do {
            return try ExpressionMatch.whole(scalars, program)
        } catch {
            throw .badExpression(
                pattern,
                reason: "it has \(program.instructions.count) steps, too many for a path of \(scalars.count) characters"
            )
        }
    }
}
