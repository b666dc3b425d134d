import CheckpointIO

/// One text or two, and what they are to be called: a record of a task that asks for a class or a number.
package struct LabelledRecord: Sendable, Equatable {
    /// What a file says of a record.
    package enum Label: Sendable, Equatable {
        /// A word.
        case name(String)
        /// A number, as the file writes it.
        case number(String)

        /// As the file writes it.
        package var text: String {
            switch self {
            case .name(let text), .number(let text): text
            }
        }
    }

    /// The text, the first of two.
    package let first: String
    /// The second; nil for a task with one.
    package let second: String?
    /// What the file calls it; nil where it does not.
    package let label: Label?
    /// Where the record stands.
    package let place: RecordPlace
}

/// The names under which files hold texts and labels.
enum LabelledFields {
    /// Names of two texts, those of GLUE's tasks among them.
    static let pairs = [
        ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question", "sentence"), ("question1", "question2"),
        ("#1 String", "#2 String"), ("text1", "text2"), ("text", "text2"), ("text", "text_pair"),
        ("sentence", "sentence2"), ("question", "passage"),
    ]
    /// Names of one.
    static let singles = ["text", "sentence"]
    /// Names of the label.
    static let labels = ["label", "gold_label", "labels", "score", "is_duplicate", "Quality", "acceptability"]

    /// What a message says that a record or a table needs.
    static let needed = """
        'text' or 'sentence', or two texts as 'sentence1' and 'sentence2', 'premise' and 'hypothesis', 'question' and \
        'sentence', 'question1' and 'question2' or 'text' and 'text2'
        """

    /// The names of the texts among these; nil where there are none.
    static func texts(among names: some Collection<String>) -> (first: String, second: String?)? {
        if let (first, second) = pairs.first(where: { names.contains($0.0) && names.contains($0.1) }) {
            return (first, second)
        }
        return singles.first { names.contains($0) }.map { ($0, nil) }
    }

    /// The name of the label among these; nil where there is none.
    static func label(among names: some Collection<String>) -> String? { labels.first { names.contains($0) } }

    /// A cell of a table as a label: nothing, and -1 as in test sets, is none.
    static func label(_ cell: String) -> LabelledRecord.Label? {
        let text = String(cell.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        if text.isEmpty || text == "-1" { return nil }
        return Double(text).map(\.isFinite) == true ? .number(text) : .name(text)
    }
}

extension LabelledRecord {
    /// Reads a record in JSON; see `LabelledFields`. Fields of other names are not looked at.
    ///
    /// - Throws: what is missing or wrong, with file, line and field.
    init(_ value: JSONValue, at place: RecordPlace) throws(DataError) {
        guard let object = value.objectValue else { throw .notAnObject(place, found: value.kindInWords) }
        let names = object.keys.filter { object[$0].map { !$0.isNull } ?? false }
        guard let (first, second) = LabelledFields.texts(among: names) else {
            throw .noText(place, fields: names, needed: LabelledFields.needed)
        }
        let reader = FieldReader(object: object, place: place)
        self.first = try reader.string(first)
        self.second = try second.map { (name) throws(DataError) in try reader.string(name) }
        self.place = place
        guard let name = LabelledFields.label(among: names), let value = object[name] else {
            label = nil
            return
        }
        switch value {
        case .string(let text): label = text.isEmpty ? nil : .name(text)
        case .number(let text): label = text == "-1" ? nil : .number(text)
        case .bool(let truth): label = .number(truth ? "1" : "0")
        default:
            throw .wrongType(place, field: name, expected: "a string or a number", found: value.kindInWords)
        }
    }
}
