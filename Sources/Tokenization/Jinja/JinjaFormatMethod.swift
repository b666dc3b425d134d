/// Python's `text.format(values)`, as jinja's sandbox runs it.
extension JinjaRun {
    /// Fills a text's braces; `members` are the values of `format_map`.
    func format(_ text: JinjaText, _ call: JinjaCall, members: JinjaValue? = nil) throws(JinjaError) -> JinjaText {
        if let members, case .dictionary = members {
        } else if members != nil {
            throw .failed("'format_map' gets no dictionary")
        }
        var numbering = JinjaFieldNumbering()
        var result = try fill(text, call, members, &numbering, depth: 2)
        result.isMarkup = text.isMarkup
        return result
    }

    private func fill(
        _ text: JinjaText, _ call: JinjaCall, _ members: JinjaValue?, _ numbering: inout JinjaFieldNumbering, depth: Int
    ) throws(JinjaError) -> JinjaText {
        if depth < 0 { throw .failed("the braces of 'format' are nested too deeply") }
        try spendText(text.count)
        var result = JinjaText()
        var place = 0
        while place < text.count {
            let scalar = text.scalars[place]
            guard scalar == "{" || scalar == "}" else {
                let end = text.scalars[place...].firstIndex { $0 == "{" || $0 == "}" } ?? text.count
                result.append(text[place..<end])
                place = end
                continue
            }
            if text.stands([scalar, scalar], at: place) {
                result.append(scalar)
                place += 2
                continue
            }
            guard scalar == "{" else { throw .failed("'}' stands alone in a text of 'format'") }
            let field = try JinjaFormatField(in: text, at: place)
            place = field.end
            var value = try self.value(of: field.name, call, members, &numbering)
            value = try converted(value, field.conversion)
            let specification = try fill(field.specification, call, members, &numbering, depth: depth - 1)
            let filled = try JinjaFormatSpecification(specification).text(of: value, in: self)
            result.append(text.isMarkup ? try escaped(filled) : filled)
            try checkText(result.count)
        }
        return result
    }

    private func converted(_ value: JinjaValue, _ conversion: Unicode.Scalar?) throws(JinjaError) -> JinjaValue {
        switch conversion {
        case nil: value
        case "s": .text(try string(of: value))
        case "r": .text(try representation(of: value))
        case "a": .text(JinjaPercentFormat.ascii(try representation(of: value)))
        default: throw .failed("'format' has no conversion '\(conversion!)'")
        }
    }

    /// The value that a field names: an argument, and what is taken out of it.
    private func value(
        of name: JinjaText, _ call: JinjaCall, _ members: JinjaValue?, _ numbering: inout JinjaFieldNumbering
    ) throws(JinjaError) -> JinjaValue {
        let first = name.scalars.prefix { $0 != "." && $0 != "[" }
        var value: JinjaValue?
        if first.isEmpty || first.allSatisfy({ ("0"..."9").contains($0) }) {
            let index = try numbering.index(first.string)
            value = call.positional.indices.contains(index) ? call.positional[index] : nil
        } else if case .dictionary(let dictionary) = members {
            value = dictionary[.text(Array(first))]
        } else {
            value = call.named.first { $0.name == first.string }?.value
        }
        guard var value else { throw .failed("'format' has no value '\(first.string)'") }
        var place = first.count
        while place < name.count {
            let isElement = name.scalars[place] == "["
            let end =
                isElement
                ? name.place(of: ["]"], from: place)
                : name.scalars[(place + 1)...].firstIndex { $0 == "." || $0 == "[" } ?? name.count
            guard let end, end > place + 1 else { throw .failed("a field of 'format' names nothing") }
            let part = name[place + 1..<end]
            if isElement {
                let isNumber = part.scalars.allSatisfy { ("0"..."9").contains($0) }
                value = try element(
                    isNumber ? Int(part.string).map { .integer($0) } ?? .text(part) : .text(part), of: value)
                place = end + 1
                guard place == name.count || name.scalars[place] == "." || name.scalars[place] == "[" else {
                    throw .failed("a field of 'format' goes on behind ']'")
                }
            } else {
                value = try attribute(part.string, of: value)
                place = end
            }
        }
        return value
    }
}

/// Which argument a field without a name stands for.
struct JinjaFieldNumbering {
    private var next = 0
    private var isAutomatic: Bool?

    /// The index that digits say; without digits, the next one.
    mutating func index(_ digits: String) throws(JinjaError) -> Int {
        guard isAutomatic == nil || isAutomatic == digits.isEmpty else {
            throw .failed("'format' has fields with and without numbers")
        }
        isAutomatic = digits.isEmpty
        if digits.isEmpty {
            next += 1
            return next - 1
        }
        guard let index = Int(digits) else { throw .failed("a field of 'format' has too large a number") }
        return index
    }
}

/// What stands between two braces.
struct JinjaFormatField {
    let name: JinjaText
    let conversion: Unicode.Scalar?
    let specification: JinjaText
    /// The place behind the closing brace.
    let end: Int

    /// The field of `text` whose opening brace stands at `start`.
    init(in text: JinjaText, at start: Int) throws(JinjaError) {
        var place = start + 1
        var (depth, isInBrackets) = (1, false)
        var nameEnd: Int?
        while place < text.count {
            let scalar = text.scalars[place]
            if nameEnd == nil, scalar == "[" { isInBrackets = true }
            if scalar == "]" { isInBrackets = false }
            if scalar == "{" {
                guard nameEnd != nil else { throw .failed("a field of 'format' has a brace in its name") }
                depth += 1
            }
            if scalar == "}", !isInBrackets || nameEnd != nil { depth -= 1 }
            if depth == 0 { break }
            if nameEnd == nil, !isInBrackets, scalar == ":" || scalar == "!" { nameEnd = place }
            place += 1
        }
        guard depth == 0 else { throw .failed("a field of 'format' does not end") }
        end = place + 1
        let stop = nameEnd ?? place
        name = text[start + 1..<stop]
        guard let nameEnd else {
            (conversion, specification) = (nil, JinjaText())
            return
        }
        var rest = nameEnd
        if text.scalars[nameEnd] == "!" {
            guard nameEnd + 1 < place else { throw .failed("a field of 'format' lacks its conversion") }
            conversion = text.scalars[nameEnd + 1]
            rest = nameEnd + 2
            guard rest == place || text.scalars[rest] == ":" else {
                throw .failed("a field of 'format' has a conversion of several characters")
            }
        } else {
            conversion = nil
        }
        specification = rest < place ? text[rest + 1..<place] : JinjaText()
    }
}
