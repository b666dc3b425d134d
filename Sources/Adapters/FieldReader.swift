import CheckpointIO
import TensorCore

/// Reads typed fields of a configuration; null counts as absent.
package struct FieldReader: Sendable {
    /// The fields.
    let object: JSONObject
    /// What to call their source in errors.
    package let file: String

    /// Fields of `file`.
    package init(_ object: JSONObject, file: String) {
        self.object = object
        self.file = file
    }

    private func value(_ name: String) -> JSONValue? {
        object[name].flatMap { $0.isNull ? nil : $0 }
    }

    /// What is wrong with a field.
    func wrong(_ name: String, _ expected: String, _ found: JSONValue) -> AdapterError {
        .malformed(file: file, what: "'\(name)'", expected: expected, found: found.text())
    }

    /// Whether the field is there and not null.
    func has(_ name: String) -> Bool { value(name) != nil }

    func string(_ name: String) throws(AdapterError) -> String? {
        guard let value = value(name) else { return nil }
        guard let text = value.stringValue else { throw wrong(name, "a string", value) }
        return text
    }

    func bool(_ name: String) throws(AdapterError) -> Bool? {
        guard let value = value(name) else { return nil }
        guard let flag = value.boolValue else { throw wrong(name, "true or false", value) }
        return flag
    }

    func integer(_ name: String) throws(AdapterError) -> Int? {
        guard let value = value(name) else { return nil }
        guard let number = value.integer(in: .settings) else { throw wrong(name, "an integer", value) }
        return number
    }

    /// An integer that goes by two names.
    func integer(_ name: String, or other: String) throws(AdapterError) -> Int? {
        if let number = try integer(name) { return number }
        return try integer(other)
    }

    func number(_ name: String) throws(AdapterError) -> Double? {
        guard let value = value(name) else { return nil }
        guard let number = value.doubleValue, number.isFinite else { throw wrong(name, "a finite number", value) }
        return number
    }

    func strings(_ name: String) throws(AdapterError) -> [String]? {
        guard let value = value(name) else { return nil }
        if let text = value.stringValue { return text.isEmpty ? [] : [text] }
        let texts = value.arrayValue?.compactMap(\.stringValue)
        guard let texts, texts.count == value.arrayValue?.count else {
            throw wrong(name, "a string or a list of strings", value)
        }
        return texts
    }

    func integers(_ name: String) throws(AdapterError) -> [Int]? {
        guard let value = value(name) else { return nil }
        if let number = value.integer(in: .settings) { return [number] }
        let numbers = value.arrayValue?.compactMap { $0.integer(in: .settings) }
        guard let numbers, numbers.count == value.arrayValue?.count else {
            throw wrong(name, "an integer or a list of integers", value)
        }
        return numbers
    }

    func targets(_ name: String, allowsAllLinear: Bool) throws(AdapterError) -> TargetSpecification? {
        guard let value = value(name) else { return nil }
        if let text = value.stringValue {
            if allowsAllLinear, text.lowercased() == TargetSpecification.allLinearName { return .allLinear }
            if text.isEmpty, !allowsAllLinear { return nil }
            // Compiled when it is matched: an adapter whose tensors name its modules can do without.
            return .expression(text)
        }
        let names = try strings(name) ?? []
        return names.isEmpty && !allowsAllLinear ? nil : .names(names)
    }

    func integerPattern(_ name: String) throws(AdapterError) -> [PatternEntry<Int>] {
        var entries: [PatternEntry<Int>] = []
        for (pattern, value) in try members(name) {
            guard let number = value.integer(in: .settings) else {
                throw wrong(name, "integers by module pattern", value)
            }
            entries.append(.init(pattern, number))
        }
        return entries
    }

    func numberPattern(_ name: String) throws(AdapterError) -> [PatternEntry<Double>] {
        var entries: [PatternEntry<Double>] = []
        for (pattern, value) in try members(name) {
            guard let number = value.doubleValue else { throw wrong(name, "numbers by module pattern", value) }
            entries.append(.init(pattern, number))
        }
        return entries
    }

    func members(_ name: String) throws(AdapterError) -> [(key: String, value: JSONValue)] {
        guard let value = value(name) else { return [] }
        guard let object = value.objectValue else { throw wrong(name, "an object", value) }
        return object.members
    }
}

extension JSONValue {
    /// A number without a needless point, as peft writes alphas.
    static func shortest(_ value: Double) -> JSONValue { Int(exactly: value).map { .integer($0) } ?? .real(value) }
}
