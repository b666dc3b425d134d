import CheckpointIO

/// A value for the modules whose path matches `(.*\.)?(pattern)$`.
package struct PatternEntry<Value: Sendable & Equatable>: Sendable, Equatable {
    /// A regular expression, mostly a module's name or path.
    package let pattern: String
    /// The rank or alpha there.
    package let value: Value

    /// `value` for what `pattern` matches.
    package init(_ pattern: String, _ value: Value) {
        self.pattern = pattern
        self.value = value
    }

    /// Whether the pattern, which is known to compile, matches one of `paths`.
    package func matches(anyOf paths: [String]) -> Bool {
        let table = PatternTable([self])
        return paths.contains { table.first(matching: $0) != nil }
    }

    /// Whether the pattern is made of letters, digits, underscores and dots alone, as names and paths are.
    var isPlain: Bool {
        !pattern.isEmpty
            && pattern.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }

    /// The expression for whole paths. Throws `.badExpression` for a pattern that does not compile.
    var expression: PathExpression {
        get throws(AdapterError) {
            try PathExpression.check(pattern)
            return try PathExpression(pattern, before: #"(.*\.)?("#, after: ")$")
        }
    }
}

extension Array {
    /// Throws `.badExpression` for a pattern that does not compile, and where all together would take too long.
    func check<Value>() throws(AdapterError) where Element == PatternEntry<Value> {
        // Steps of the expressions, each of which is held against every module.
        let limit = 1 << 15
        var size = 0
        for entry in self where !entry.isPlain {
            size += try entry.expression.size
            guard size <= limit else {
                throw .badExpression(
                    entry.pattern,
                    reason: "it and the patterns before it have more than \(limit) steps, and each module is held "
                        + "against all of them")
            }
        }
    }

    /// The entries as peft writes them; of a pattern that is there twice, the first, which counts.
    func json<Value>(_ value: (Value) -> JSONValue) -> JSONObject where Element == PatternEntry<Value> {
        reduce(into: JSONObject()) { object, entry in
            if object[entry.pattern] == nil { object[entry.pattern] = value(entry.value) }
        }
    }
}
