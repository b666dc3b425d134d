import CheckpointIO

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
        var bytes = ArraySlice(try RecordFile.read(path, name: name))
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        let text = try text(bytes, RecordPlace(file: name, line: 1))
        guard !text.isEmpty else { throw .noPrompt(file: name) }
        return Prompt(text)
    }

    /// A text a line, blank lines left out; or, where the first line is a JSON object with a field `prompt`, such an
    /// object a line, which may also have an `id`.
    ///
    /// - Throws: the first thing that is wrong, with file and line; nothing is skipped.
    package static func lines(_ path: String) throws(DataError) -> [Prompt] {
        let name = RecordFile.displayName(path)
        var rest = ArraySlice(try RecordFile.read(path, name: name))
        var prompts: [Prompt] = []
        var isJSON: Bool?
        var line = 0
        while !rest.isEmpty {
            line += 1
            let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
            var content = rest[..<end]
            rest = rest[min(end + 1, rest.endIndex)...]
            if content.last == UInt8(ascii: "\r") { content.removeLast() }
            if content.allSatisfy(isWhiteSpace) { continue }
            let place = RecordPlace(file: name, line: line)
            let records = isJSON ?? ((try? JSONValue.parse(content))?["prompt"] != nil)
            isJSON = records
            prompts.append(records ? try record(content, place) : Prompt(try text(content, place)))
        }
        guard !prompts.isEmpty else { throw .noPrompt(file: name) }
        return prompts
    }

    private static func text(_ bytes: ArraySlice<UInt8>, _ place: RecordPlace) throws(DataError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else { throw .notText(place) }
        return text
    }

    private static func record(_ bytes: ArraySlice<UInt8>, _ place: RecordPlace) throws(DataError) -> Prompt {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue.parse(bytes)
        } catch {
            throw .notJSON(place, problem: error.problem, isLines: true)
        }
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
