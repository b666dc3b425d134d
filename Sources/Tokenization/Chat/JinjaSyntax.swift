/// An expression of a Jinja template.
indirect enum JinjaExpression: Sendable {
    case literal(JinjaValue)
    case name(String)
    case list([JinjaExpression])
    case dictionary([(key: JinjaExpression, value: JinjaExpression)])
    case attribute(JinjaExpression, String)
    case element(JinjaExpression, JinjaExpression)
    case slice(JinjaExpression, start: JinjaExpression?, stop: JinjaExpression?, step: JinjaExpression?)
    case call(JinjaExpression, JinjaArguments)
    case filter(JinjaExpression, String, JinjaArguments)
    case test(JinjaExpression, String, JinjaArguments)
    case not(JinjaExpression)
    case negative(JinjaExpression)
    /// `+ - * // % ~ and or`
    case binary(String, JinjaExpression, JinjaExpression)
    /// A chain of comparisons, each with the operand after it.
    case comparison(JinjaExpression, [(operation: String, right: JinjaExpression)])
    case conditional(JinjaExpression, condition: JinjaExpression, otherwise: JinjaExpression?)
}

/// What is handed to a function, a filter or a test.
struct JinjaArguments: Sendable {
    var positional: [JinjaExpression] = []
    var named: [(name: String, value: JinjaExpression)] = []
}

/// A statement of a Jinja template.
indirect enum JinjaStatement: Sendable {
    case text(String)
    case output(JinjaExpression)
    case condition([(condition: JinjaExpression, body: [JinjaStatement])], otherwise: [JinjaStatement])
    case loop(
        names: [String], over: JinjaExpression, filter: JinjaExpression?, body: [JinjaStatement],
        otherwise: [JinjaStatement])
    case set(String, JinjaExpression)
    case setBlock(String, [JinjaStatement])
    /// Sets a member of a namespace.
    case setMember(String, String, JinjaExpression)
    case macro(JinjaMacro)
    /// What stands between `{% generation %}` and its end: what the model is to say.
    case generation([JinjaStatement])
    case leaveLoop
    case nextTurn
}

/// A function that a template defines.
struct JinjaMacro: Sendable {
    var name: String
    var parameters: [(name: String, standard: JinjaExpression?)]
    var body: [JinjaStatement]
}

/// A value while a template runs.
indirect enum JinjaValue: Sendable {
    /// What a name that nothing has set stands for.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case text(JinjaText)
    case list([JinjaValue])
    case dictionary([(key: String, value: JinjaValue)])
    /// Members that may be set from inner scopes, by number.
    case namespace(Int)
    case macro(JinjaMacro)
    /// A function that the interpreter has.
    case function(String)

    /// A text that nobody said.
    static func plain(_ text: String) -> JinjaValue { .text(JinjaText(text)) }

    /// Whether the value counts as true.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .text(let text): !text.isEmpty
        case .list(let values): !values.isEmpty
        case .dictionary(let members): !members.isEmpty
        case .namespace, .macro, .function: true
        }
    }

    /// Whether two values are equal as Python has it; marks in texts do not count.
    func equals(_ other: JinjaValue) -> Bool {
        switch (self, other) {
        case (.undefined, .undefined), (.none, .none): true
        case (.bool(let left), .bool(let right)): left == right
        case (.integer(let left), .integer(let right)): left == right
        case (.bool(let flag), .integer(let number)), (.integer(let number), .bool(let flag)): number == (flag ? 1 : 0)
        case (.text(let left), .text(let right)): left.string.utf8.elementsEqual(right.string.utf8)
        case (.list(let left), .list(let right)):
            left.count == right.count && zip(left, right).allSatisfy { $0.equals($1) }
        case (.dictionary(let left), .dictionary(let right)):
            left.count == right.count
                && left.allSatisfy { entry in
                    right.contains { $0.key == entry.key && $0.value.equals(entry.value) }
                }
        default: false
        }
    }
}

extension JinjaValue {
    /// About how many bytes a copy of the value has, what is shared with others left out.
    var size: Int {
        switch self {
        case .text(let text): text.byteCount + text.pieces.count * 32
        case .list(let values): values.count * 64
        case .dictionary(let members): members.count * 64
        default: 1
        }
    }
}

/// A text of which stretches are marked as what the assistant says; the marks survive joining and trimming, and so show
/// in the finished conversation where its words have ended up.
struct JinjaText: Sendable {
    /// The stretches; `mark` is the number of the message whose words they are, nil for what the assistant did not say.
    private(set) var pieces: [(text: String, mark: Int?)] = []

    /// A text with one mark; an empty marked text is kept, as its place matters.
    init(_ text: String, mark: Int? = nil) {
        if mark != nil || !text.isEmpty { pieces = [(text, mark)] }
    }

    var string: String { pieces.map(\.text).joined() }
    var isEmpty: Bool { pieces.allSatisfy(\.text.isEmpty) }
    var scalarCount: Int { pieces.reduce(0) { $0 + $1.text.unicodeScalars.count } }
    var byteCount: Int { pieces.reduce(0) { $0 + $1.text.utf8.count } }

    /// Whether all stretches have the same mark.
    var hasOneMark: Bool { pieces.allSatisfy { $0.mark == pieces[0].mark } }

    /// Adds a text.
    mutating func append(_ other: JinjaText) {
        for piece in other.pieces {
            if let last = pieces.last, last.mark == nil, piece.mark == nil {
                pieces[pieces.count - 1].text += piece.text
            } else {
                pieces.append(piece)
            }
        }
    }

    /// The text without the characters at its ends for which `isDropped`.
    func trimmed(start: Bool, end: Bool, where isDropped: (Unicode.Scalar) -> Bool) -> JinjaText {
        var trimmed = self
        if start {
            for index in trimmed.pieces.indices {
                let rest = trimmed.pieces[index].text.unicodeScalars.drop(while: isDropped)
                trimmed.pieces[index].text = String(rest)
                if !rest.isEmpty { break }
            }
        }
        if end {
            for index in trimmed.pieces.indices.reversed() {
                var rest = trimmed.pieces[index].text.unicodeScalars
                while let last = rest.last, isDropped(last) { rest.removeLast() }
                trimmed.pieces[index].text = String(rest)
                if !rest.isEmpty { break }
            }
        }
        return trimmed
    }

    /// Python's white space: Unicode's, and the four separators among the control characters.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
    }
}
