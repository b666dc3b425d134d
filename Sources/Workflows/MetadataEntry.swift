import CheckpointIO

/// Something that a file of tensors says of itself.
package struct MetadataEntry: Sendable {
    /// Such as `general.architecture` or `format`.
    package let key: String
    /// GGUF's type, with the number of elements for an array; `string` for safetensors.
    package let type: String
    /// The value; of a long array the first elements.
    package let value: JSONValue
    /// Elements of an array that `value` leaves out.
    package let omittedCount: Int

    /// Elements of an array that are kept.
    private static let elementLimit = 8

    /// An entry of a safetensors file.
    init(key: String, value: String) {
        self.key = key
        type = "string"
        self.value = .string(value)
        omittedCount = 0
    }

    /// An entry of a GGUF file.
    init(key: String, _ value: GGUFValue) {
        self.key = key
        type = Self.type(value)
        omittedCount = max(0, (value.elementCount ?? 0) - Self.elementLimit)
        self.value = Self.json(value)
    }

    /// All entries of a checkpoint's files; those that files have in common once.
    static func all(of checkpoint: Checkpoint) throws(CheckpointError) -> [MetadataEntry] {
        if let metadata = checkpoint.metadata {
            return metadata.keys.map { MetadataEntry(key: $0, metadata[$0]!) }
        }
        var entries: [MetadataEntry] = []
        for file in checkpoint.files
        where file.hasSuffix(".safetensors") || file.hasSuffix(SafetensorsZstd.suffix) {
            for (key, value) in try SafetensorsFile.open(file).metadata
            where !entries.contains(where: { $0.key == key && $0.value.stringValue == value }) {
                entries.append(MetadataEntry(key: key, value: value))
            }
        }
        return entries
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

    private static func json(_ value: GGUFValue) -> JSONValue {
        switch value {
        case .uint8(let value): .integer(Int(value))
        case .int8(let value): .integer(Int(value))
        case .uint16(let value): .integer(Int(value))
        case .int16(let value): .integer(Int(value))
        case .uint32(let value): .integer(Int(value))
        case .int32(let value): .integer(Int(value))
        case .float32(let value): .real(value)
        case .bool(let value): .bool(value)
        case .string(let value): .string(value)
        case .uint64(let value): .number(String(value))
        case .int64(let value): .integer(Int(value))
        case .float64(let value): .real(value)
        case .strings(let values): .array(values.prefix(elementLimit).map { .string($0) })
        case .array(let values): .array(values.prefix(elementLimit).map(json))
        }
    }
}
