/// Values as Python's `json.dumps` writes them, characters as they are: the filter `tojson` of chat templates.
enum JinjaJSON {
    /// Levels of lists and dictionaries, and bytes of a text: a template can nest a value in itself again and again.
    private static let depthLimit = 60
    private static let byteLimit = 16 << 20

    /// The text of a value. Throws `unsupportedTemplate` for what JSON has no form of.
    static func text(of value: JinjaValue) throws(TokenizationError) -> String {
        var text = ""
        try append(value, to: &text, depth: 0)
        return text
    }

    private static func append(
        _ value: JinjaValue, to text: inout String, depth: Int
    ) throws(TokenizationError) {
        guard depth <= depthLimit else { throw .unsupportedTemplate(problem: "a value in it is nested too deeply") }
        switch value {
        case .none: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += "\(value)"
        case .text(let value): append(quoted: value.string, to: &text)
        case .list(let values):
            text += "["
            for (index, value) in values.enumerated() {
                if index > 0 { text += ", " }
                try append(value, to: &text, depth: depth + 1)
            }
            text += "]"
        case .dictionary(let members):
            text += "{"
            for (index, member) in members.enumerated() {
                if index > 0 { text += ", " }
                append(quoted: member.key, to: &text)
                text += ": "
                try append(member.value, to: &text, depth: depth + 1)
            }
            text += "}"
        case .undefined, .namespace, .macro, .function:
            throw .unsupportedTemplate(problem: "it has the filter 'tojson' of \(JinjaLibrary.kind(value))")
        }
        guard text.utf8.count <= byteLimit else { throw .unsupportedTemplate(problem: "it makes too long a text") }
    }

    private static func append(quoted string: String, to text: inout String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += #"\""#
            case "\\": text += #"\\"#
            case "\n": text += #"\n"#
            case "\r": text += #"\r"#
            case "\t": text += #"\t"#
            case "\u{8}": text += #"\b"#
            case "\u{C}": text += #"\f"#
            case "\0"..<" ":
                let digits = String(scalar.value, radix: 16)
                text += #"\u"# + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
