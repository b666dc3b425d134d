/// The 512 bytes before a file in a POSIX ustar archive (IEEE Std 1003.1, `pax`, "ustar Interchange Format"), for plain
/// files with plain names and nothing else.
struct ArchiveHeader: Equatable {
    /// Bytes of a header, and what files are padded to.
    static let blockSize = 512
    /// Bytes of a name at most.
    static let nameLimit = 100
    /// Bytes of a file at most: what eleven octal digits can say.
    static let fileLimit = 1 << 33 - 1

    /// The file's name.
    let name: String
    /// The bytes of the file, without the padding.
    let byteCount: Int

    /// Where the fields are that a plain file has, in bytes from the start.
    private enum Field {
        static let name = 0..<100
        static let mode = 100..<108
        static let user = 108..<116
        static let group = 116..<124
        static let size = 124..<136
        static let time = 136..<148
        static let checksum = 148..<156
        static let kind = 156
        static let linkName = 157..<257
        static let magic = 257..<265
        static let prefix = 345..<500
    }

    private static let magic: [UInt8] = Array("ustar\0".utf8) + Array("00".utf8)

    /// Whether a name can stand for a file in a directory, and nowhere else.
    static func isPlain(_ name: String) -> Bool {
        let utf8 = name.utf8
        return !utf8.isEmpty && utf8.count <= nameLimit && name != "." && name != ".."
            && utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "\\") }
    }

    /// A header; name and size are checked before.
    init(name: String, byteCount: Int) {
        precondition(Self.isPlain(name) && byteCount >= 0 && byteCount <= Self.fileLimit, "no entry of an archive")
        self.name = name
        self.byteCount = byteCount
    }

    /// The header as it is stored: readable by all, of no user and no time, so that the same files give the same bytes.
    var bytes: [UInt8] {
        var block = [UInt8](repeating: 0, count: Self.blockSize)
        func put(_ text: [UInt8], _ range: Range<Int>) {
            block.replaceSubrange(range.lowerBound..<range.lowerBound + text.count, with: text)
        }
        func octal(_ value: Int, _ digits: Int) -> [UInt8] {
            let text = Array(String(value, radix: 8).utf8)
            return [UInt8](repeating: UInt8(ascii: "0"), count: digits - text.count) + text
        }
        put(Array(name.utf8), Field.name)
        put(octal(0o644, 7), Field.mode)
        put(octal(0, 7), Field.user)
        put(octal(0, 7), Field.group)
        put(octal(byteCount, 11), Field.size)
        put(octal(0, 11), Field.time)
        block[Field.kind] = UInt8(ascii: "0")
        put(Self.magic, Field.magic)
        put(octal(Self.checksum(block), 6) + [0, UInt8(ascii: " ")], Field.checksum)
        return block
    }

    /// The sum of the bytes, those of the checksum itself counted as spaces.
    private static func checksum(_ block: [UInt8]) -> Int {
        block.indices.reduce(0) { $0 + Int(Field.checksum.contains($1) ? UInt8(ascii: " ") : block[$1]) }
    }

    /// Reads a header; throws a phrase that says what is wrong with it.
    init(_ block: [UInt8]) throws(ArchiveProblem) {
        precondition(block.count == Self.blockSize, "a header is one block")
        guard block[257..<262].elementsEqual("ustar".utf8) else {
            throw ArchiveProblem(text: "is not the header of a POSIX archive")
        }
        func number(_ range: Range<Int>) -> Int? {
            var value = 0
            var digits = 0
            for byte in block[range] {
                if (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(byte) {
                    // At most twelve digits: 36 bits.
                    value = value << 3 | Int(byte - UInt8(ascii: "0"))
                    digits += 1
                } else if byte == 0 || byte == UInt8(ascii: " ") {
                    if digits > 0 { break }
                } else {
                    return nil
                }
            }
            return digits > 0 ? value : nil
        }
        guard number(Field.checksum) == Self.checksum(block) else {
            throw ArchiveProblem(text: "has a wrong checksum")
        }
        let name = String(validating: block[Field.name].prefix { $0 != 0 }, as: UTF8.self)
        guard let name, Self.isPlain(name), block[Field.prefix.lowerBound] == 0 else {
            let path = String(
                decoding: (block[Field.prefix] + [0] + block[Field.name]).filter { $0 > 0x20 }, as: UTF8.self)
            throw ArchiveProblem(text: "names '\(path)', which is not a plain file name")
        }
        guard block[Field.kind] == UInt8(ascii: "0") || block[Field.kind] == 0, block[Field.linkName.lowerBound] == 0
        else {
            throw ArchiveProblem(text: "says that '\(name)' is something else than a plain file")
        }
        guard let size = number(Field.size), size <= Self.fileLimit else {
            throw ArchiveProblem(text: "has no sound size for '\(name)'")
        }
        self.name = name
        byteCount = size
    }

    /// Bytes of the file and its padding.
    var paddedCount: Int { (byteCount + Self.blockSize - 1) / Self.blockSize * Self.blockSize }
}

/// What is wrong with an archive, as a phrase.
struct ArchiveProblem: Error {
    let text: String
}
