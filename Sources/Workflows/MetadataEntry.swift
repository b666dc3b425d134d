import CheckpointIO
import TensorCore

/// Something that a file of tensors says of itself.
package struct MetadataEntry: Sendable {
    /// Such as `general.architecture` or `format`.
    package let key: String
    /// GGUF's type, with the number of elements for an array; `string` for safetensors.
    package let type: String
    /// The value; of a long array the first elements, of a long text its beginning.
    package let value: JSONValue
    /// Elements of an array, or bytes of a text, that `value` leaves out.
    package let omittedCount: Int

    /// Elements of an array that are kept.
    private static let elementLimit = 8
    /// Unicode scalars of a text that are kept, and bytes of all texts together, about: what a file says of itself may
    /// be many megabytes, of which nobody wants to read more.
    private static let (textLimit, totalLimit) = (1 << 16, 8 << 20)

    /// An entry of a safetensors file.
    init(key: String, value: String) {
        var room = Int.max
        self.init(key: key, value: value, room: &room)
    }

    /// - Parameter room: bytes of texts that are still to be kept.
    private init(key: String, value: String, room: inout Int) {
        self.key = key
        type = "string"
        let kept = Self.beginning(of: value, &room)
        self.value = .string(kept)
        omittedCount = value.utf8.count - kept.utf8.count
    }

    /// As much of a text as is kept.
    private static func beginning(of text: String, _ room: inout Int) -> String {
        let limit = min(textLimit, max(0, room))
        let kept = text.utf8.count <= limit ? text : String(text.unicodeScalars.prefix(limit))
        room -= kept.utf8.count
        return kept
    }

    /// An entry of a GGUF file.
    private init(key: String, _ value: GGUFValue, room: inout Int) {
        self.key = key
        type = Self.type(value)
        self.value = Self.json(value, &room)
        let lostBytes = (value.stringValue?.utf8.count ?? 0) - (self.value.stringValue?.utf8.count ?? 0)
        omittedCount = max(0, (value.elementCount ?? 0) - Self.elementLimit, lostBytes)
    }

    /// All entries of a checkpoint's files; those that files have in common once.
    static func all(of checkpoint: Checkpoint) -> [MetadataEntry] {
        var room = totalLimit
        if let metadata = checkpoint.metadata {
            return metadata.keys.map { MetadataEntry(key: $0, metadata[$0]!, room: &room) }
        }
        var entries: [MetadataEntry] = []
        var seen: Set<Pair> = []
        for metadata in checkpoint.headerMetadata {
            for (key, value) in metadata where seen.insert(Pair(key: ByteName(key), value: ByteName(value))).inserted {
                entries.append(MetadataEntry(key: key, value: value, room: &room))
            }
        }
        return entries
    }

    private struct Pair: Hashable {
        let key: ByteName
        let value: ByteName
    }

    private static func type(_ value: GGUFValue) -> String {
        switch value {
        case .uint8: "uint8"
        case .int8: "int8"
        case .uint16: "uint16"
        case .int16: "int16"
        case .uint32: "uint32"
        case .int32: "int32"
        case .float32: "float32"
        case .bool: "bool"
        case .string: "string"
        case .uint64: "uint64"
        case .int64: "int64"
        case .float64: "float64"
        case .strings(let values): "\(values.count) strings"
        case .array(let values): "\(values.count) \(values.first.map(type) ?? "values")"
        }
    }

    private static func json(_ value: GGUFValue, _ room: inout Int) -> JSONValue {
        switch value {
        case .uint8(let value): .integer(Int(value))
        case .int8(let value): .integer(Int(value))
        case .uint16(let value): .integer(Int(value))
        case .int16(let value): .integer(Int(value))
        case .uint32(let value): .integer(Int(value))
        case .int32(let value): .integer(Int(value))
        case .float32(let value): .real(value)
        case .bool(let value): .bool(value)
        case .string(let value): .string(beginning(of: value, &room))
        case .uint64(let value): .number(String(value))
        case .int64(let value): .integer(Int(value))
        case .float64(let value): .real(value)
        case .strings(let values): .array(values.prefix(elementLimit).map { .string(beginning(of: $0, &room)) })
        case .array(let values): .array(values.prefix(elementLimit).map { json($0, &room) })
        }
    }
}
