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
}

extension Array {
    /// The value of the first entry that matches `path`; nil for none.
    func first<Value>(matching path: String) -> Value? where Element == PatternEntry<Value> {
        first { entry in
            if let answer = PatternMatching.plain(entry.pattern, path) { return answer }
            // `check` has compiled every pattern, so this one compiles.
            return (try? PatternMatching.endingExpression(entry.pattern))?.matchesWhole(path) ?? false
        }?.value
    }

    /// Throws `.badExpression` for a pattern that does not compile.
    func check<Value>() throws(AdapterError) where Element == PatternEntry<Value> {
        for entry in self { _ = try PatternMatching.endingExpression(entry.pattern) }
    }

    /// The entries as peft writes them; of a pattern that is there twice, the first, which counts.
    func json<Value>(_ value: (Value) -> JSONValue) -> JSONObject where Element == PatternEntry<Value> {
        reduce(into: JSONObject()) { object, entry in
            if object[entry.pattern] == nil { object[entry.pattern] = value(entry.value) }
        }
    }
}

private enum PatternMatching {
    /// What the expression for `pattern` says of `path` where both are plain paths, without compiling it: files with an
    /// entry for each of hundreds of modules are common. A dot matches any byte, as it does in the expression.
    static func plain(_ pattern: String, _ path: String) -> Bool? {
        let (pattern, path) = (Array(pattern.utf8), Array(path.utf8))
        guard pattern.allSatisfy(isPathByte), path.allSatisfy(isPathByte) else { return nil }
        guard !pattern.isEmpty, pattern.count <= path.count else { return false }
        let start = path.count - pattern.count
        let dot = UInt8(ascii: ".")
        return (start == 0 || path[start - 1] == dot)
            && zip(pattern, path[start...]).allSatisfy { $0 == $1 || $0 == dot }
    }

    static func endingExpression(_ pattern: String) throws(AdapterError) -> PathExpression {
        try PathExpression.check(pattern)
        return try PathExpression(pattern, before: #"(.*\.)?("#, after: ")$")
    }

    private static func isPathByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }
}
