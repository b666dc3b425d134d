import TensorCore

/// A JSON value. Objects keep the order of their keys and never hold a key twice; numbers keep their text, so that a
/// 64-bit integer survives.
package enum JSONValue: Sendable {
    case null
    case bool(Bool)
    /// The number as written, such as `1e-5`.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// A number that holds `value` exactly.
    package static func integer(_ value: Int) -> JSONValue { .number(String(value)) }

    /// A number that reads back as `value`; NaN and infinities, which JSON lacks, become null.
    package static func real(_ value: Double) -> JSONValue { value.isFinite ? .number(value.description) : .null }

    /// A number with the shortest text that reads back as the same `Float`; NaN and infinities become null.
    package static func real(_ value: Float) -> JSONValue { value.isFinite ? .number(value.description) : .null }

    /// The text, where this is a string.
    package var stringValue: String? { if case .string(let text) = self { text } else { nil } }

    /// The truth value, where this is one.
    package var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }

    /// The elements, where this is an array.
    package var arrayValue: [JSONValue]? { if case .array(let values) = self { values } else { nil } }

    /// The members, where this is an object.
    package var objectValue: JSONObject? { if case .object(let object) = self { object } else { nil } }

    /// The number, where this is one that a `Double` can hold.
    package var doubleValue: Double? { if case .number(let text) = self { Double(text) } else { nil } }

    /// The number, where this is an integer that an `Int` holds; `2.0` and `2e0` count.
    package var intValue: Int? {
        guard case .number(let text) = self else { return nil }
        return Int(text) ?? Double(text).flatMap(Int.init(exactly:))
    }

    /// Whether this is null.
    package var isNull: Bool { self == .null }

    /// The member `key`, where this is an object that has one.
    package subscript(key: String) -> JSONValue? { objectValue?[key] }
}

extension JSONValue: Equatable {
    /// Texts are equal where their bytes are.
    package static func == (left: JSONValue, right: JSONValue) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.bool(let left), .bool(let right)): left == right
        case (.number(let left), .number(let right)): left == right
        case (.string(let left), .string(let right)): left.hasSameBytes(as: right)
        case (.array(let left), .array(let right)): left == right
        case (.object(let left), .object(let right)): left == right
        default: false
        }
    }
}

/// The members of a JSON object in the order of the file. Keys are told apart by their UTF-8 bytes, not by canonical
/// equivalence as Swift's strings are: a vocabulary holds a composed "é" and a decomposed one as two tokens.
package struct JSONObject: Sendable, Equatable, ExpressibleByDictionaryLiteral {
    /// The members in order, each key once.
    package private(set) var members: [(key: String, value: JSONValue)] = []
    /// Where each key stands, once there are many: most objects have a few members, and files many objects.
    private var places: [ByteName: Int]?

    /// Members up to which they are looked through one by one.
    private static let countWithoutTable = 8

    /// No members.
    package init() {}

    /// The members of a literal; a key given twice is a programmer's mistake.
    package init(dictionaryLiteral elements: (String, JSONValue)...) {
        for (key, value) in elements {
            precondition(self[key] == nil, "key '\(key)' twice in a literal")
            self[key] = value
        }
    }

    /// Members are equal in one order alone, and keys by their bytes.
    package static func == (left: JSONObject, right: JSONObject) -> Bool {
        left.members.elementsEqual(right.members) { $0.key.hasSameBytes(as: $1.key) && $0.value == $1.value }
    }

    /// The number of members.
    package var count: Int { members.count }

    /// The keys in order, each once.
    package var keys: [String] { members.map(\.key) }

    /// The value of `key`; setting nil takes the member out, a new key goes to the end.
    package subscript(key: String) -> JSONValue? {
        get { place(of: key).map { members[$0].value } }
        set {
            guard let newValue else { return remove(key) }
            if let place = place(of: key) {
                members[place].value = newValue
                return
            }
            members.append((key, newValue))
            if places != nil {
                places?[ByteName(key)] = members.count - 1
            } else if members.count > Self.countWithoutTable {
                places = Self.places(members)
            }
        }
    }

    private func place(of key: String) -> Int? {
        guard let places else { return members.firstIndex { $0.key.hasSameBytes(as: key) } }
        return places[ByteName(key)]
    }

    private mutating func remove(_ key: String) {
        guard let place = place(of: key) else { return }
        members.remove(at: place)
        if places != nil { places = Self.places(members) }
    }

    private static func places(_ members: [(key: String, value: JSONValue)]) -> [ByteName: Int] {
        Dictionary(uniqueKeysWithValues: members.enumerated().map { (ByteName($1.key), $0) })
    }
}

extension JSONValue {
    /// The value as JSON text. With `indent`, one member a line, that many spaces a level, and a space after colons
    /// (the layout of Python's `json.dumps(indent:)`); without, one line with `, ` and `: ` as Python writes by
    /// default.
    package func text(indent: Int? = nil, sortedKeys: Bool = false) -> String {
        var out = ""
        write(into: &out, indent: indent, sortedKeys: sortedKeys, depth: 0)
        return out
    }

    /// Appends the text of a value that lies `depth` lists deep.
    package func write(into out: inout String, indent: Int?, sortedKeys: Bool = false, depth: Int) {
        switch self {
        case .null: out += "null"
        case .bool(let value): out += value ? "true" : "false"
        case .number(let text): out += text
        case .string(let text): Self.writeString(text, into: &out)
        case .array(let values):
            Self.writeList(values, "[", "]", into: &out, indent: indent, depth: depth) { value, out in
                value.write(into: &out, indent: indent, sortedKeys: sortedKeys, depth: depth + 1)
            }
        case .object(let object):
            let members = sortedKeys ? object.members.sorted { $0.key < $1.key } : object.members
            Self.writeList(members, "{", "}", into: &out, indent: indent, depth: depth) { member, out in
                Self.writeString(member.key, into: &out)
                out += ": "
                member.value.write(into: &out, indent: indent, sortedKeys: sortedKeys, depth: depth + 1)
            }
        }
    }

    /// Appends a list, or an object, whose elements `writeElement` appends in their turn: one of many thousand needs not be
    /// in memory as values. `depth` is the list's own.
    package static func writeList<Element>(
        _ elements: [Element], _ open: String, _ close: String, into out: inout String, indent: Int?, depth: Int,
        _ writeElement: (Element, inout String) -> Void
    ) {
        out += open
        for (index, element) in elements.enumerated() {
            if index > 0 { out += indent == nil ? ", " : "," }
            if let indent { out += "\n" + String(repeating: " ", count: indent * (depth + 1)) }
            writeElement(element, &out)
        }
        if let indent, !elements.isEmpty { out += "\n" + String(repeating: " ", count: indent * depth) }
        out += close
    }

    /// Appends a string or a key.
    package static func writeString(_ text: String, into out: inout String) {
        out += "\""
        var text = text
        // Stretches at once: a text may fill a file.
        text.withUTF8 { bytes in
            var start = 0
            for index in bytes.indices {
                guard let escape = escape(of: bytes[index]) else { continue }
                if start < index {
                    out += String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<index]), as: UTF8.self)
                }
                out += escape
                start = index + 1
            }
            out += String(decoding: UnsafeBufferPointer(rebasing: bytes[start...]), as: UTF8.self)
        }
        out += "\""
    }

    /// How a character that may not stand in a string itself is written; nil for all others.
    private static func escape(of byte: UInt8) -> String? {
        switch byte {
        case UInt8(ascii: "\""): return "\\\""
        case UInt8(ascii: "\\"): return "\\\\"
        case UInt8(ascii: "\n"): return "\\n"
        case UInt8(ascii: "\r"): return "\\r"
        case UInt8(ascii: "\t"): return "\\t"
        case 0..<0x20: return (byte < 0x10 ? "\\u000" : "\\u00") + String(byte, radix: 16)
        default: return nil
        }
    }
}
