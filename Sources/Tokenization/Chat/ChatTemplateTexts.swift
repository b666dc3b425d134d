import CheckpointIO
import TensorCore

/// The Jinja texts of a model's chat templates, as its files hold them.
package struct ChatTemplateTexts: Sendable, Equatable {
    /// The folder of a Hugging Face directory in which named templates lie, one a file.
    package static let folder = "additional_chat_templates"
    private static let ending = ".jinja"
    /// Bytes of a file at most, and named templates.
    private static let byteLimit = 1 << 21
    private static let countLimit = 64

    /// A template that is asked for by its name.
    package struct Named: Sendable, Equatable {
        /// Its name, such as `tool_use`.
        package var name: String
        /// Its text.
        package var text: String

        /// A template with a name.
        package init(name: String, text: String) {
            self.name = name
            self.text = text
        }
    }

    /// The template that is meant where none is named.
    package var standard: String?
    /// The others, in order.
    package var named: [Named] = []

    /// No templates, or the standard one.
    package init(standard: String? = nil) {
        self.standard = standard
    }

    /// What `directory` has: `chat_template.jinja` comes before the `chat_template` of its tokenizer's `configuration`,
    /// which is a text or a list of named ones, and the files of `additional_chat_templates` before those.
    ///
    /// Throws `CheckpointError` for what cannot be read.
    init(directory: String, configuration: JSONValue?) throws {
        let value = configuration?["chat_template"]
        standard = value?.stringValue
        for entry in value?.arrayValue ?? [] {
            guard let name = entry["name"]?.stringValue, let text = entry["template"]?.stringValue else { continue }
            set(name, text)
        }
        let path = joinedPath(directory, "chat_template.jinja")
        if try checkedPathKind(path) == .regularFile { standard = try Self.text(path) }
        for file in try Self.files(in: directory) {
            set(String(lastPathComponent(file).dropLast(Self.ending.count)), try Self.text(joinedPath(directory, file)))
        }
    }

    /// What a GGUF file's metadata have.
    init(_ metadata: GGUFMetadata) {
        standard = metadata["tokenizer.chat_template"]?.stringValue
        guard let names = metadata["tokenizer.chat_templates"]?.stringArray, names.count <= Self.countLimit else {
            return
        }
        for index in names.indices {
            let name = String(decoding: names.bytes(at: index), as: UTF8.self)
            if let text = metadata["tokenizer.chat_template.\(name)"]?.stringValue { set(name, text) }
        }
    }

    /// The one template that is asked for, by its name here or as a file, for all conversations, those with functions to
    /// call too; `model` is what messages call the model.
    ///
    /// Throws `TokenizationError.noSuchTemplate` where it is neither, and `CheckpointError` for a file that cannot be read.
    func choosing(_ wanted: String, of model: String) throws -> ChatTemplateTexts {
        if wanted.hasSameBytes(as: Self.standardName), let standard { return ChatTemplateTexts(standard: standard) }
        if let own = named.first(where: { $0.name.hasSameBytes(as: wanted) }) {
            return ChatTemplateTexts(standard: own.text)
        }
        guard try checkedPathKind(wanted) == .regularFile else {
            let names = (standard == nil ? [] : [Self.standardName]) + named.map(\.name)
            throw TokenizationError.noSuchTemplate(model: model, wanted: wanted, known: names)
        }
        return ChatTemplateTexts(standard: try Self.text(wanted))
    }

    /// How the template is asked for that is meant where none is named.
    private static let standardName = "default"

    private mutating func set(_ name: String, _ text: String) {
        if name.hasSameBytes(as: Self.standardName) {
            standard = text
        } else if let place = named.firstIndex(where: { $0.name.hasSameBytes(as: name) }) {
            named[place].text = text
        } else if named.count < Self.countLimit {
            named.append(Named(name: name, text: text))
        }
    }

    /// The same with names that can be in a key of GGUF's metadata, which is ASCII, and a sentence for each that had to
    /// change.
    func forGGUF() -> (texts: ChatTemplateTexts, changes: [String]) {
        var texts = ChatTemplateTexts(standard: standard)
        var changes: [String] = []
        for template in named {
            let plain = template.name.unicodeScalars.prefix(Self.keyLimit).map { scalar in
                (0x21...0x7E).contains(scalar.value) ? Character(scalar) : "_"
            }
            var name = plain.isEmpty ? "_" : String(plain)
            while texts.named.contains(where: { $0.name.hasSameBytes(as: name) }) { name += "_" }
            texts.named.append(Named(name: name, text: template.text))
            if !name.hasSameBytes(as: template.name) {
                changes.append(
                    "the chat template '\(template.name)' is called '\(name)' there, since GGUF's keys are ASCII")
            }
        }
        return (texts, changes)
    }

    /// Characters of a name in a GGUF file at most.
    private static let keyLimit = 200

    private static func text(_ path: String) throws -> String {
        String(decoding: try readSmallFile(path, limit: byteLimit).withoutByteOrderMark, as: UTF8.self)
    }

    /// The files of named templates in a directory, by their paths in it. Throws `CheckpointError`.
    package static func files(in directory: String) throws(CheckpointError) -> [String] {
        let path = joinedPath(directory, folder)
        guard try checkedPathKind(path) == .directory else { return [] }
        var files: [String] = []
        for name in try readDirectory(path).sorted() where name.hasSuffix(ending) {
            if try checkedPathKind(joinedPath(path, name)) == .regularFile { files.append("\(folder)/\(name)") }
        }
        return files
    }

    /// The templates as `tokenizer_config.json` has them: a text, or a list where some have names.
    package var configuration: JSONValue? {
        guard !named.isEmpty else { return standard.map { .string($0) } }
        let all = (standard.map { [Named(name: Self.standardName, text: $0)] } ?? []) + named
        return .array(all.map { .object(["name": .string($0.name), "template": .string($0.text)]) })
    }
}
