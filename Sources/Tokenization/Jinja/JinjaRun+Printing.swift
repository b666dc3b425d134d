extension JinjaRun {
    /// What Python's `str` makes of a value.
    func string(of value: JinjaValue) throws(JinjaError) -> JinjaText {
        switch value {
        case .text(let text): return text
        case .undefined: return JinjaText()
        default: return try representation(of: value)
        }
    }

    /// What Python's `repr` makes of a value.
    func representation(of value: JinjaValue) throws(JinjaError) -> JinjaText {
        var text = JinjaText()
        try append(value, to: &text)
        return text
    }

    private func append(_ value: JinjaValue, to text: inout JinjaText) throws(JinjaError) {
        try spend(1)
        try enter()
        defer { leave() }
        switch value {
        case .undefined: text.append("Undefined")
        case .none: text.append("None")
        case .bool(let value): text.append(value ? "True" : "False")
        case .integer(let value): text.append("\(value)")
        case .float(let value): text.append(JinjaNumberText.representation(of: value))
        case .text(let value):
            try spendText(value.count)
            if value.isMarkup { text.append("Markup(") }
            text.append(Self.quoted(value))
            if value.isMarkup { text.append(")") }
        case .list(let list): try append(list.elements, between: ("[", "]"), to: &text)
        case .tuple(let list):
            try append(list.elements, between: ("(", list.elements.count == 1 ? ",)" : ")"), to: &text)
        case .dictionary(let dictionary): try append(dictionary.members, to: &text)
        case .range(let range):
            text.append("range(\(range.start), \(range.stop)\(range.step == 1 ? "" : ", \(range.step)"))")
        case .view(let view):
            text.append("dict_\(view.kind.rawValue)(")
            try append(elements(of: value), between: ("[", "]"), to: &text)
            text.append(")")
        case .namespace(let namespace):
            text.append("<Namespace ")
            try append(namespace.members, to: &text)
            text.append(">")
        case .macro(let macro): text.append(macro.syntax.name.map { "<Macro '\($0)'>" } ?? "<Macro anonymous>")
        case .loop(let loop): text.append("<LoopContext \(loop.index0 + 1)/\(try loop.count())>")
        default: throw .failed("it writes \(value.kind)")
        }
        try checkText(text.count)
    }

    private func append(
        _ elements: [JinjaValue], between ends: (String, String), to text: inout JinjaText
    ) throws(JinjaError) {
        text.append(ends.0)
        for (index, element) in elements.enumerated() {
            if index > 0 { text.append(", ") }
            try append(element, to: &text)
        }
        text.append(ends.1)
    }

    private func append(
        _ members: [(key: JinjaValue, value: JinjaValue)], to text: inout JinjaText
    ) throws(JinjaError) {
        text.append("{")
        for (index, member) in members.enumerated() {
            if index > 0 { text.append(", ") }
            try append(member.key, to: &text)
            text.append(": ")
            try append(member.value, to: &text)
        }
        text.append("}")
    }

    /// A text in quotes, with escapes for what cannot be printed.
    static func quoted(_ text: JinjaText) -> JinjaText {
        let quote: Unicode.Scalar = text.scalars.contains("'") && !text.scalars.contains("\"") ? "\"" : "'"
        var result = JinjaText(scalars: [quote])
        var plain = text
        plain.isMarkup = false
        result.append(
            plain.mapped { scalar, _, scalars in
                switch scalar {
                case quote, "\\": scalars += ["\\", scalar]
                case "\n": scalars += ["\\", "n"]
                case "\r": scalars += ["\\", "r"]
                case "\t": scalars += ["\\", "t"]
                default:
                    if isPrintable(scalar) { scalars.append(scalar) } else { scalars += escape(of: scalar) }
                }
            })
        result.append(quote)
        return result
    }

    private static func escape(of scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        Array(JinjaLexer.asciiEscape(of: scalar).unicodeScalars)
    }

    /// Whether Python prints a scalar as it is.
    static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.isASCII { return (0x20...0x7E).contains(scalar.value) }
        return switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator:
            false
        default: true
        }
    }
}
