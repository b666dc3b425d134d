/// A metadata value as the bytes of a GGUF file: its type's number and what follows it.
///
/// Values that are copied from another file keep their exact type this way, whatever it is.
package struct GGUFEncodedValue: Sendable, Equatable {
    /// GGUF's number of the type: 0 UINT8, 1 INT8, 2 UINT16, 3 INT16, 4 UINT32, 5 INT32, 6 FLOAT32, 7 BOOL, 8 STRING,
    /// 9 ARRAY, 10 UINT64, 11 INT64, 12 FLOAT64.
    package let type: UInt32
    /// The value, little-endian; of an array the elements' type, their count (64 bits) and the elements.
    package let bytes: [UInt8]

    init(type: UInt32, bytes: [UInt8]) {
        self.type = type
        self.bytes = bytes
    }

    private static func integer<T: FixedWidthInteger>(_ type: UInt32, _ value: T) -> GGUFEncodedValue {
        GGUFEncodedValue(type: type, bytes: littleEndianBytes(value))
    }

    /// An 8-bit unsigned integer.
    package static func uint8(_ value: UInt8) -> GGUFEncodedValue { integer(0, value) }
    /// An 8-bit integer.
    package static func int8(_ value: Int8) -> GGUFEncodedValue { integer(1, value) }
    /// A 16-bit unsigned integer.
    package static func uint16(_ value: UInt16) -> GGUFEncodedValue { integer(2, value) }
    /// A 16-bit integer.
    package static func int16(_ value: Int16) -> GGUFEncodedValue { integer(3, value) }
    /// A 32-bit unsigned integer.
    package static func uint32(_ value: UInt32) -> GGUFEncodedValue { integer(4, value) }
    /// A 32-bit integer.
    package static func int32(_ value: Int32) -> GGUFEncodedValue { integer(5, value) }
    /// A 32-bit float.
    package static func float32(_ value: Float) -> GGUFEncodedValue { integer(6, value.bitPattern) }
    /// A truth value.
    package static func bool(_ value: Bool) -> GGUFEncodedValue { integer(7, value ? UInt8(1) : 0) }
    /// A text.
    package static func string(_ value: String) -> GGUFEncodedValue {
        GGUFEncodedValue(type: 8, bytes: stringBytes(Array(value.utf8)))
    }
    /// A 64-bit unsigned integer.
    package static func uint64(_ value: UInt64) -> GGUFEncodedValue { integer(10, value) }
    /// A 64-bit integer.
    package static func int64(_ value: Int64) -> GGUFEncodedValue { integer(11, value) }
    /// A 64-bit float.
    package static func float64(_ value: Double) -> GGUFEncodedValue { integer(12, value.bitPattern) }

    /// An array of values of one type; `elementType` is said where it is empty. Values of different types, and arrays
    /// in an array, which ggml refuses, are a programmer's mistake.
    package static func array(_ values: [GGUFEncodedValue], elementType: UInt32? = nil) -> GGUFEncodedValue {
        let element = elementType ?? values.first?.type
        guard let element else { preconditionFailure("the type of no elements") }
        precondition(values.allSatisfy { $0.type == element }, "an array holds one type")
        precondition(element != 9, "an array holds no arrays")
        var bytes = littleEndianBytes(element) + littleEndianBytes(UInt64(values.count))
        for value in values { bytes += value.bytes }
        return GGUFEncodedValue(type: 9, bytes: bytes)
    }

    /// An array of truth values.
    package static func booleans(_ values: [Bool]) -> GGUFEncodedValue {
        array(values.map { .bool($0) }, elementType: 7)
    }

    /// An array of texts.
    package static func strings(_ values: some Collection<String>) -> GGUFEncodedValue {
        byteStrings(values.map { Array($0.utf8) })
    }

    /// An array of texts given as bytes, which need not be UTF-8: the pieces of some vocabularies are not.
    package static func byteStrings(_ values: [[UInt8]]) -> GGUFEncodedValue {
        var bytes = littleEndianBytes(UInt32(8)) + littleEndianBytes(UInt64(values.count))
        for value in values { bytes += stringBytes(value) }
        return GGUFEncodedValue(type: 9, bytes: bytes)
    }

    /// An array of 32-bit floats.
    package static func floats(_ values: [Float]) -> GGUFEncodedValue {
        array(values.map(float32), elementType: 6)
    }

    /// An array of 32-bit integers.
    package static func int32s(_ values: [Int32]) -> GGUFEncodedValue {
        array(values.map(int32), elementType: 5)
    }

    /// The number of a UINT32.
    package var uint32Value: UInt32? {
        guard type == 4, bytes.count == 4 else { return nil }
        return bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// A string as the format stores it: its length in 64 bits, then its bytes.
    static func stringBytes(_ text: [UInt8]) -> [UInt8] { littleEndianBytes(UInt64(text.count)) + text }

    /// The bytes of an integer, lowest first.
    static func littleEndianBytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
}

extension GGUFMetadata {
    /// The value of `key` as its file holds it, byte for byte.
    package func encoded(_ key: String) -> GGUFEncodedValue? {
        guard let place = places[key] else { return nil }
        return GGUFEncodedValue(type: place.type.rawValue, bytes: file.withBytes { Array($0[place.range]) })
    }
}
