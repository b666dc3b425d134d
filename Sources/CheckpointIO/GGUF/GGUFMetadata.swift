import TensorCore

/// A value of a GGUF file's metadata with its exact type.
package enum GGUFValue: Sendable {
    case uint8(UInt8)
    case int8(Int8)
    case uint16(UInt16)
    case int16(Int16)
    case uint32(UInt32)
    case int32(Int32)
    case float32(Float)
    case bool(Bool)
    case string(String)
    case uint64(UInt64)
    case int64(Int64)
    case float64(Double)
    /// An array of strings, read from the mapped file on demand.
    case strings(GGUFStringArray)
    /// An array of anything else, read from the mapped file on demand.
    case array(GGUFArray)

    /// The integer, where this is one that an `Int` holds.
    package var intValue: Int? {
        switch self {
        case .uint8(let value): Int(value)
        case .int8(let value): Int(value)
        case .uint16(let value): Int(value)
        case .int16(let value): Int(value)
        case .uint32(let value): Int(value)
        case .int32(let value): Int(value)
        case .uint64(let value): Int(exactly: value)
        case .int64(let value): Int(value)
        default: nil
        }
    }

    /// The number, where this is a float or an integer.
    package var doubleValue: Double? {
        switch self {
        case .float32(let value): Double(value)
        case .float64(let value): value
        default: intValue.map(Double.init)
        }
    }

    /// The text, where this is a string.
    package var stringValue: String? { if case .string(let text) = self { text } else { nil } }

    /// The truth value, where this is one.
    package var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }

    /// The strings, where this is an array of them.
    package var stringArray: GGUFStringArray? { if case .strings(let strings) = self { strings } else { nil } }

    /// The elements, where the value is an array of truth values.
    package var booleans: [Bool]? { if case .array(let values) = self { values.booleans } else { nil } }

    /// The floats, where this is an array of 32-bit floats. An array from a file may be long: look at `elementCount`
    /// first.
    package var floatArray: [Float]? { if case .array(let values) = self { values.floats } else { nil } }

    /// The number of elements, where this is an array.
    package var elementCount: Int? {
        switch self {
        case .strings(let strings): strings.count
        case .array(let values): values.count
        default: nil
        }
    }
}

/// The key/value pairs of a GGUF file in file order. Values are read from the mapped file when they are asked for.
package struct GGUFMetadata: Sendable {
    /// The keys in file order, each once.
    package let keys: [String]
    /// The file, and where in it the bytes of each value lie.
    let file: MappedFile
    let places: NameTable<Place>

    /// The bytes of a value in its file.
    struct Place: Sendable {
        /// The value's type.
        let type: GGUFValueType
        /// Where the value lies, its type left out; of an array from the elements' type on.
        let range: Range<Int>
    }

    /// Metadata whose values were all checked.
    init(keys: [String], file: MappedFile, places: NameTable<Place>) {
        self.keys = keys
        self.file = file
        self.places = places
    }

    /// The value of `key`.
    package subscript(key: String) -> GGUFValue? {
        guard let place = places[key] else { return nil }
        return file.withBytes { bytes in
            let value = UnsafeRawBufferPointer(rebasing: bytes[place.range])
            guard let start = value.baseAddress else { return nil }
            switch place.type {
            case .string: return .string(String(decoding: value.dropFirst(Self.lengthSize), as: UTF8.self))
            case .array:
                let type = UInt32(littleEndian: value.loadUnaligned(as: UInt32.self))
                let count = UInt64(littleEndian: value.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
                let elements = place.range.lowerBound + 4 + Self.lengthSize..<place.range.upperBound
                switch GGUFValueType(rawValue: type) {
                case .string:
                    return .strings(
                        GGUFStringArray(
                            file: file, range: elements,
                            count: Int(min(count, UInt64(elements.count / Self.lengthSize)))))
                case let type?: return .array(GGUFArray(file: file, elementType: type, range: elements))
                case nil: return nil
                }
            default: return place.type.scalar(start)
            }
        }
    }

    /// Bytes of the length before a string or an array's elements.
    private static let lengthSize = 8
}
