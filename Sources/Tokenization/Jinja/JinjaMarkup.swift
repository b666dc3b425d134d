/// Filters that write HTML or take it away.
extension JinjaRun {
    /// A text as safe HTML: escaped, unless it is that already.
    func escaped(_ text: JinjaText) throws(JinjaError) -> JinjaText {
        if text.isMarkup { return text }
        try spendText(text.count)
        var result = text.mapped { scalar, _, scalars in
            switch scalar {
            case "&": scalars += "&amp;".unicodeScalars
            case "<": scalars += "&lt;".unicodeScalars
            case ">": scalars += "&gt;".unicodeScalars
            case "\"": scalars += "&#34;".unicodeScalars
            case "'": scalars += "&#39;".unicodeScalars
            default: scalars.append(scalar)
            }
        }
        result.isMarkup = true
        try checkText(result.count)
        return result
    }

    func markupFilter(_ name: String, _ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaValue {
        switch name {
        case "urlize": return .text(try linked(value, call))
        case "xmlattr": return .text(try attributes(value, call))
        default: _ = try bind(call, [], of: name)
        }
        switch name {
        case "urlencode": return .plain(try encoded(value))
        case "striptags": return .text(try withoutTags(string(of: value)))
        case "forceescape":
            var text = try string(of: value)
            text.isMarkup = false
            return .text(try escaped(text))
        default: return .text(try escaped(string(of: value)))
        }
    }

    /// Methods of safe HTML.
    func withoutMarkup(_ text: JinjaText, _ name: String, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        _ = try bind(call, [], of: name)
        return name == "striptags" ? try withoutTags(text) : try unescaped(text)
    }

    // MARK: Tags and entities

    private func withoutTags(_ text: JinjaText) throws(JinjaError) -> JinjaText {
        var rest = try withoutStretches(text, from: "<!--", to: "-->")
        rest = try withoutStretches(rest, from: "<", to: ">")
        var result = JinjaText()
        for (index, word) in Self.words(of: rest, limit: .max, fromEnd: false).enumerated() {
            if index > 0 { result.append(" ") }
            result.append(word)
        }
        return try unescaped(result)
    }

    /// A text without what stands between two marks, the marks left out too; a mark that a removal brings together
    /// counts.
    private func withoutStretches(_ text: JinjaText, from start: String, to end: String) throws(JinjaError) -> JinjaText
    {
        let (start, end) = (Array(start.unicodeScalars), Array(end.unicodeScalars))
        try spendText(text.count)
        var kept: [Unicode.Scalar] = []
        var place = 0
        while place < text.count {
            kept.append(text.scalars[place])
            place += 1
            guard kept.suffix(start.count).elementsEqual(start) else { continue }
            // The end may begin within the mark of the start.
            let overlap = (1..<start.count).first { offset in
                let shared = start[offset...]
                return end.starts(with: shared) && text.stands(Array(end[shared.count...]), at: place)
            }
            let next =
                overlap.map { place + end.count - (start.count - $0) }
                ?? text.place(of: end, from: place).map { $0 + end.count }
            guard let next else { return text.replaced(by: kept + text.scalars[place...]) }
            kept.removeLast(start.count)
            place = next
        }
        return text.replaced(by: kept)
    }

    /// A text with characters in the place of their HTML names and numbers.
    private func unescaped(_ text: JinjaText) throws(JinjaError) -> JinjaText {
        var result = JinjaText()
        var place = 0
        try spendText(text.count)
        while let next = text.place(of: ["&"], from: place) {
            result.append(text[place..<next])
            let (scalars, end) = try entity(at: next, in: text.scalars)
            if let scalars { for scalar in scalars { result.append(scalar) } } else { result.append(text[next..<end]) }
            place = end
        }
        result.append(text[place..<text.count])
        return result
    }

    /// The character whose name or number stands at an ampersand, and the place behind it; nil without one.
    private func entity(
        at start: Int, in scalars: [Unicode.Scalar]
    ) throws(JinjaError) -> (scalars: [Unicode.Scalar]?, end: Int) {
        if start + 1 < scalars.count, scalars[start + 1] == "#" { return numbered(at: start, in: scalars) }
        var end = start + 1
        while end < scalars.count, end - start <= 32, !"\t\n\u{C} <&#;".unicodeScalars.contains(scalars[end]) {
            end += 1
        }
        let name = scalars[start + 1..<end].string
        let isEnded = end < scalars.count && scalars[end] == ";"
        if isEnded, let scalar = JinjaEntities.short[name] ?? JinjaEntities.long[name] { return ([scalar], end + 1) }
        for length in stride(from: end - start - 1, to: 1, by: -1) {
            let known = JinjaEntities.short[scalars[start + 1..<start + 1 + length].string]
            if let known { return ([known], start + 1 + length) }
        }
        if isEnded, !name.isEmpty { throw .failed("the HTML character '&\(name);' is unknown") }
        return (nil, start + 1)
    }

    private func numbered(
        at start: Int, in scalars: [Unicode.Scalar]
    ) -> (scalars: [Unicode.Scalar]?, end: Int) {
        var end = start + 2
        let isHex = end < scalars.count && (scalars[end] == "x" || scalars[end] == "X")
        if isHex { end += 1 }
        let first = end
        var value: UInt32 = 0
        while end < scalars.count, scalars[end].isASCII,
            let digit = Int(String(scalars[end]), radix: isHex ? 16 : 10)
        {
            value = min(0x110000, value * (isHex ? 16 : 10) + UInt32(digit))
            end += 1
        }
        guard end > first else { return (nil, start + 1) }
        if end < scalars.count, scalars[end] == ";" { end += 1 }
        if let index = value.windowsIndex { return ([Unicode.Scalar(UInt32.windows[index]) ?? "\u{FFFD}"], end) }
        guard value != 0, let scalar = Unicode.Scalar(value) else { return (["\u{FFFD}"], end) }
        let isDropped =
            (1...8).contains(value) || value == 0xB || (0xE...0x1F).contains(value)
            || (0x7F...0x9F).contains(value) || (0xFDD0...0xFDEF).contains(value) || value & 0xFFFE == 0xFFFE
        return (isDropped ? [] : [scalar], end)
    }

    // MARK: Attributes and addresses

    private func attributes(_ value: JinjaValue, _ call: JinjaCall) throws(JinjaError) -> JinjaText {
        let hasSpace = try bind(call, ["autospace"], of: "xmlattr")[0]?.isTrue ?? true
        guard case .dictionary(let dictionary) = value else { throw .failed("'xmlattr' of \(value.kind)") }
        var result = JinjaText()
        for member in dictionary.members where !member.value.isNone && !member.value.isUndefined {
            guard case .text(let key) = member.key else { throw .failed("\(member.key.kind) names an attribute") }
            let refused = " \t\n\r\u{B}\u{C}/>=".unicodeScalars
            if key.scalars.contains(where: refused.contains) { throw .failed("'\(key.string)' names an attribute") }
            if !result.isEmpty { result.append(" ") }
            result.append(try escaped(key))
            result.append("=\"")
            result.append(try escaped(string(of: member.value)))
            result.append("\"")
            try checkText(result.count)
        }
        if hasSpace, !result.isEmpty {
            var spaced = JinjaText(" ")
            spaced.append(result)
            result = spaced
        }
        result.isMarkup = escapes
        return result
    }

    private func encoded(_ value: JinjaValue) throws(JinjaError) -> String {
        switch value {
        case .text, .none, .bool, .integer, .float: return try quoted(value, inQuery: false)
        default: break
        }
        var pairs: [[JinjaValue]] = []
        if case .dictionary(let dictionary) = value {
            pairs = dictionary.members.map { [$0.key, $0.value] }
        } else {
            for element in try elements(of: value) { pairs.append(try elements(of: element)) }
        }
        var query = ""
        for (index, pair) in pairs.enumerated() {
            guard pair.count == 2 else { throw .failed("'urlencode' meets what is no pair") }
            if index > 0 { query += "&" }
            query += try quoted(pair[0], inQuery: true) + "=" + quoted(pair[1], inQuery: true)
            try checkText(query.utf8.count)
        }
        return query
    }

    private func quoted(_ value: JinjaValue, inQuery: Bool) throws(JinjaError) -> String {
        let text = try string(of: value)
        try spendText(text.count * 3)
        var result = ""
        for byte in text.string.utf8 {
            let scalar = Unicode.Scalar(byte)
            let isPlain = byte < 0x80 && (JinjaLetters.isWordPart(scalar) || "-.~".unicodeScalars.contains(scalar))
            if isPlain || !inQuery && scalar == "/" {
                result.unicodeScalars.append(scalar)
            } else if inQuery, scalar == " " {
                result += "+"
            } else {
                result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return result
    }
}

extension UInt32 {
    /// What browsers take the numbers 0x80 to 0x9F and 0x0D for.
    fileprivate static let windows: [UInt32] = [
        0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D,
        0x017D, 0x8F, 0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A,
        0x0153, 0x9D, 0x017E, 0x0178,
    ]
    fileprivate var windowsIndex: Int? { (0x80...0x9F).contains(self) ? Int(self - 0x80) : nil }
}
