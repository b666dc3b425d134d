import CheckpointIO
import Images
import TensorCore
import Tokenization

/// Where a record stands, for messages.
package struct RecordPlace: Sendable, Equatable, CustomStringConvertible {
    /// The file as the caller named it.
    package let file: String
    /// The line on which the record starts, from 1.
    package let line: Int

    /// A record's place.
    package init(file: String, line: Int) {
        self.file = file
        self.line = line
    }

    package var description: String { "\(file), line \(line)" }
}

/// Why training or evaluation records cannot be used.
package enum DataError: WordedError, Equatable {
    /// The file cannot be read or decompressed.
    case file(CheckpointError)
    /// The file holds no record.
    case empty(file: String)
    /// The file should be plain text, and cannot be used as such.
    case badText(file: String, problem: String)
    /// The file is of a kind that is not read; `remedy` says what to make of it.
    case otherKind(file: String, kind: String, remedy: String)
    /// The same file twice, of which the second time nothing would be left to read.
    case twice(file: String)
    /// The file starts with a byte that begins neither a JSON array nor an object.
    case notRecords(file: String, firstByte: UInt8)
    /// The text is not JSON.
    case notJSON(RecordPlace, problem: String, isLines: Bool)
    /// A record is not a JSON object.
    case notAnObject(RecordPlace, found: String)
    /// A record has the fields of no known form.
    case unknownForm(RecordPlace, fields: [String])
    /// A record of a known form lacks a field.
    case missingField(RecordPlace, field: String, presentField: String)
    /// A field holds something else than it should.
    case wrongType(RecordPlace, field: String, expected: String, found: String)
    /// A field that would change what is written or scored and cannot be heeded as it stands.
    case unusableField(RecordPlace, field: String, problem: String)
    /// A chat record's speaker is none that its form knows; `known` says which are.
    case unknownRole(RecordPlace, field: String, role: String, known: String)
    /// A chat record for a model without a chat template that can be used; `problem` says why not, where it has one.
    case noChatTemplate(RecordPlace, field: String, problem: String?)
    /// A conversation that the model's chat template refuses.
    case chat(RecordPlace, field: String, TokenizationError)
    /// A record with images for a model that reads text alone.
    case images(RecordPlace, field: String)
    /// A picture of a record cannot be used.
    case image(RecordPlace, ImageError)
    /// A record names more or fewer pictures than its text has places for.
    case otherImageCount(RecordPlace, images: Int, marks: Int)
    /// Truncation to `maxLength` would cut a picture's tokens.
    case imagesTooLong(RecordPlace, length: Int, maxLength: Int)
    /// The tokenizer names no end-of-text token, but completions should end with one.
    case noEndToken(file: String)
    /// A record has an `answer`, but not the possible answers to choose among.
    case noChoices(RecordPlace)
    /// The possible answers are fewer than two, or one stands twice.
    case badChoices(RecordPlace, field: String, problem: String)
    /// The answer is none of the possible ones.
    case answerNotAmongChoices(RecordPlace, answer: String, choices: [String])
    /// The answer, with the beginning-of-text token before it, is longer than the longest example may be; lengths in tokens.
    case answerTooLong(RecordPlace, length: Int, maxLength: Int)
    /// A record has more tokens than the model has positions.
    case sequenceTooLong(RecordPlace, length: Int, limit: Int)
    /// A record has a token that the model's embedding has no row for.
    /// `problem` as `Tokenizer.strangeToken` words it.
    case tokenBeyondVocabulary(RecordPlace, problem: String)
    /// The file holds no text to continue.
    case noPrompt(file: String)
    /// What is to be a text is none in UTF-8.
    case notText(RecordPlace)
    /// No token of a record is to be predicted from one before it.
    case nothingToScore(RecordPlace)
    /// A labelled record has none of the fields that hold its text.
    case noText(RecordPlace, fields: [String], needed: String)
    /// A table's first line does not name its columns.
    case noColumns(RecordPlace, found: [String], needed: String)
    /// A file of labelled records is neither JSON nor a table.
    case noTable(file: String)
    /// A row of a table that cannot be taken apart.
    case brokenRow(RecordPlace, problem: String)
    /// A record without a label where one is needed.
    case noLabel(RecordPlace)
    /// A label that is none of the classes.
    case unknownLabel(RecordPlace, label: String, known: [String])
    /// A label that should be a number.
    case labelNoNumber(RecordPlace, label: String)
    /// A record without any token.
    case noTokens(RecordPlace)
    /// The longest example has no room for a text beside the tokens that the tokenizer adds.
    case noRoom(RecordPlace, maxLength: Int, added: Int)
    /// All records have the same label, or none of the classes was found.
    case fewLabels(file: String, only: String?)
    /// More different labels than classes are found in data.
    case manyLabels(file: String, count: Int)

    package var exitStatus: ExitStatus {
        switch self {
        case .file(let cause): cause.exitStatus
        case .images: .unsupported
        case .image(_, let cause): cause.exitStatus
        default: .badData
        }
    }

    package var wording: Wording {
        switch self {
        case .file(let cause):
            cause.wording
        case .empty(let file):
            "\(file): no record in it; a JSON array or one JSON object a line is needed"
        case .badText(let file, let problem):
            "\(file): \(problem)"
        case .otherKind(let file, let kind, let remedy):
            "\(file): is \(kind), not JSON; \(remedy)"
        case .twice(let file):
            "\(file) can be read once only"
        case .notRecords(let file, let firstByte):
            """
            \(file): starts with \(Self.words(for: firstByte)); records are a JSON array, which starts with '[', or one \
            JSON object a line, each of which starts with '{'
            """
        case .notJSON(let place, let problem, let isLines):
            "\(place): not valid JSON: \(problem)"
                + (isLines ? " (the file starts with '{', so each line must be one whole object)" : "")
        case .notAnObject(let place, let found):
            "\(place): the record is \(found); a JSON object is needed"
        case .unknownForm(let place, let fields):
            """
            \(place): the record has \(fields.isEmpty ? "no field" : "the fields \(Self.list(fields))"); needed are \
            'text', or 'prompt' and 'completion', or 'instruction' and 'output', or 'messages', or 'conversations'
            """
        case .missingField(let place, let field, let presentField):
            "\(place): the field '\(field)' is missing; a record with '\(presentField)' needs it"
        case .wrongType(let place, let field, let expected, let found):
            "\(place): the field '\(field)' is \(found); \(expected) is needed"
        case .unusableField(let place, let field, let problem):
            "\(place): the field '\(field)' \(problem)"
        case .unknownRole(let place, let field, let role, let known):
            "\(place): the field '\(field)' is '\(role)'; \(known)"
        case .noChatTemplate(let place, let field, let problem):
            """
            \(place): the record has '\(field)', but \(problem ?? "the model brings no chat template"); use \
            prompt/completion or instruction/output records
            """
        case .chat(let place, let field, let cause):
            "\(place): the field '\(field)': \(cause)"
        case .images(let place, let field):
            "\(place): the record has '\(field)', and this model reads text alone"
        case .image(let place, let cause):
            "\(place): the picture \(cause)"
        case .otherImageCount(let place, let images, let marks):
            """
            \(place): the record names \(images) \(images == 1 ? "picture" : "pictures"), but its text has \
            \(marks == 0 ? "no" : "\(marks)") '\(ImageOptions.mark)'; each picture needs one, in the order of 'image'
            """
        case .imagesTooLong(let place, let length, let maxLength):
            """
            \(place): the record has \(length) tokens with its pictures', which are never cut, but \(.maxLength) is \
            \(maxLength); raise it or take the record out
            """
        case .noEndToken(let file):
            """
            \(file): the tokenizer names no end-of-text token to follow what the model is to say; add eos_token to its \
            configuration
            """
        case .noChoices(let place):
            """
            \(place): the record has 'answer', but neither the field 'choices' nor 2 to 5 entries, split at '/', after \
            'Answer format:' in its prompt
            """
        case .badChoices(let place, let field, let problem):
            "\(place): the field '\(field)' \(problem); two or more different answers are needed"
        case .answerNotAmongChoices(let place, let answer, let choices):
            "\(place): the field 'answer' is '\(answer)', which is none of the choices \(Self.list(choices))"
        case .answerTooLong(let place, let length, let maxLength):
            """
            \(place): the answer needs \(length) tokens and is never cut, but \(.maxLength) is \(maxLength); \
            raise it or take the record out
            """
        case .sequenceTooLong(let place, let length, let limit):
            "\(place): the record has \(length) tokens; the model allows \(limit); pass \(.maxLength, limit) or less"
        case .tokenBeyondVocabulary(let place, let problem):
            """
            \(place): the record \(problem); resize the embedding, or take the token out of the record or the tokenizer
            """
        case .noPrompt(let file):
            "\(file): no prompt in it"
        case .notText(let place):
            "\(place): is no text in UTF-8"
        case .noText(let place, let fields, let needed):
            "\(place): the record has \(fields.isEmpty ? "no field" : "the fields \(Self.list(fields))"); needed are \(needed)"
        case .noColumns(let place, let found, let needed):
            """
            \(place): the columns \(Self.list(found.map(Self.shortened))) hold no text by their names; name them by \
            \(.columns, "label,text") where the first line does not, with \(needed)
            """
        case .noTable(let file):
            "\(file): is neither JSON nor a table; its lines have no tab and no comma"
        case .brokenRow(let place, let problem):
            "\(place): the row \(problem)"
        case .noLabel(let place):
            "\(place): the record has no label; take data that has one, under 'label'"
        case .unknownLabel(let place, let label, let known):
            "\(place): the label '\(label)' is none of \(Self.list(known)); give the classes by \(.labels)"
        case .labelNoNumber(let place, let label):
            "\(place): the label '\(label)' is no number, which the task asks for"
        case .noTokens(let place):
            "\(place): the record has no text, and the tokenizer adds no token; take it out"
        case .noRoom(let place, let maxLength, let added):
            "\(place): \(.maxLength) is \(maxLength), and the tokenizer adds \(added) tokens; raise it"
        case .fewLabels(let file, let only):
            "\(file): \(only.map { "every record has the label '\($0)'" } ?? "no record has a label"); two classes are needed"
        case .manyLabels(let file, let count):
            "\(file): has more than \(count) different labels; for numbers to be predicted name the task of regression"
        case .nothingToScore(let place):
            "\(place): the record leaves no token to score; what the model is to say is empty or has nothing before it"
        }
    }

    private static func list(_ names: [String]) -> String {
        names.map { "'\($0)'" }.joined(separator: ", ")
    }

    /// A cell as far as a message has room for it.
    private static func shortened(_ cell: String) -> String { cell.count <= 40 ? cell : "\(cell.prefix(37))..." }

    private static func words(for byte: UInt8) -> String {
        (0x21...0x7E).contains(byte) ? "'\(Character(Unicode.Scalar(byte)))'" : "the byte \(byte)"
    }
}

extension JSONValue {
    /// What kind of value this is, for messages.
    var kindInWords: String {
        switch self {
        case .null: "null"
        case .bool: "true or false"
        case .number: "a number"
        case .string: "a string"
        case .array: "a list"
        case .object: "an object"
        }
    }
}
