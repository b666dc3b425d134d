/// The table at the end of a file in Zstandard's seekable format: how many bytes each frame has, packed and unpacked.
///
/// It is a skippable frame of little-endian numbers (zstd's
/// `contrib/seekable_format/zstd_seekable_compression_format.md`, version 0.1.0): the magic 0x184D2A5E and the size of
/// what follows; for each frame its packed and its unpacked size and, if the descriptor's bit 7 is set, the lower half
/// of XXH64 of its content, 32 bits each; the number of frames (32 bits), the descriptor (8 bits) and the magic
/// 0x8F92EAB1.
struct SeekTable {
    /// One frame.
    struct Entry: Equatable {
        /// Bytes in the file.
        let packed: UInt32
        /// Bytes of content; 0 for a frame without any.
        let unpacked: UInt32
        /// The checksum of the content; nil in a table without checksums.
        let checksum: UInt32?
    }

    private static let frameMagic: UInt32 = 0x184D_2A5E
    private static let footerMagic: UInt32 = 0x8F92_EAB1
    private static let footerSize = 9
    private static let checksumBit: UInt8 = 0x80
    private static let reservedBits: UInt8 = 0x7C
    /// The fewest bytes that a frame of any kind has: a skippable one of nothing.
    private static let leastFrame = 8
    /// Frames that a file may have: at the 1 MiB of content that ours have, a terabyte. Each costs some 40 bytes of
    /// memory whenever the file is opened, so that a file of small ones costs more than its own size.
    static let entryLimit = 1 << 20

    /// The frames in the order of the file.
    let entries: [Entry]

    /// The bytes of the table, checksums included: all entries must have one.
    static func bytes(_ entries: [Entry]) -> [UInt8] {
        func word(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
        var out: [UInt8] = []
        out.reserveCapacity(8 + entries.count * 12 + footerSize)
        out += word(frameMagic) + word(UInt32(entries.count * 12 + footerSize))
        for entry in entries {
            guard let checksum = entry.checksum else { preconditionFailure("a table has all checksums or none") }
            out += word(entry.packed) + word(entry.unpacked) + word(checksum)
        }
        return out + word(UInt32(entries.count)) + [checksumBit] + word(footerMagic)
    }

    /// The table at the end of `bytes`, a whole file; nil if there is none.
    ///
    /// Throws `malformed` unless the frames before it fill the rest of the file exactly.
    init?(file: String, bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        func failure(_ problem: String) -> CheckpointError {
            .malformed(file: file, problem: "its seek table \(problem)")
        }
        func word(at offset: Int) -> UInt32 {
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        }
        guard bytes.count >= 8 + Self.footerSize, word(at: bytes.count - 4) == Self.footerMagic else { return nil }
        let descriptor = bytes[bytes.count - 5]
        guard descriptor & Self.reservedBits == 0 else { throw failure("has reserved bits set") }
        let entrySize = descriptor & Self.checksumBit == 0 ? 8 : 12
        let count = Int(word(at: bytes.count - Self.footerSize))
        // At most 2^32 entries of 12 bytes: no product here overflows.
        let contentSize = count * entrySize + Self.footerSize
        let start = bytes.count - contentSize - 8
        guard start >= 0, count <= start / Self.leastFrame else {
            throw failure("names \(count) frames, more than a file of \(bytes.count) bytes can hold")
        }
        guard count <= Self.entryLimit else {
            throw failure(
                "names \(count) frames; more than \(Self.entryLimit) are not taken: pack it with larger frames")
        }
        guard word(at: start) == Self.frameMagic, Int(word(at: start + 4)) == contentSize else {
            throw failure("does not start where its \(count) entries say")
        }
        var entries: [Entry] = []
        entries.reserveCapacity(count)
        var position = 0
        for index in 0..<count {
            let place = start + 8 + index * entrySize
            let entry = Entry(
                packed: word(at: place), unpacked: word(at: place + 4),
                checksum: entrySize == 12 ? word(at: place + 8) : nil)
            guard entry.packed >= Self.leastFrame, Int(entry.packed) <= start - position else {
                throw failure("gives frame \(index) \(entry.packed) bytes, where \(start - position) are left")
            }
            position += Int(entry.packed)
            entries.append(entry)
        }
        guard position == start else {
            throw failure("covers \(position) bytes of frames, but \(start) are there")
        }
        self.entries = entries
    }
}
