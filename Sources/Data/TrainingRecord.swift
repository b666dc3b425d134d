import CheckpointIO
import Tokenization

/// One record as its file holds it, before any prompt template or tokenizer has seen it.
struct TrainingRecord: Equatable {
    /// What the record says, by form.
    enum Content: Equatable {
        /// `{"text"}`: the model is to say all of it.
        case text(String)
        /// `{"prompt", "completion"}`, taken as they are.
        case completion(prompt: String, completion: String)
        /// `{"instruction", "input"?, "output", "system"?, "history"?}`: alpaca's form.
        case instruction(InstructionRecord)
        /// `{"messages": [{"role", "content"}]}` or `{"conversations": [{"from", "value"}]}`.
        case chat([ChatMessage], field: String)
    }

    /// The question that the record's answer can be scored by.
    struct Task: Equatable {
        /// The right answer.
        let answer: String
        /// The possible answers, the right one among them; nil where the record has none.
        let choices: [String]?
    }

    /// What the record says.
    let content: Content
    /// The answer to be scored, where the record has one.
    let task: Task?
    /// Where the record stands.
    let place: RecordPlace
}

/// The fields of an alpaca record.
struct InstructionRecord: Equatable {
    /// What is to be done.
    let instruction: String
    /// What it is to be done to; empty where there is nothing.
    let input: String
    /// What the model is to say.
    let output: String
    /// What stands in place of the template's first sentence; empty for the template's own.
    let system: String
    /// Earlier turns: an instruction and its output each.
    let history: [(instruction: String, output: String)]

    static func == (left: InstructionRecord, right: InstructionRecord) -> Bool {
        left.instruction == right.instruction && left.input == right.input && left.output == right.output
            && left.system == right.system && left.history.elementsEqual(right.history, by: ==)
    }
}

extension TrainingRecord {
    /// Reads one record.
    ///
    /// A file may mix forms. Fields of several forms in one record (many data sets carry a ready `text` or `prompt`
    /// beside the parts it was made of): the first of messages, conversations, instruction and output, prompt and
    /// completion, text that is there wholly counts. Fields of no form, such as an `id`, are not looked at.
    ///
    /// - Throws: what is missing or wrong, with file, line and field.
    init(_ value: JSONValue, at place: RecordPlace) throws(DataError) {
        guard let object = value.objectValue else {
            throw .notAnObject(place, found: value.kindInWords)
        }
        let reader = FieldReader(object: object, place: place)
        for field in ["images", "image"] {
            guard let value = object[field], !value.isNull, value != .array([]), value != .string("") else { continue }
            throw .images(place, field: field)
        }
        content = try Self.content(of: reader)
        task = try Self.task(of: reader, content: content)
        self.place = place
    }

    private static func content(of reader: FieldReader) throws(DataError) -> Content {
        if reader.has("messages") { return try chat(of: reader, field: "messages", "role", "content") }
        if reader.has("conversations") { return try chat(of: reader, field: "conversations", "from", "value") }
        if reader.has("instruction"), reader.has("output") {
            return .instruction(
                InstructionRecord(
                    instruction: try reader.string("instruction"), input: try reader.optionalString("input") ?? "",
                    output: try reader.string("output"), system: try reader.optionalString("system") ?? "",
                    history: try history(of: reader)))
        }
        if reader.has("prompt"), reader.has("completion") {
            return .completion(prompt: try reader.string("prompt"), completion: try reader.string("completion"))
        }
        if reader.has("text") { return .text(try reader.string("text")) }
        for (first, second) in [("instruction", "output"), ("prompt", "completion")] {
            if reader.has(first) { throw .missingField(reader.place, field: second, presentField: first) }
            if reader.has(second) { throw .missingField(reader.place, field: first, presentField: second) }
        }
        throw .unknownForm(reader.place, fields: reader.object.keys)
    }

    private static func history(of reader: FieldReader) throws(DataError) -> [(instruction: String, output: String)] {
        guard let value = reader.object["history"], !value.isNull else { return [] }
        let expected = "a list of pairs [instruction, output] of strings"
        guard let turns = value.arrayValue else {
            throw .wrongType(reader.place, field: "history", expected: expected, found: value.kindInWords)
        }
        var history: [(instruction: String, output: String)] = []
        for (index, turn) in turns.enumerated() {
            guard let pair = turn.arrayValue, pair.count == 2, let instruction = pair[0].stringValue,
                let output = pair[1].stringValue
            else {
                throw .wrongType(
                    reader.place, field: "history[\(index)]", expected: "a pair [instruction, output] of strings",
                    found: turn.arrayValue.map { "a list of \($0.count)" } ?? turn.kindInWords)
            }
            history.append((instruction, output))
        }
        return history
    }

    private static func chat(
        of reader: FieldReader, field: String, _ speakerField: String, _ textField: String
    ) throws(DataError) -> Content {
        let value = reader.object[field]!
        guard let turns = value.arrayValue else {
            throw .wrongType(reader.place, field: field, expected: "a list of messages", found: value.kindInWords)
        }
        guard !turns.isEmpty else {
            throw .wrongType(reader.place, field: field, expected: "at least one message", found: "an empty list")
        }
        var messages: [ChatMessage] = []
        for (index, turn) in turns.enumerated() {
            let name = "\(field)[\(index)]"
            guard let object = turn.objectValue else {
                throw .wrongType(reader.place, field: name, expected: "an object", found: turn.kindInWords)
            }
            let message = FieldReader(object: object, place: reader.place, prefix: name + ".")
            let speaker = try message.requiredString(speakerField, of: name)
            guard let role = roles[speaker] else {
                throw .unknownRole(reader.place, field: "\(name).\(speakerField)", role: speaker)
            }
            messages.append(ChatMessage(role: role, content: try message.requiredString(textField, of: name)))
        }
        return .chat(messages, field: field)
    }

    /// The roles of chat templates by the names that data sets give them.
    private static let roles = [
        "system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant",
    ]

    private static func task(of reader: FieldReader, content: Content) throws(DataError) -> Task? {
        guard let value = reader.object["answer"], !value.isNull else { return nil }
        guard let answer = answerText(value) else {
            throw .wrongType(
                reader.place, field: "answer", expected: "a string, a number or true or false",
                found: value.kindInWords)
        }
        guard let choices = try choices(of: reader) ?? TaskChoices.list(in: content.question) else {
            return Task(answer: answer, choices: nil)
        }
        guard choices.contains(answer) else {
            throw .answerNotAmongChoices(reader.place, answer: answer, choices: choices)
        }
        return Task(answer: answer, choices: choices)
    }

    private static func choices(of reader: FieldReader) throws(DataError) -> [String]? {
        guard let value = reader.object["choices"], !value.isNull else { return nil }
        guard let elements = value.arrayValue else {
            throw .wrongType(
                reader.place, field: "choices", expected: "a list of the possible answers", found: value.kindInWords)
        }
        var choices: [String] = []
        for (index, element) in elements.enumerated() {
            guard let choice = answerText(element) else {
                throw .wrongType(
                    reader.place, field: "choices[\(index)]", expected: "a string, a number or true or false",
                    found: element.kindInWords)
            }
            if choices.contains(choice) {
                throw .badChoices(reader.place, field: "choices", problem: "has '\(choice)' twice")
            }
            choices.append(choice)
        }
        guard choices.count >= 2 else {
            let problem = choices.isEmpty ? "is empty" : "has one entry"
            throw .badChoices(reader.place, field: "choices", problem: problem)
        }
        return choices
    }

    /// An answer as text: BoolQ's answers are often written as `true`, not `"true"`, and sums as numbers.
    private static func answerText(_ value: JSONValue) -> String? {
        switch value {
        case .string(let text), .number(let text): text
        case .bool(let truth): truth ? "true" : "false"
        default: nil
        }
    }
}

extension TrainingRecord.Content {
    /// The part that the possible answers may be listed in.
    fileprivate var question: String {
        switch self {
        case .text: ""
        case .completion(let prompt, _): prompt
        case .instruction(let record): record.instruction
        case .chat(let messages, _): messages.last { $0.role == "user" }?.content ?? ""
        }
    }
}

/// Reads fields of one object; errors name them with `prefix` before them.
private struct FieldReader {
    let object: JSONObject
    let place: RecordPlace
    var prefix = ""

    func has(_ field: String) -> Bool { object[field] != nil }

    /// A field that is there.
    func string(_ field: String) throws(DataError) -> String {
        let value = object[field] ?? .null
        guard let text = value.stringValue else {
            throw .wrongType(place, field: prefix + field, expected: "a string", found: value.kindInWords)
        }
        return text
    }

    /// A field that may be absent or null.
    func optionalString(_ field: String) throws(DataError) -> String? {
        guard let value = object[field], !value.isNull else { return nil }
        return try string(field)
    }

    /// A field that must be there because `owner` is.
    func requiredString(_ field: String, of owner: String) throws(DataError) -> String {
        guard has(field) else { throw .missingField(place, field: prefix + field, presentField: owner) }
        return try string(field)
    }
}
