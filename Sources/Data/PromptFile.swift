import CheckpointIO
import TensorCore

/// A file of texts to continue; `-` is standard input. It may be compressed by Zstandard or gzip.
package enum PromptFile {
    /// A text to continue.
    package struct Prompt: Sendable, Equatable {
        /// The text.
        package let text: String
        /// What its record is called by, a text or a number; nil for none.
        package let id: JSONValue?

        /// A text.
        package init(_ text: String, id: JSONValue? = nil) {
            self.text = text
            self.id = id
        }
    }

    /// The whole file as one text, but for the end of its last line.
    ///
    /// - Throws: why the file cannot be read, or is no text in UTF-8.
    package static func whole(_ path: String) throws(DataError) -> Prompt {
        let name = RecordFile.displayName(path)
        var bytes = try RecordFile.read(path, name: name).withoutByteOrderMark
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        let text = try text(bytes, RecordPlace(file: name, line: 1))
        guard !text.isEmpty else { throw .noPrompt(file: name) }
        return Prompt(text)
    }

    /// A text a line, blank lines left out; or records in JSON, an array or one a line, each with a field `prompt` and
    /// maybe an `id`. A file's name says which: `.txt` is text, `.json` and `.jsonl` are records; of another, its
    /// beginning does.
    ///
    /// - Throws: the first thing that is wrong, with file and line; nothing is skipped.
    package static func lines(_ path: String) throws(DataError) -> [Prompt] {
        let name = RecordFile.displayName(path)
        let bytes = try RecordFile.read(path, name: name).withoutByteOrderMark
        guard !bytes.allSatisfy(isWhiteSpace) else { throw .noPrompt(file: name) }
        let isJSON =
            switch RecordFile.content(of: path) {
            case .json: true
            case .text: false
            case .unsaid: beginsAsRecords(bytes)
            }
        guard isJSON else { return try texts(bytes, name) }
        var prompts: [Prompt] = []
        try RecordFile.forEachRecord(in: bytes, name) { (value, place) throws(DataError) in
            prompts.append(try record(value, place))
        }
        return prompts
    }

    /// Whether bytes begin as records of prompts do, be they whole or broken; other texts in braces and brackets are
    /// texts.
    private static func beginsAsRecords(_ bytes: ArraySlice<UInt8>) -> Bool {
        var rest = bytes.drop(while: isWhiteSpace)
        let line = rest.prefix { $0 != UInt8(ascii: "\n") }
        if (try? JSONValue.parse(line))?["prompt"] != nil { return true }
        func take(_ text: String) -> Bool {
            guard rest.starts(with: text.utf8) else { return false }
            rest = rest.dropFirst(text.utf8.count).drop(while: isWhiteSpace)
            return true
        }
        _ = take("[")
        return take("{") && (take("\"prompt\"") || take("\"id\"")) && take(":")
    }

    private static func texts(_ bytes: ArraySlice<UInt8>, _ name: String) throws(DataError) -> [Prompt] {
        var rest = bytes
        var prompts: [Prompt] = []
        var line = 0
        while !rest.isEmpty {
            line += 1
            let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
            var content = rest[..<end]
            rest = rest[min(end + 1, rest.endIndex)...]
            if content.last == UInt8(ascii: "\r") { content.removeLast() }
            if content.allSatisfy(isWhiteSpace) { continue }
            prompts.append(Prompt(try text(content, RecordPlace(file: name, line: line))))
        }
        return prompts
    }

    private static func text(_ bytes: ArraySlice<UInt8>, _ place: RecordPlace) throws(DataError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw .notText(place) }
        return text
    }

    private static func record(_ value: JSONValue, _ place: RecordPlace) throws(DataError) -> Prompt {
        guard let object = value.objectValue else { throw .notAnObject(place, found: value.kindInWords) }
        let fields = FieldReader(object: object, place: place)
        for key in object.keys where key != "prompt" && key != "id" {
            throw .unusableField(
                place, field: key, problem: "is not read here; a prompt's fields are 'prompt' and 'id'")
        }
        let id = object["id"] ?? .null
        guard id.isNull || id.stringValue != nil || id.doubleValue != nil else {
            throw .wrongType(place, field: "id", expected: "a string or a number", found: id.kindInWords)
        }
        guard fields.has("prompt") else { throw .missingField(place, field: "prompt", presentField: "id") }
        return Prompt(try fields.string("prompt"), id: id.isNull ? nil : id)
    }
}
