/// Values as Python's `json.dumps` writes them: the filter `tojson` that transformers gives chat templates.
struct JinjaJSON {
    /// Whether everything beyond ASCII is escaped.
    var isASCII = false
    /// What a level of lists and objects is indented by; nil writes all in one line.
    var indent: JinjaText?
    var itemSeparator = ", "
    var keySeparator = ": "
    var sortsKeys = false

    private let run: JinjaRun
    private var text = JinjaText()

    init(in run: JinjaRun) {
        self.run = run
    }

    /// The text of a value. Throws for what JSON has no form of.
    mutating func text(of value: JinjaValue) throws(JinjaError) -> JinjaText {
        try append(value, level: 0)
        return text
    }

    private mutating func append(_ value: JinjaValue, level: Int) throws(JinjaError) {
        try run.spend(1)
        try run.enter()
        defer { run.leave() }
        switch value {
        case .none: text.append("null")
        case .bool(let value): text.append(value ? "true" : "false")
        case .integer(let value): text.append("\(value)")
        case .float(let value): text.append(Self.number(value))
        case .text(let value): try append(quoted: value)
        case .list(let list), .tuple(let list): try append(list.elements, level: level)
        case .dictionary(let dictionary): try append(dictionary, level: level)
        default: throw .failed("it has the filter 'tojson' of \(value.kind)")
        }
        try run.checkText(text.count)
    }

    private static func number(_ value: Double) -> String {
        value.isFinite
            ? JinjaNumberText.representation(of: value) : value.isNaN ? "NaN" : value < 0 ? "-Infinity" : "Infinity"
    }

    private mutating func append(_ elements: [JinjaValue], level: Int) throws(JinjaError) {
        if elements.isEmpty { return text.append("[]") }
        text.append("[")
        for (index, element) in elements.enumerated() {
            if index > 0 { text.append(itemSeparator) }
            try beginLine(level + 1)
            try append(element, level: level + 1)
        }
        try beginLine(level)
        text.append("]")
    }

    private mutating func append(_ dictionary: JinjaDictionary, level: Int) throws(JinjaError) {
        if dictionary.count == 0 { return text.append("{}") }
        var members = dictionary.members
        if sortsKeys {
            let keys = try run.sorted(dictionary.keys, reversed: false) { $0 }
            members = keys.map { key in (key, JinjaKey(key).flatMap { dictionary[$0] } ?? .none) }
        }
        text.append("{")
        for (index, member) in members.enumerated() {
            if index > 0 { text.append(itemSeparator) }
            try beginLine(level + 1)
            try append(key: member.key)
            text.append(keySeparator)
            try append(member.value, level: level + 1)
        }
        try beginLine(level)
        text.append("}")
    }

    private mutating func append(key: JinjaValue) throws(JinjaError) {
        switch key {
        case .text(let text): try append(quoted: text)
        case .none: text.append("\"null\"")
        case .bool(let value): text.append(value ? "\"true\"" : "\"false\"")
        case .integer(let value): text.append("\"\(value)\"")
        case .float(let value): text.append("\"\(Self.number(value))\"")
        default: throw .failed("it has the filter 'tojson' of \(key.kind) as a key")
        }
    }

    private mutating func beginLine(_ level: Int) throws(JinjaError) {
        guard let indent else { return }
        try run.spendText(indent.count * level)
        text.append("\n")
        for _ in 0..<level { text.append(indent) }
    }

    private mutating func append(quoted string: JinjaText) throws(JinjaError) {
        try run.spendText(string.count)
        var string = string
        string.isMarkup = false
        text.append("\"")
        text.append(
            string.mapped { [isASCII] scalar, _, scalars in
                switch scalar {
                case "\"", "\\": scalars += ["\\", scalar]
                case "\n": scalars += ["\\", "n"]
                case "\r": scalars += ["\\", "r"]
                case "\t": scalars += ["\\", "t"]
                case "\u{8}": scalars += ["\\", "b"]
                case "\u{C}": scalars += ["\\", "f"]
                default:
                    guard scalar.value < 0x20 || isASCII && !scalar.isASCII else { return scalars.append(scalar) }
                    for unit in UTF16.encode(scalar)! {
                        let digits = String(unit, radix: 16)
                        scalars += ("\\u" + String(repeating: "0", count: 4 - digits.count) + digits).unicodeScalars
                    }
                }
            })
        text.append("\"")
    }
}

extension JinjaRun {
    /// `value | tojson`
    func json(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let parameters = ["ensure_ascii", "indent", "separators", "sort_keys"]
        let values = try bind(call, parameters, of: "tojson")
        var writer = JinjaJSON(in: self)
        writer.isASCII = values[0]?.isTrue ?? false
        if let indent = JinjaValue.given(values[1]) {
            writer.itemSeparator = ","
            if case .text(let text) = indent {
                writer.indent = text
            } else {
                let count = max(0, try integer(indent, of: "tojson") ?? 0)
                try spendText(count)
                writer.indent = JinjaText(scalars: Array(repeating: " ", count: count))
            }
        }
        if let separators = JinjaValue.given(values[2]) {
            let texts = try elements(of: separators)
            guard texts.count == 2, let item = texts[0].asText, let key = texts[1].asText else {
                throw .failed("'tojson' gets other than two separators")
            }
            (writer.itemSeparator, writer.keySeparator) = (item.string, key.string)
        }
        writer.sortsKeys = values[3]?.isTrue ?? false
        return try writer.text(of: value)
    }
}
