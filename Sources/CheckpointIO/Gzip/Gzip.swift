/// gzip files (RFC 1952), which hold one DEFLATE stream (RFC 1951) or several behind each other.
package enum Gzip {
    /// What every member starts with.
    package static let mark: [UInt8] = [0x1F, 0x8B]

    /// Bits of a member's flags, and those that the format leaves for later.
    private static let (headerCheck, extraField): (UInt8, UInt8) = (0x02, 0x04)
    private static let (name, comment): (UInt8, UInt8) = (0x08, 0x10)
    private static let unknownFlags: UInt8 = 0xE0

    /// Unpacks a gzip file of one or more members; zeros behind the last one are padding.
    ///
    /// - Parameter path: what to call the file in errors.
    ///
    /// Throws `malformed` for anything but whole members whose checksum and length are right, `tooLarge` if more than
    /// `limit` bytes come out. Memory stays within what comes out; DEFLATE makes at most 1032 bytes of one.
    package static func decompress(_ bytes: [UInt8], path: String, limit: Int) throws(CheckpointError) -> [UInt8] {
        do throws(InflateProblem) {
            var output: [UInt8] = []
            var input = BitReader(bytes)
            repeat {
                try skipHeader(&input)
                let start = output.count
                try Inflate.decompress(&input, into: &output, limit: limit)
                input.alignToByte()
                let (checksum, length) = (try input.bits(32), try input.bits(32))
                guard CRC32.checksum(of: output[start...]) == UInt32(truncatingIfNeeded: checksum),
                    UInt32(truncatingIfNeeded: output.count - start) == UInt32(truncatingIfNeeded: length)
                else { throw .malformed("its checksum or length is not that of what it holds") }
            } while !input.isAtPadding
            return output
        } catch {
            switch error {
            case .tooLarge: throw .tooLarge(path: path, limit: limit)
            case .malformed(let problem): throw .malformed(file: path, problem: "is not sound gzip data: \(problem)")
            }
        }
    }

    private static func skipHeader(_ input: inout BitReader) throws(InflateProblem) {
        guard try input.byte() == mark[0], try input.byte() == mark[1] else {
            throw .malformed("no member begins at byte \(input.place - 2)")
        }
        guard try input.byte() == 8 else { throw .malformed("its method is not DEFLATE") }
        let flags = try input.byte()
        guard flags & unknownFlags == 0 else { throw .malformed("it has flags that are not known") }
        // Time, level and system.
        for _ in 0..<6 { _ = try input.byte() }
        if flags & extraField != 0 {
            let count = Int(try input.byte()) | Int(try input.byte()) << 8
            for _ in 0..<count { _ = try input.byte() }
        }
        for flag in [name, comment] where flags & flag != 0 {
            while try input.byte() != 0 {}
        }
        if flags & headerCheck != 0 { for _ in 0..<2 { _ = try input.byte() } }
    }
}

/// Why DEFLATE data cannot be unpacked.
enum InflateProblem: Error, Equatable {
    case malformed(String)
    case tooLarge
}

/// Reads bytes bit by bit, each byte's lowest first.
struct BitReader {
    private let bytes: [UInt8]
    /// The byte that is taken up next.
    private var next = 0
    private var held: UInt64 = 0
    private var heldCount = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The place of the next byte, at a byte's border.
    var place: Int { next - heldCount / 8 }

    /// Whether nothing but zeros is left.
    var isAtPadding: Bool { bytes[place...].allSatisfy { $0 == 0 } }

    private mutating func fill(_ count: Int) {
        while heldCount < count, next < bytes.count {
            held |= UInt64(bytes[next]) << UInt64(heldCount)
            heldCount += 8
            next += 1
        }
    }

    /// The next `count` bits, at most 32.
    mutating func bits(_ count: Int) throws(InflateProblem) -> Int {
        fill(count)
        guard heldCount >= count else { throw .malformed("it ends too early") }
        let value = held & (1 << UInt64(count) - 1)
        drop(count)
        return Int(value)
    }

    /// The next bits, as many as `count` where there are so many, zeros beyond; they stay.
    mutating func peek(_ count: Int) -> Int {
        fill(count)
        return Int(held & (1 << UInt64(count) - 1))
    }

    /// Passes over bits that `peek` has shown. Throws where there were fewer.
    mutating func skip(_ count: Int) throws(InflateProblem) {
        guard heldCount >= count else { throw .malformed("it ends too early") }
        drop(count)
    }

    private mutating func drop(_ count: Int) {
        held >>= UInt64(count)
        heldCount -= count
    }

    mutating func byte() throws(InflateProblem) -> UInt8 { UInt8(try bits(8)) }

    mutating func alignToByte() { drop(heldCount % 8) }
}

/// The checksum of gzip and PNG: the polynomial 0xEDB88320, reflected.
enum CRC32 {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 0 ? value >> 1 : value >> 1 ^ 0xEDB8_8320 }
    }

    static func checksum(of bytes: ArraySlice<UInt8>) -> UInt32 {
        table.withUnsafeBufferPointer { table in
            bytes.withUnsafeBufferPointer { bytes in
                ~bytes.reduce(~UInt32(0)) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 }
            }
        }
    }
}
