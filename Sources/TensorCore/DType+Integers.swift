/// Whole numbers as files hold them, little-endian.
extension DType {
    private var isSigned: Bool { [.i8, .i16, .i32, .i64].contains(self) }

    /// The number of an element's bytes, of a type for whole numbers.
    package func number(_ bytes: some BidirectionalCollection<UInt8>) -> Int128 {
        let plain = bytes.reversed().reduce(Int128(0)) { $0 << 8 | Int128($1) }
        let isNegative = isSigned && (bytes.last ?? 0) >= 0x80
        return isNegative ? plain - (1 << (8 * Int128(byteCount))) : plain
    }

    /// The bytes of an element of this number; nil where the type does not have it.
    package func bytes(of number: Int128) -> [UInt8]? {
        let bits = self == .bool ? 1 : 8 * Int128(byteCount)
        let range: Range<Int128> = isSigned ? -(1 << (bits - 1))..<(1 << (bits - 1)) : 0..<(1 << bits)
        guard range.contains(number) else { return nil }
        return (0..<byteCount).map { UInt8(truncatingIfNeeded: number >> (8 * Int128($0))) }
    }
}
