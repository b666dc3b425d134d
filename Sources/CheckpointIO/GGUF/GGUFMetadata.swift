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
    /// An array of anything else.
    case array([GGUFValue])
    /// An array of 32-bit floats.
    case floats([Float])
    /// An array of integers of one width, widened.
    case integers([Int64])

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

    /// The floats, where this is an array of 32-bit floats.
    package var floatArray: [Float]? { if case .floats(let values) = self { values } else { nil } }

    /// The integers, where this is an array of them.
    package var integerArray: [Int64]? { if case .integers(let values) = self { values } else { nil } }
}

/// An array of strings inside a mapped GGUF file: places only, so that a vocabulary of hundreds of thousands costs
/// little until it is read.
package struct GGUFStringArray: Sendable, RandomAccessCollection {
    private let file: MappedFile
    private let ranges: [Range<Int>]

    init(file: MappedFile, ranges: [Range<Int>]) {
        self.file = file
        self.ranges = ranges
    }

    package var startIndex: Int { 0 }
    package var endIndex: Int { ranges.count }

    /// String `position`; invalid UTF-8 is repaired with replacement characters (see `bytes(at:)`).
    package subscript(position: Int) -> String {
        file.withBytes { String(decoding: $0[ranges[position]], as: UTF8.self) }
    }

    /// The bytes of string `position` as they are.
    package func bytes(at position: Int) -> [UInt8] {
        file.withBytes { Array($0[ranges[position]]) }
    }
}

/// The key/value pairs of a GGUF file in file order.
package struct GGUFMetadata: Sendable {
    /// The keys in file order, each once.
    package let keys: [String]
    private let values: [String: GGUFValue]
    /// The file, and where in it the bytes of each value lie.
    let file: MappedFile
    let places: [String: Place]

    /// The bytes of a value in its file.
    struct Place: Sendable {
        /// GGUF's number of the value's type.
        let type: UInt32
        /// Where the value lies, its type left out.
        let range: Range<Int>
    }

    init(keys: [String], values: [String: GGUFValue], file: MappedFile, places: [String: Place]) {
        self.keys = keys
        self.values = values
        self.file = file
        self.places = places
    }

    /// The value of `key`.
    package subscript(key: String) -> GGUFValue? { values[key] }
}
