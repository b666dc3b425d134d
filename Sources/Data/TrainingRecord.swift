import CheckpointIO
import TensorCore
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
        /// `{"messages": [{"role", "content"}]}` or `{"conversations": [{"from", "value"}]}`, `{"prompt": [...],
        /// "completion": [...]}`, or a system text beside a prompt and a completion.
        case chat(ChatRecord)
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
    /// The pictures that it names, in their order.
    let images: [String]
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
    /// - Parameter readsImages: whether the model takes pictures, so that `image` and `images` are read.
    /// - Throws: what is missing or wrong, with file, line and field.
    init(_ value: JSONValue, at place: RecordPlace, readsImages: Bool = false) throws(DataError) {
        guard let object = value.objectValue else {
            throw .notAnObject(place, found: value.kindInWords)
        }
        let reader = FieldReader(object: object, place: place, readsImages: readsImages)
        for field in ["images", "image", "videos", "video", "audios", "audio"] where reader.means(field) {
            if !readsImages || !field.hasPrefix("image") { throw .images(place, field: field) }
        }
        images = try readsImages ? Self.images(of: reader) : []
        content = try Self.content(of: reader)
        task = try Self.task(of: reader, content: content)
        self.place = place
    }

    private static func content(of reader: FieldReader) throws(DataError) -> Content {
        for field in ["messages", "conversations"] where reader.has(field) {
            return .chat(try ChatRecord(reader, field: field))
        }
        if reader.has("prompt"), reader.has("completion"), reader.object["prompt"]?.arrayValue != nil {
            return .chat(try ChatRecord(reader, prompt: "prompt", completion: "completion"))
        }
        for field in chatFields where reader.means(field) {
            throw .unusableField(
                reader.place, field: field, problem: "means something beside 'messages' or 'conversations' alone")
        }
        if reader.has("instruction"), reader.has("output") {
            return .instruction(
                InstructionRecord(
                    instruction: try reader.string("instruction"), input: try reader.optionalString("input") ?? "",
                    output: try reader.string("output"), system: try reader.optionalString("system") ?? "",
                    history: try history(of: reader)))
        }
        if reader.means("history") {
            throw .unusableField(
                reader.place, field: "history", problem: "means something beside 'instruction' and 'output' alone")
        }
        if reader.has("prompt"), reader.has("completion") {
            let (prompt, completion) = (try reader.string("prompt"), try reader.string("completion"))
            guard reader.means("system") else { return .completion(prompt: prompt, completion: completion) }
            return .chat(
                try ChatRecord(reader, system: reader.string("system"), prompt: prompt, completion: completion))
        }
        if reader.has("text") {
            if reader.means("system") {
                throw .unusableField(
                    reader.place, field: "system", problem: "has no place beside 'text'; write it into the text")
            }
            return .text(try reader.string("text"))
        }
        for (first, second) in [("instruction", "output"), ("prompt", "completion")] {
            if reader.has(first) { throw .missingField(reader.place, field: second, presentField: first) }
            if reader.has(second) { throw .missingField(reader.place, field: first, presentField: second) }
        }
        throw .unknownForm(reader.place, fields: reader.object.keys)
    }

    /// The paths in `image` or `images`, one or a list.
    private static func images(of reader: FieldReader) throws(DataError) -> [String] {
        var paths: [String] = []
        for field in ["image", "images"] where reader.means(field) {
            guard paths.isEmpty else {
                throw .unusableField(reader.place, field: field, problem: "stands beside 'image'; keep one of them")
            }
            let value = reader.object[field] ?? .null
            for element in value.arrayValue ?? [value] {
                guard let path = element.stringValue, !path.isEmpty else {
                    throw .wrongType(
                        reader.place, field: field, expected: "a picture's path or a list of them",
                        found: element.kindInWords)
                }
                paths.append(path)
            }
        }
        return paths
    }

    /// What is heeded beside a conversation alone.
    private static let chatFields = ["tools", "functions", "function_call", "documents", "chat_template_kwargs"]

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
        guard choices.contains(where: answer.hasSameBytes(as:)) else {
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
            if choices.contains(where: choice.hasSameBytes(as:)) {
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
        case .chat(let record): record.conversation.messages.last { $0.role == "user" }?.content ?? ""
        }
    }
}
