/// The tests that a template may use.
enum JinjaTest {
    static let names: Set<String> = [
        "!=", "<", "<=", "==", ">", ">=", "boolean", "callable", "defined", "divisibleby", "eq", "equalto", "escaped",
        "even", "false", "filter", "float", "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan",
        "lower", "lt", "mapping", "ne", "none", "number", "odd", "sameas", "sequence", "string", "test", "true",
        "undefined", "upper",
    ]

    /// Tests that compare, by their names.
    static let comparisons: [String: JinjaComparison] = [
        "==": .equal, "eq": .equal, "equalto": .equal, "!=": .unequal, "ne": .unequal, "<": .less, "lt": .less,
        "lessthan": .less, "<=": .lessOrEqual, "le": .lessOrEqual, ">": .greater, "gt": .greater,
        "greaterthan": .greater, ">=": .greaterOrEqual, "ge": .greaterOrEqual, "in": .isIn,
    ]
}

extension JinjaRun {
    /// `value is name(arguments)`
    func test(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        if let comparison = JinjaTest.comparisons[name] {
            let parameter = name == "in" ? "seq" : "_other"
            let other = try bind(call, [parameter], required: 1, of: name)[0] ?? .none
            return .bool(try compare(comparison, value, other))
        }
        if name == "divisibleby" || name == "sameas" {
            let other = try bind(call, [name == "sameas" ? "other" : "num"], required: 1, of: name)[0] ?? .none
            if name == "sameas" { return .bool(value.isSame(as: other)) }
            return .bool(try combine(.remainder, value, other).equals(.integer(0)))
        }
        _ = try bind(call, [], of: name)
        return .bool(try holds(name, value))
    }

    private func holds(_ name: String, _ value: JinjaValue) throws(JinjaError) -> Bool {
        switch name {
        case "defined": return !value.isUndefined
        case "undefined": return value.isUndefined
        case "none": return value.isNone
        case "odd": return try combine(.remainder, value, .integer(2)).equals(.integer(1))
        case "even": return try combine(.remainder, value, .integer(2)).equals(.integer(0))
        case "lower": return JinjaLetters.holds(try string(of: value), "islower")
        case "upper": return JinjaLetters.holds(try string(of: value), "isupper")
        case "filter", "test":
            guard JinjaKey(value) != nil else { throw .failed("\(value.kind) names no \(name)") }
            guard let text = value.asText?.string else { return false }
            return name == "filter" ? JinjaFilter.names.contains(text) : JinjaTest.names.contains(text)
        case "sequence": return try isSequence(value)
        default: return isKind(name, value)
        }
    }

    private func isSequence(_ value: JinjaValue) throws(JinjaError) -> Bool {
        switch value {
        case .view, .loop: false
        default: try length(of: value) != nil
        }
    }

    private func isKind(_ name: String, _ value: JinjaValue) -> Bool {
        switch (name, value) {
        case ("true", .bool(true)), ("false", .bool(false)), ("boolean", .bool), ("string", .text),
            ("mapping", .dictionary), ("integer", .integer), ("float", .float):
            true
        case ("number", .integer), ("number", .bool), ("number", .float): true
        case ("callable", .macro), ("callable", .function), ("callable", .loop), ("callable", .joiner),
            ("callable", .block), ("callable", .undefined):
            true
        case ("iterable", .text), ("iterable", .list), ("iterable", .tuple), ("iterable", .dictionary),
            ("iterable", .range), ("iterable", .view), ("iterable", .iterator), ("iterable", .undefined),
            ("iterable", .loop):
            true
        case ("escaped", .text(let text)): text.isMarkup
        default: false
        }
    }
}
