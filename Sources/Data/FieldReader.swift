import CheckpointIO

/// Reads fields of one object; errors name them with `prefix` before them.
struct FieldReader {
    /// The object.
    let object: JSONObject
    /// Where its record stands.
    let place: RecordPlace
    /// What stands before a field's name, such as `messages[0].`.
    var prefix = ""
    /// Whether the model takes pictures, so that parts of turns may be some.
    var readsImages = false

    /// Whether the field is there, whatever it holds.
    func has(_ field: String) -> Bool { object[field] != nil }

    /// Whether the field is there and holds something: not null, false, or an empty text, list or object.
    func means(_ field: String) -> Bool {
        switch object[field] {
        case nil, .null, .bool(false), .string(""), .array([]): false
        case .object(let members)?: members.count > 0
        default: true
        }
    }

    /// A field that is there.
    func string(_ field: String) throws(DataError) -> String {
        let value = object[field] ?? .null
        guard let text = value.stringValue else {
            throw .wrongType(place, field: prefix + field, expected: "a string", found: value.kindInWords)
        }
        return text
    }

    /// A field that may be absent or null.
    func optionalString(_ field: String) throws(DataError) -> String? {
        guard let value = object[field], !value.isNull else { return nil }
        return try string(field)
    }

    /// A field that must be there because `owner` is.
    func requiredString(_ field: String, of owner: String) throws(DataError) -> String {
        guard has(field) else { throw .missingField(place, field: prefix + field, presentField: owner) }
        return try string(field)
    }
}
