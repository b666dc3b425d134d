import CheckpointIO
import TensorCore
import Tokenization

/// A conversation as its record holds it.
struct ChatRecord: Equatable {
    /// The turns, what they are written with, and which of the assistant's are not scored.
    var conversation: ChatConversation
    /// The field that holds it, for messages.
    let field: String
    /// What each turn is called, such as `messages[2]`.
    var names: [String]

    /// Fields beside a conversation that this program knows the meaning of and cannot heed.
    private static let refused = ["functions", "function_call", "history"]

    /// Reads the conversation in the list `field`, and what stands beside it.
    init(_ reader: FieldReader, field: String) throws(DataError) {
        var turns = try Self.turns(of: reader, field: field)
        try self.init(reader, field: field, turns: &turns)
    }

    /// Reads TRL's form of a prompt and what follows it, both lists of messages: what is to be said is in the second
    /// alone.
    init(_ reader: FieldReader, prompt: String, completion: String) throws(DataError) {
        var turns = try Self.turns(of: reader, field: prompt)
        for index in turns.indices { turns[index].isScored = false }
        turns += try Self.turns(of: reader, field: completion)
        try self.init(reader, field: prompt, turns: &turns)
    }

    /// A system text, a prompt and a completion as a conversation of three turns: a system text means something in the
    /// form of a conversation alone.
    init(_ reader: FieldReader, system: String, prompt: String, completion: String) throws(DataError) {
        var turns = [
            Turn(message: ChatMessage(role: "user", content: prompt), name: "prompt"),
            Turn(message: ChatMessage(role: "assistant", content: completion), name: "completion"),
        ]
        try self.init(reader, field: "system", turns: &turns)
    }

    /// A turn while it is read.
    private struct Turn {
        var message: ChatMessage
        let name: String
        var isScored = true
    }

    private init(_ reader: FieldReader, field: String, turns: inout [Turn]) throws(DataError) {
        for name in Self.refused where reader.means(name) {
            throw .unusableField(reader.place, field: name, problem: "cannot be heeded beside '\(field)'")
        }
        if let system = try reader.optionalString("system"), !system.isEmpty {
            if let first = turns.first, first.message.role == "system" {
                guard first.message.content.hasSameBytes(as: system) else {
                    throw .unusableField(
                        reader.place, field: "system",
                        problem: "and '\(first.name)' both are system messages; keep one of them")
                }
            } else {
                turns.insert(Turn(message: ChatMessage(role: "system", content: system), name: "system"), at: 0)
            }
        }
        var settings = ChatSettings()
        if let tools = try Self.list(of: reader, "tools", "a list of tools, or one as JSON text") {
            settings.tools = tools
        }
        if let documents = try Self.list(of: reader, "documents", "a list of documents") {
            settings.documents = documents
        }
        if reader.means("chat_template_kwargs"), let value = reader.object["chat_template_kwargs"] {
            guard let variables = value.objectValue else {
                throw .wrongType(
                    reader.place, field: "chat_template_kwargs", expected: "an object", found: value.kindInWords)
            }
            settings.variables = variables
        }
        conversation = ChatConversation(
            turns.map(\.message), settings,
            unscored: Set(turns.indices.filter { turns[$0].message.role == "assistant" && !turns[$0].isScored }))
        self.field = field
        names = turns.map(\.name)
    }

    /// A list that may be absent, null or empty, or stand in JSON text; nil for none.
    private static func list(
        of reader: FieldReader, _ field: String, _ expected: String
    ) throws(DataError) -> JSONValue? {
        guard reader.means(field), let value = reader.object[field] else { return nil }
        let parsed = value.stringValue.map { text in (try? JSONValue.parse(text)) ?? value } ?? value
        guard let elements = parsed.arrayValue else {
            throw .wrongType(reader.place, field: field, expected: expected, found: value.kindInWords)
        }
        return elements.isEmpty ? nil : parsed
    }

    private static func turns(of reader: FieldReader, field: String) throws(DataError) -> [Turn] {
        let value = reader.object[field]!
        guard let entries = value.arrayValue else {
            throw .wrongType(reader.place, field: field, expected: "a list of messages", found: value.kindInWords)
        }
        guard !entries.isEmpty else {
            throw .wrongType(reader.place, field: field, expected: "at least one message", found: "an empty list")
        }
        var turns: [Turn] = []
        for (index, entry) in entries.enumerated() {
            let name = "\(field)[\(index)]"
            guard let object = entry.objectValue else {
                throw .wrongType(reader.place, field: name, expected: "an object", found: entry.kindInWords)
            }
            let isShareGPT = object["from"] != nil || field == "conversations" && object["role"] == nil
            turns.append(
                try turn(
                    FieldReader(
                        object: object, place: reader.place, prefix: name + ".", readsImages: reader.readsImages),
                    isShareGPT ? .shareGPT : .openAI, name: name))
        }
        return turns
    }
}

// MARK: - One turn

extension ChatRecord {
    /// How the speakers and words of a turn are called.
    private enum Form {
        case openAI
        case shareGPT

        var speaker: String { self == .openAI ? "role" : "from" }
        var words: String { self == .openAI ? "content" : "value" }

        /// The roles of chat templates by the names that this form gives them.
        var roles: [String: String] {
            var roles = ["system": "system", "user": "user", "assistant": "assistant", "tool": "tool"]
            switch self {
            case .openAI: roles["developer"] = "developer"
            case .shareGPT: (roles["human"], roles["gpt"], roles["observation"]) = ("user", "assistant", "tool")
            }
            return roles
        }

        var rolesInWords: String {
            switch self {
            case .openAI: "system, developer, user, assistant and tool are known"
            case .shareGPT: "system, user, assistant and tool (human, gpt and observation) are known"
            }
        }
    }

    /// What a turn may have that is no text, by its field or a part's type.
    private static let media = [
        "image", "images", "image_url", "input_image", "audio", "audios", "input_audio", "video", "videos",
    ]
    /// Fields of a turn that do not reach the template as they stand.
    private static let own = ["role", "content", "tool_calls", "weight", "train", "loss"]
    /// Fields of a turn that this program knows the meaning of and cannot heed.
    private static let refusedOfTurns = ["function_call", "refusal"]

    private static func turn(_ reader: FieldReader, _ form: Form, name: String) throws(DataError) -> Turn {
        let speaker = try reader.requiredString(form.speaker, of: name)
        guard let role = form.roles[speaker] else {
            throw .unknownRole(
                reader.place, field: reader.prefix + form.speaker, role: speaker, known: form.rolesInWords)
        }
        for field in media where reader.means(field) { throw .images(reader.place, field: reader.prefix + field) }
        for field in refusedOfTurns where reader.means(field) {
            throw .unusableField(reader.place, field: reader.prefix + field, problem: "cannot be heeded")
        }
        var turn = Turn(message: ChatMessage(role: role, content: ""), name: name)
        turn.isScored = try isScored(reader, role: role)
        let calls = try toolCalls(reader, role: role)
        for (key, value) in reader.object.members
        where !value.isNull && !own.contains(key) && key != form.speaker && key != form.words {
            turn.message.members[key] = value
        }
        turn.message.members["tool_calls"] = calls
        try readReasoning(reader, into: &turn.message)
        try readWords(reader, form, name: name, into: &turn.message)
        return turn
    }

    private static func readWords(
        _ reader: FieldReader, _ form: Form, name: String, into message: inout ChatMessage
    ) throws(DataError) {
        let value = reader.object[form.words]
        if let parts = value?.arrayValue {
            for (index, part) in parts.enumerated() {
                message.content += try text(of: part, reader, "\(reader.prefix)\(form.words)[\(index)]")
            }
            message.members["content"] = value
        } else if value?.isNull ?? true, message.members["tool_calls"] != nil {
            message.members["content"] = .null
        } else {
            message.content = try reader.requiredString(form.words, of: name)
        }
    }

    /// The text of a part of a turn.
    private static func text(
        of part: JSONValue, _ reader: FieldReader, _ field: String
    ) throws(DataError) -> String {
        guard let object = part.objectValue else {
            throw .wrongType(
                reader.place, field: field, expected: "an object with 'type' and 'text'", found: part.kindInWords)
        }
        let type = object["type"]?.stringValue ?? "text"
        if reader.readsImages, type == "image" { return try mark(of: object, reader, field) }
        if media.contains(type) { throw .images(reader.place, field: field) }
        guard ["text", "input_text", "output_text"].contains(type) else {
            throw .unusableField(
                reader.place, field: field, problem: "is a part of the type '\(type)'; parts of text are known")
        }
        let fields = FieldReader(object: object, place: reader.place, prefix: field + ".")
        return try fields.requiredString("text", of: field)
    }

    /// What stands for a part that is one of the record's pictures.
    private static func mark(of part: JSONObject, _ reader: FieldReader, _ field: String) throws(DataError) -> String {
        for (key, value) in part.members where key != "type" && !value.isNull {
            throw .unusableField(
                reader.place, field: "\(field).\(key)",
                problem: "is not read; the record's 'image' or 'images' names its pictures, in the order of such parts")
        }
        return ImageOptions.mark
    }

    /// The functions that a turn calls; nil for none.
    private static func toolCalls(_ reader: FieldReader, role: String) throws(DataError) -> JSONValue? {
        guard reader.means("tool_calls"), let value = reader.object["tool_calls"] else { return nil }
        let field = reader.prefix + "tool_calls"
        guard role == "assistant" else {
            throw .unusableField(reader.place, field: field, problem: "stands in a turn of another than the assistant")
        }
        guard let calls = value.arrayValue, calls.allSatisfy({ $0.objectValue != nil }) else {
            throw .wrongType(reader.place, field: field, expected: "a list of objects", found: value.kindInWords)
        }
        return value
    }

    /// Whether a turn is scored: `weight` is 0 or 1 (OpenAI), `train` (axolotl) and `loss` (ms-swift) are true or false.
    private static func isScored(_ reader: FieldReader, role: String) throws(DataError) -> Bool {
        var isScored: Bool?
        for name in ["weight", "train", "loss"] {
            guard let value = reader.object[name], !value.isNull else { continue }
            guard let counts = value.boolValue ?? [0: false, 1: true][value.doubleValue ?? -1] else {
                throw .wrongType(
                    reader.place, field: reader.prefix + name,
                    expected: name == "weight" ? "0 or 1" : "true or false",
                    found: value.doubleValue.map { "\($0)" } ?? value.kindInWords)
            }
            guard isScored ?? counts == counts else {
                throw .unusableField(
                    reader.place, field: reader.prefix + name, problem: "contradicts another field of the turn")
            }
            isScored = counts
            if counts, role != "assistant", name != "weight" {
                throw .unusableField(
                    reader.place, field: reader.prefix + name,
                    problem: "asks for a turn of the \(role)'s to be scored; only the assistant's are")
            }
        }
        return isScored ?? true
    }

    /// The names under which data sets have what the assistant thought before it answered.
    static let reasoningFields = ["reasoning_content", "thinking", "reasoning"]

    /// Keeps one of the spellings, as text.
    private static func readReasoning(_ reader: FieldReader, into message: inout ChatMessage) throws(DataError) {
        var kept: String?
        for name in reasoningFields {
            message.members[name] = nil
            guard let text = try reader.optionalString(name), !text.isEmpty else { continue }
            guard (kept ?? text).hasSameBytes(as: text) else {
                throw .unusableField(
                    reader.place, field: reader.prefix + name, problem: "contradicts another field of the turn")
            }
            if kept == nil { message.members[name] = .string(text) }
            kept = text
        }
    }
}
