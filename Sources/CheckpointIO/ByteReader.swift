/// Reads little-endian numbers and byte runs from a file's bytes in order, never past their end.
struct ByteReader {
    /// The file, for messages.
    let file: String
    /// What may be read: the file's bytes, or as many as a header may have.
    private let bytes: UnsafeRawBufferPointer
    /// Whether the file goes on behind `bytes`.
    private let isCut: Bool
    /// Bytes before the next read.
    private(set) var position = 0

    /// A reader at the start of a file's bytes that goes no farther than `limit` bytes.
    init(file: String, bytes: UnsafeRawBufferPointer, limit: Int = .max) {
        self.file = file
        self.bytes = UnsafeRawBufferPointer(rebasing: bytes.prefix(limit))
        isCut = bytes.count > limit
    }

    /// Bytes not read yet.
    var remaining: Int { bytes.count - position }

    /// The next number; `what` names it when the file ends too early.
    mutating func read<T: FixedWidthInteger>(_ type: T.Type, _ what: @autoclosure () -> String) throws(CheckpointError)
        -> T
    {
        let size = MemoryLayout<T>.size
        guard remaining >= size else { throw ended(what()) }
        let value = T(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: T.self))
        position += size
        return value
    }

    /// The next 64-bit count as an `Int`; refused past `limit`, which every honest file stays below.
    mutating func readCount(_ what: @autoclosure () -> String, limit: Int) throws(CheckpointError) -> Int {
        let raw = try read(UInt64.self, what())
        guard let count = Int(exactly: raw), count <= limit else {
            let room = isCut ? "the \(bytes.count) bytes that a header may have" : "the file's \(bytes.count) bytes"
            throw .malformed(file: file, problem: "\(what()) is \(raw), more than \(room) can hold")
        }
        return count
    }

    /// The place of the next `count` bytes, which are skipped.
    mutating func skip(_ count: Int, _ what: @autoclosure () -> String) throws(CheckpointError) -> Range<Int> {
        guard count >= 0, count <= remaining else { throw ended(what()) }
        defer { position += count }
        return position..<position + count
    }

    /// The place of the next string, which has a 64-bit length of at most `limit` before it and is skipped.
    mutating func skipString(
        _ what: @autoclosure () -> String, limit: Int = .max
    ) throws(CheckpointError) -> Range<Int> {
        let count = try readCount("the length of \(what())", limit: remaining)
        guard count <= limit else {
            throw .malformed(file: file, problem: "\(what()) has \(count) bytes, more than the \(limit) allowed")
        }
        return try skip(count, what())
    }

    /// Skips `count` strings, each with a 64-bit length before it: millions in a moment, as a header may claim.
    mutating func skipStrings(_ count: Int, _ what: @autoclosure () -> String) throws(CheckpointError) {
        var place = position
        var rest = count
        while rest > 0, bytes.count - place >= 8 {
            let length = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self))
            guard length <= UInt64(bytes.count - place - 8) else { break }
            place += 8 + Int(length)
            rest -= 1
        }
        position = place
        // What stopped the loop fails here, with words.
        if rest > 0 { _ = try skipString(what()) }
    }

    /// The next UTF-8 string with a 64-bit length of at most `limit` before it.
    mutating func readString(
        _ what: @autoclosure () -> String, limit: Int = .max
    ) throws(CheckpointError) -> String {
        let range = try skipString(what(), limit: limit)
        guard let text = String(validating: bytes[range], as: UTF8.self) else {
            throw .malformed(file: file, problem: "\(what()) is not valid UTF-8")
        }
        return text
    }

    /// The bytes at a place that was skipped.
    func bytes(at range: Range<Int>) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: bytes[range]) }

    private func ended(_ what: String) -> CheckpointError {
        isCut
            ? .malformed(
                file: file, problem: "its header is longer than the \(bytes.count) bytes allowed, inside \(what)")
            : .malformed(file: file, problem: "the file ends after \(bytes.count) bytes, inside \(what)")
    }
}
