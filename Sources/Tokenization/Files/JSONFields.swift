import CheckpointIO
import TensorCore

/// One object of a tokenizer file, read field by field; what is missing or wrong is an error that names its place.
struct JSONFields {
    let file: String
    /// Where the object stands, such as `pre_tokenizer.pretokenizers[1]`; empty for the whole file.
    let path: String
    let object: JSONObject

    /// The object in `value`.
    init(_ value: JSONValue, file: String, path: String) throws(TokenizationError) {
        guard let object = value.objectValue else {
            throw .malformed(file: file, problem: "\(path.isEmpty ? "the file" : "'\(path)'") is not a JSON object")
        }
        self.file = file
        self.path = path
        self.object = object
    }

    /// Where field `key` stands.
    func place(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// The value of `key`; nil for null too.
    subscript(key: String) -> JSONValue? {
        guard let value = object[key], !value.isNull else { return nil }
        return value
    }

    /// Refuses fields that nothing here understands.
    func allow(_ keys: String...) throws(TokenizationError) {
        for key in object.keys where !keys.contains(key) {
            throw unsupported("the field '\(place(of: key))'")
        }
    }

    /// The error that `what`, a phrase, is not supported.
    func unsupported(_ what: String) -> TokenizationError { .unsupported(file: file, feature: what) }

    /// The error that field `key` is not what it must be.
    func malformed(_ key: String, _ expected: String) -> TokenizationError {
        let found = self[key] == nil ? "is missing (\(expected))" : "is not \(expected)"
        return .malformed(file: file, problem: "'\(place(of: key))' \(found)")
    }

    /// A text.
    func string(_ key: String) throws(TokenizationError) -> String {
        guard let text = self[key]?.stringValue else { throw malformed(key, "a string") }
        return text
    }

    /// A text that has at least one character, in UTF-8.
    func bytes(_ key: String) throws(TokenizationError) -> [UInt8] {
        let text = try string(key)
        guard !text.isEmpty else { throw malformed(key, "a string with at least one character") }
        return Array(text.utf8)
    }

    /// A truth value; `standard` where it is absent, an error where that is nil.
    func bool(_ key: String, default standard: Bool? = nil) throws(TokenizationError) -> Bool {
        if let value = self[key]?.boolValue { return value }
        guard self[key] == nil, let standard else { throw malformed(key, "true or false") }
        return standard
    }

    /// A count or an id.
    func natural(_ key: String) throws(TokenizationError) -> Int {
        guard let value = self[key]?.integer(in: .sizesOrNone) else {
            throw malformed(key, "a whole number from 0 to \(Int32.max)")
        }
        return value
    }

    /// A list; empty where it is absent.
    func list(_ key: String) throws(TokenizationError) -> [JSONValue] {
        guard let value = self[key] else { return [] }
        guard let list = value.arrayValue else { throw malformed(key, "a list") }
        return list
    }

    /// An object inside.
    func fields(_ key: String) throws(TokenizationError) -> JSONFields {
        guard let value = self[key] else { throw malformed(key, "an object") }
        return try JSONFields(value, file: file, path: place(of: key))
    }

    /// The objects of a list.
    func fieldsList(_ key: String) throws(TokenizationError) -> [JSONFields] {
        var all: [JSONFields] = []
        for (index, value) in try list(key).enumerated() {
            all.append(try JSONFields(value, file: file, path: "\(place(of: key))[\(index)]"))
        }
        return all
    }
}
