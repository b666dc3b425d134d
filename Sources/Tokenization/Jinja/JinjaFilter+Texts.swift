/// Filters on texts.
extension JinjaRun {
    func textFilter(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        switch name {
        case "string", "safe", "upper", "lower", "capitalize", "title", "wordcount":
            _ = try bind(call, [], of: name)
            return try plainTextFilter(name, string(of: value))
        case "e", "escape", "forceescape", "striptags", "urlencode", "urlize", "xmlattr":
            return try markupFilter(name, value, call)
        case "trim":
            let chars = JinjaValue.given(try bind(call, ["chars"], of: name)[0])
            return try textMethod("strip", of: string(of: value), JinjaCall(positional: chars.map { [$0] } ?? []))
        case "center":
            let width = try bind(call, ["width"], of: name)[0] ?? .integer(80)
            return try textMethod("center", of: string(of: value), JinjaCall(positional: [width]))
        case "format":
            let format = try string(of: value)
            guard !call.named.isEmpty else { return .text(try formatted(format, with: tuple(call.positional))) }
            if !call.positional.isEmpty { throw .failed("'format' gets arguments both with and without names") }
            return .text(try formatted(format, with: dictionary(call.named.map { (.plain($0.name), $0.value) })))
        case "indent": return .text(try indented(value, call))
        case "join": return .text(try joined(value, call))
        case "pprint":
            _ = try bind(call, [], of: name)
            return .text(try JinjaPrettyText.text(of: value, in: self))
        case "replace": return .text(try replaced(value, call))
        case "tojson": return .text(try json(value, call))
        case "truncate": return try truncated(value, call)
        default: return .text(try wrapped(value, call))
        }
    }

    private func plainTextFilter(_ name: String, _ text: JinjaText) throws(JinjaError) -> JinjaValue {
        try spend(text.count / 64)
        switch name {
        case "string": return .text(text)
        case "safe":
            var safe = text
            safe.isMarkup = true
            return .text(safe)
        case "wordcount":
            var count = 0
            for (index, scalar) in text.scalars.enumerated() where JinjaLetters.isWordPart(scalar) {
                if index == 0 || !JinjaLetters.isWordPart(text.scalars[index - 1]) { count += 1 }
            }
            return .integer(count)
        case "title": return .text(titled(text))
        default: return try textMethod(name, of: text, JinjaCall())
        }
    }

    /// Jinja's own title case: what follows white space, a hyphen or an opening bracket begins a word.
    private func titled(_ text: JinjaText) -> JinjaText {
        var result = JinjaText()
        var start = 0
        for index in 0...text.count {
            let isBreak = index < text.count && Self.beginsWords(text.scalars[index])
            let wasBreak = index > 0 && Self.beginsWords(text.scalars[index - 1])
            guard index == text.count || index > start && isBreak != wasBreak else { continue }
            let word = text[start..<index]
            if !word.isEmpty { result.append(Self.capitalized(word)) }
            start = index
        }
        result.isMarkup = false
        return result
    }

    private static func beginsWords(_ scalar: Unicode.Scalar) -> Bool {
        JinjaText.isSpace(scalar) || "-({[<".unicodeScalars.contains(scalar)
    }

    private static func capitalized(_ word: JinjaText) -> JinjaText {
        let rest = word[1..<word.count]
        var result = JinjaLetters.changed(word[0..<1], "upper")
        result.append(JinjaLetters.changed(rest, "lower"))
        return result
    }

    private func replaced(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let values = try bind(call, ["old", "new", "count"], required: 2, of: "replace")
        var text = try string(of: value)
        var old = try string(of: values[0] ?? .none)
        var new = try string(of: values[1] ?? .none)
        let count = try integer(JinjaValue.given(values[2]), of: "replace") ?? -1
        guard escapes else {
            (text.isMarkup, new.isMarkup) = (false, false)
            return try replaced(text, old, by: new, count: count)
        }
        if old.isMarkup || new.isMarkup && !text.isMarkup { text = try escaped(text) }
        if text.isMarkup { (old, new) = (try escaped(old), try escaped(new)) }
        return try replaced(text, old, by: new, count: count)
    }

    private func joined(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let values = try bind(call, ["d", "attribute"], of: "join")
        let getter = try attributeGetter(values[1])
        var separator = try string(of: values[0] ?? .plain(""))
        var texts: [JinjaText] = []
        let source = try iterate(value)
        while let element = try source.next() { texts.append(try string(of: getter(element))) }
        let isMarkup = escapes && (separator.isMarkup || texts.contains(where: \.isMarkup))
        if isMarkup { separator = try escaped(separator) }
        var joined = JinjaText()
        for (index, text) in texts.enumerated() {
            if index > 0 { joined.append(separator) }
            joined.append(isMarkup ? try escaped(text) : text)
            try spendText(text.count + separator.count + 8)
            try checkText(joined.count)
        }
        joined.isMarkup = isMarkup
        return joined
    }

    private func indented(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let values = try bind(call, ["width", "first", "blank"], of: "indent")
        if case .undefined(let problem) = value { throw .failed(problem) }
        guard case .text(let text) = value else { throw .failed("'indent' of \(value.kind)") }
        var indent = JinjaText()
        if case .text(let given) = values[0] {
            indent = given
        } else {
            let width = max(0, try integer(values[0], of: "indent") ?? 4)
            try spendText(width)
            indent = JinjaText(scalars: Array(repeating: " ", count: width))
        }
        if text.isMarkup { indent = try escaped(indent) }
        let (indentsFirst, indentsBlank) = (values[1]?.isTrue ?? false, values[2]?.isTrue ?? false)
        var ended = text
        ended.append("\n")
        let lines = try lines(of: ended)
        let (most, overflow) = lines.count.multipliedReportingOverflow(by: indent.count + 1)
        try spendText(overflow ? .max : most.addingReportingOverflow(text.count).partialValue)
        var result = JinjaText()
        for (index, line) in lines.enumerated() {
            if index > 0 { result.append("\n") }
            if index == 0 ? indentsFirst : indentsBlank || !line.isEmpty { result.append(indent) }
            result.append(line)
        }
        result.isMarkup = text.isMarkup
        return result
    }

    private func truncated(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        let values = try bind(call, ["length", "killwords", "end", "leeway"], of: "truncate")
        let length = try integer(values[0], of: "truncate") ?? 255
        let end = try text(values[2], of: "truncate") ?? JinjaText("...")
        let leeway = try integer(JinjaValue.given(values[3]), of: "truncate") ?? 5
        guard length >= end.count, leeway >= 0 else { throw .failed("'truncate' gets too small a length") }
        guard let count = try self.length(of: value) else { throw .failed("\(value.kind) has no length") }
        if count <= length.addingReportingOverflow(leeway).partialValue { return value }
        guard case .text(let text) = value else { throw .failed("'truncate' of \(value.kind)") }
        let kept = text[0..<min(text.count, length - end.count)]
        if values[1]?.isTrue ?? false { return .text(try joined(kept, end)) }
        return .text(try joined(Self.parts(of: kept, at: [" "], limit: 1, fromEnd: true)[0], end))
    }

    private func wrapped(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let parameters = ["width", "break_long_words", "wrapstring", "break_on_hyphens"]
        let values = try bind(call, parameters, of: "wordwrap")
        if case .undefined(let problem) = value { throw .failed(problem) }
        guard case .text(let text) = value else { throw .failed("'wordwrap' of \(value.kind)") }
        let wrapping = JinjaWrapping(
            width: try integer(values[0], of: "wordwrap") ?? 79, breaksWords: values[1]?.isTrue ?? true,
            breaksAtHyphens: values[3]?.isTrue ?? true)
        var lines: [JinjaValue] = []
        for paragraph in try self.lines(of: text) {
            try spend(paragraph.count)
            // Paragraphs without words are lines too.
            let wrapped = try wrapping.lines(of: paragraph)
            lines += wrapped.isEmpty ? [.plain("")] : wrapped.map { .text($0) }
        }
        return try joined(lines, by: self.text(JinjaValue.given(values[2]), of: "wordwrap") ?? JinjaText("\n"))
    }
}
