import CheckpointIO
import TensorCore

/// A file of records: a JSON array or JSON lines, either also compressed by Zstandard or gzip.
enum RecordFile {
    /// What stands for standard input in place of a file's path.
    static let standardInput = "-"

    /// What a file is called in messages.
    static func displayName(_ path: String) -> String { path == standardInput ? "standard input" : path }

    /// Bytes of records that are read at most, compressed or not: more is surely not meant to be held in memory.
    private static let byteLimit = 64 << 30
    /// What a Zstandard frame starts with (RFC 8878, section 3.1.1).
    private static let zstandardMark: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD]

    /// What a file holds, as its name says.
    enum Content {
        /// Plain text, one record.
        case text
        /// Records, or prompts, in JSON.
        case json
        /// The name does not say.
        case unsaid
    }

    /// What a file holds by its name, whatever it is compressed by.
    static func content(of path: String) -> Content {
        let name = [".zst", ".gz"].first(where: path.hasSuffix).map { path.dropLast($0.count) } ?? path[...]
        let lower = name.lowercased()
        if lower.hasSuffix(".txt") { return .text }
        return [".json", ".jsonl", ".ndjson"].contains(where: lower.hasSuffix) ? .json : .unsaid
    }

    /// Whether a file is plain text, one record, by its name.
    static func isPlainText(_ path: String) -> Bool { content(of: path) == .text }

    /// Calls `body` for each record of the file in order, with the line on which it starts.
    ///
    /// The first byte that is no white space tells an array, `[`, from lines, `{`. Blank lines are skipped.
    ///
    /// - Throws: why the file cannot be read or is not JSON, and what `body` throws.
    static func forEachRecord(
        of path: String, _ body: (JSONValue, RecordPlace) throws(DataError) -> Void
    ) throws(DataError) {
        try forEachRecord(in: read(path, name: displayName(path)), of: path, body)
    }

    /// The same of a file's bytes, which are read.
    static func forEachRecord(
        in bytes: [UInt8], of path: String, _ body: (JSONValue, RecordPlace) throws(DataError) -> Void
    ) throws(DataError) {
        let name = displayName(path)
        let content = bytes.withoutByteOrderMark
        if isPlainText(path) {
            guard let text = String(validating: content, as: UTF8.self) else {
                throw .badText(file: name, problem: "is no text in UTF-8; convert it")
            }
            if text.utf8.allSatisfy(isSpace) { throw .badText(file: name, problem: "holds no text") }
            return try body(.object(["text": .string(text)]), RecordPlace(file: name, line: 1))
        }
        if let (kind, remedy) = OtherFormat.find(in: bytes, path: path) {
            throw .otherKind(file: name, kind: kind, remedy: remedy)
        }
        try forEachRecord(in: content, name, body)
    }

    /// The same of a file's bytes, which begin without a mark of byte order; `name` is what to call it in errors.
    static func forEachRecord(
        in bytes: ArraySlice<UInt8>, _ name: String, _ body: (JSONValue, RecordPlace) throws(DataError) -> Void
    ) throws(DataError) {
        guard let first = bytes.first(where: { !isSpace($0) }) else { throw .empty(file: name) }
        switch first {
        case UInt8(ascii: "["): try forEachElement(of: bytes, name, body)
        case UInt8(ascii: "{"): try forEachLine(of: bytes, name, body)
        default: throw .notRecords(file: name, firstByte: first)
        }
    }

    /// The bytes of a file, decompressed. `name` is what to call it in errors.
    static func read(_ path: String, name: String) throws(DataError) -> [UInt8] {
        do throws(CheckpointError) {
            let bytes =
                path == standardInput
                ? try readStandardInput(name: name, limit: byteLimit) : try readFileOrPipe(path, limit: byteLimit)
            if path.hasSuffix(".zst") || bytes.starts(with: zstandardMark) {
                return try Zstd.decompress(bytes, path: name, limit: byteLimit)
            }
            if path.hasSuffix(".gz") || bytes.starts(with: Gzip.mark) {
                return try Gzip.decompress(bytes, path: name, limit: byteLimit)
            }
            return bytes
        } catch {
            throw .file(error)
        }
    }

    private static func forEachElement(
        of bytes: ArraySlice<UInt8>, _ path: String, _ body: (JSONValue, RecordPlace) throws(DataError) -> Void
    ) throws(DataError) {
        let elements: [(line: Int, value: JSONValue)]
        do throws(JSONError) {
            elements = try JSONValue.parseArrayWithLines(bytes)
        } catch {
            throw .notJSON(RecordPlace(file: path, line: error.line), problem: error.problem, isLines: false)
        }
        if elements.isEmpty { throw .empty(file: path) }
        for element in elements {
            try body(element.value, RecordPlace(file: path, line: element.line))
        }
    }

    private static func forEachLine(
        of bytes: ArraySlice<UInt8>, _ path: String, _ body: (JSONValue, RecordPlace) throws(DataError) -> Void
    ) throws(DataError) {
        var rest = bytes
        var line = 0
        while !rest.isEmpty {
            line += 1
            let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
            let text = rest[..<end]
            rest = rest[min(end + 1, rest.endIndex)...]
            if text.allSatisfy(isSpace) { continue }
            let place = RecordPlace(file: path, line: line)
            let value: JSONValue
            do throws(JSONError) {
                value = try JSONValue.parse(text)
            } catch {
                throw .notJSON(place, problem: error.problem, isLines: true)
            }
            try body(value, place)
        }
    }

    /// The white space of JSON.
    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D
    }
}
