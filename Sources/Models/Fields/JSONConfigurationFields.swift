import CheckpointIO
import TensorCore

/// The members of a configuration object, read with checks; absent and null are the same.
struct JSONConfigurationFields: FieldSource {
    /// The file, for messages.
    let file: String
    /// The keys that lead to this object, such as `rope_scaling.`.
    private let prefix: String
    private let value: JSONValue
    private let log: FieldLog?

    init(file: String, value: JSONValue, log: FieldLog? = nil) {
        self.init(file: file, prefix: "", value: value, log: log)
    }

    private init(file: String, prefix: String, value: JSONValue, log: FieldLog?) {
        self.file = file
        self.prefix = prefix
        self.value = value
        self.log = log
    }

    func key(of field: Field) -> String { field.json }

    func bad(_ key: String, _ expected: String, _ found: String) -> ModelError {
        .badConfiguration(file: file, key: prefix + key, expected: expected, found: found)
    }

    func unsupported(_ key: String, _ found: String, _ supported: String) -> ModelError {
        .unsupportedConfiguration(file: file, key: prefix + key, found: found, supported: supported)
    }

    /// The member, unless absent or null.
    func member(_ key: String) -> JSONValue? {
        log?.add(prefix + key)
        guard let member = value[key], !member.isNull else { return nil }
        return member
    }

    func isPresent(_ key: String) -> Bool { member(key) != nil }

    /// Whether the key stands there, be it with null.
    func hasKey(_ key: String) -> Bool {
        log?.add(prefix + key)
        return value[key] != nil
    }

    func object(_ key: String) throws(ModelError) -> JSONConfigurationFields {
        guard let member = member(key), member.objectValue != nil else {
            throw bad(key, "an object", found(key))
        }
        return JSONConfigurationFields(file: file, prefix: prefix + key + ".", value: member, log: log)
    }

    func string(_ key: String) throws(ModelError) -> String? {
        guard let member = member(key) else { return nil }
        guard let text = member.stringValue else { throw bad(key, "a string", found(key)) }
        return text
    }

    func flag(_ key: String) throws(ModelError) -> Bool? {
        guard let member = member(key) else { return nil }
        guard let value = member.boolValue else { throw bad(key, "true or false", found(key)) }
        return value
    }

    /// Sizes are bounded so that products of two fit an `Int`.
    func positiveInteger(_ key: String) throws(ModelError) -> Int? {
        guard let member = member(key) else { return nil }
        guard let value = member.integer(in: .sizes) else {
            throw bad(key, "an integer from 1 to \(Int32.max)", found(key))
        }
        return value
    }

    /// A count, which may be none.
    func positiveIntegerOrZero(_ key: String) throws(ModelError) -> Int? {
        member(key)?.integer(in: .sizesOrNone) == 0 ? 0 : try positiveInteger(key)
    }

    func positiveNumber(_ key: String) throws(ModelError) -> Double? {
        guard let member = member(key) else { return nil }
        guard let value = member.doubleValue, value > 0, value.isFinite else {
            throw bad(key, "a positive number", found(key))
        }
        return value
    }

    /// Token ids: one, a list, or none.
    func tokenIDs(_ key: String) throws(ModelError) -> [Int] {
        guard let member = member(key) else { return [] }
        let elements = member.arrayValue ?? [member]
        var ids: [Int] = []
        for element in elements {
            guard let id = element.integer(in: .tokenIDs) else {
                throw bad(key, "a token id or a list of them", found(key))
            }
            ids.append(id)
        }
        return ids
    }

    private func found(_ key: String) -> String { value[key]?.text() ?? "missing" }
}
