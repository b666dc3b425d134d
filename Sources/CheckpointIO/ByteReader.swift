/// Reads little-endian numbers and byte runs from a file's bytes in order, never past their end.
struct ByteReader {
    /// The file, for messages.
    let file: String
    private let bytes: UnsafeRawBufferPointer
    /// Bytes before the next read.
    private(set) var position = 0

    init(file: String, bytes: UnsafeRawBufferPointer) {
        self.file = file
        self.bytes = bytes
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
            throw .malformed(
                file: file, problem: "\(what()) is \(raw), more than the file's \(bytes.count) bytes can hold")
        }
        return count
    }

    /// The place of the next `count` bytes, which are skipped.
    mutating func skip(_ count: Int, _ what: @autoclosure () -> String) throws(CheckpointError) -> Range<Int> {
        guard count >= 0, count <= remaining else { throw ended(what()) }
        defer { position += count }
        return position..<position + count
    }

    /// The next UTF-8 string with a 64-bit length before it.
    mutating func readString(_ what: @autoclosure () -> String) throws(CheckpointError) -> String {
        let count = try readCount("the length of \(what())", limit: remaining)
        let range = try skip(count, what())
        guard let text = String(validating: bytes[range], as: UTF8.self) else {
            throw .malformed(file: file, problem: "\(what()) is not valid UTF-8")
        }
        return text
    }

    private func ended(_ what: String) -> CheckpointError {
        .malformed(file: file, problem: "the file ends after \(bytes.count) bytes, inside \(what)")
    }
}
