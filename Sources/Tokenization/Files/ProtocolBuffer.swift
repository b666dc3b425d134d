/// Reads the fields of a Protocol Buffers message (protobuf.dev, "Encoding"), one after the other.
struct ProtocolBuffer {
    /// What a field holds.
    enum Value {
        case number(UInt64)
        case fixed32(UInt32)
        case fixed64(UInt64)
        case bytes(ArraySlice<UInt8>)
    }

    private let bytes: ArraySlice<UInt8>
    private var place: Int

    /// The message in these bytes.
    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        place = bytes.startIndex
    }

    /// Whether every byte is read.
    var isAtEnd: Bool { place == bytes.endIndex }

    /// The next field; nil where the bytes are none.
    mutating func next() -> (field: UInt64, value: Value)? {
        guard let key = number() else { return nil }
        switch key & 7 {
        case 0: return number().map { (key >> 3, .number($0)) }
        case 1: return fixed(8).map { (key >> 3, .fixed64($0)) }
        case 2:
            guard let count = number(), count <= UInt64(bytes.endIndex - place) else { return nil }
            defer { place += Int(count) }
            return (key >> 3, .bytes(bytes[place..<place + Int(count)]))
        case 5: return fixed(4).map { (key >> 3, .fixed32(UInt32($0))) }
        default: return nil
        }
    }

    private mutating func number() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            guard place < bytes.endIndex else { return nil }
            let byte = bytes[place]
            place += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        return nil
    }

    private mutating func fixed(_ count: Int) -> UInt64? {
        guard bytes.endIndex - place >= count else { return nil }
        defer { place += count }
        return bytes[place..<place + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
}
