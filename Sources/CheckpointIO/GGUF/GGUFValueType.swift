/// The types of GGUF's metadata values, by their numbers in files.
enum GGUFValueType: UInt32, Sendable {
    case uint8 = 0
    case int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64, float64

    /// Bytes of a value; nil where they depend on it.
    var byteCount: Int? {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64: 8
        case .string, .array: nil
        }
    }

    /// The value of a type of known size whose bytes begin at `start`, at any alignment.
    func scalar(_ start: UnsafeRawPointer) -> GGUFValue? {
        func load<T: FixedWidthInteger>(_ type: T.Type) -> T { T(littleEndian: start.loadUnaligned(as: T.self)) }
        return switch self {
        case .uint8: .uint8(load(UInt8.self))
        case .int8: .int8(load(Int8.self))
        case .uint16: .uint16(load(UInt16.self))
        case .int16: .int16(load(Int16.self))
        case .uint32: .uint32(load(UInt32.self))
        case .int32: .int32(load(Int32.self))
        case .float32: .float32(Float(bitPattern: load(UInt32.self)))
        case .bool: .bool(load(UInt8.self) != 0)
        case .uint64: .uint64(load(UInt64.self))
        case .int64: .int64(load(Int64.self))
        case .float64: .float64(Double(bitPattern: load(UInt64.self)))
        case .string, .array: nil
        }
    }
}
