/// A part of a Jinja template: text to copy, or the words inside a tag.
enum JinjaPart: Sendable, Equatable {
    case text(String)
    /// The inside of `{{ }}`.
    case output([JinjaWord])
    /// The inside of `{% %}`.
    case block([JinjaWord])
}

/// A word of Jinja's expression language.
enum JinjaWord: Sendable, Equatable {
    case name(String)
    case integer(Int)
    case float(Double)
    case text(String)
    /// An operator or a bracket.
    case symbol(String)

    /// The word for an error message.
    var shown: String {
        switch self {
        case .name(let name): name
        case .integer(let value): "\(value)"
        case .float(let value): "\(value)"
        case .text(let text): "'\(text)'"
        case .symbol(let symbol): symbol
        }
    }
}

/// Cuts a Jinja template into parts, with the white space rules that chat templates are written for: `trim_blocks` (the
/// line feed after a block goes), `lstrip_blocks` (the indentation before a block goes), and the signs `-` and `+`.
struct JinjaLexer {
    /// Words allowed in one tag: beyond any real template, and little enough that no chain of operators exhausts the
    /// stack.
    private static let wordLimit = 1000

    let scalars: [Unicode.Scalar]
    var position = 0
    private var parts: [JinjaPart] = []
    /// Text since the last tag.
    private var pending: [Unicode.Scalar] = []
    /// Whether what `pending` follows ended a line, so that indentation at its beginning stands at a line's beginning.
    private var startsLine = true

    /// The parts of `template`.
    static func parts(of template: String) throws(JinjaError) -> [JinjaPart] {
        var lexer = JinjaLexer(template)
        try lexer.run()
        return lexer.parts
    }

    private init(_ template: String) {
        var scalars = Self.withPlainLineEnds(Array(template.unicodeScalars))
        // The last line feed is no part of the template, as in Jinja.
        if scalars.last == "\n" { scalars.removeLast() }
        self.scalars = scalars
    }

    /// Line ends of all kinds count as one.
    static func withPlainLineEnds(_ scalars: [Unicode.Scalar]) -> [Unicode.Scalar] {
        guard scalars.contains("\r") else { return scalars }
        var plain: [Unicode.Scalar] = []
        var wasReturn = false
        for scalar in scalars {
            if scalar == "\n", wasReturn {
                wasReturn = false
                continue
            }
            wasReturn = scalar == "\r"
            plain.append(wasReturn ? "\n" : scalar)
        }
        return plain
    }

    private func stands(_ text: StaticString, at place: Int) -> Bool {
        text.withUTF8Buffer { buffer in
            guard place + buffer.count <= scalars.count else { return false }
            for (offset, byte) in buffer.enumerated() where scalars[place + offset].value != UInt32(byte) {
                return false
            }
            return true
        }
    }

    private func skipSpace(from place: Int) -> Int {
        var place = place
        while place < scalars.count, JinjaText.isSpace(scalars[place]) { place += 1 }
        return place
    }

    private mutating func run() throws(JinjaError) {
        while position < scalars.count {
            if let end = rawTagEnd("raw", at: position, trims: false) {
                try readRaw(behind: end)
            } else if stands("{{", at: position) {
                try readTag(isBlock: false)
            } else if stands("{%", at: position) {
                try readTag(isBlock: true)
            } else if stands("{#", at: position) {
                try skipComment()
            } else {
                pending.append(scalars[position])
                position += 1
            }
        }
        flush()
    }

    private mutating func flush() {
        if !pending.isEmpty { parts.append(.text(pending.string)) }
        pending = []
    }

    // MARK: Tags' ends and the white space around them

    /// Takes the two characters that open a tag and the sign after them, and trims the text before as they ask.
    private mutating func open(stripsIndentation: Bool) {
        position += 2
        if stands("-", at: position) {
            position += 1
            while let last = pending.last, JinjaText.isSpace(last) { pending.removeLast() }
        } else if stands("+", at: position) {
            position += 1
        } else if stripsIndentation {
            var kept = pending.count
            while kept > 0, pending[kept - 1] != "\n", JinjaText.isSpace(pending[kept - 1]) { kept -= 1 }
            if kept > 0 ? pending[kept - 1] == "\n" : startsLine { pending.removeLast(pending.count - kept) }
        }
        flush()
    }

    /// Takes a tag's end at `position`, if one stands there, and the white space after it that goes too.
    private mutating func close(_ end: StaticString, trimsLine: Bool) -> Bool {
        let sign = position < scalars.count ? scalars[position] : " "
        let isSigned = (sign == "-" || (sign == "+" && trimsLine)) && stands(end, at: position + 1)
        guard isSigned || stands(end, at: position) else { return false }
        position += isSigned ? 3 : 2
        startsLine = false
        if isSigned, sign == "-" {
            let rest = skipSpace(from: position)
            startsLine = rest > position && scalars[rest - 1] == "\n"
            position = rest
        } else if trimsLine, !isSigned, position < scalars.count, scalars[position] == "\n" {
            startsLine = true
            position += 1
        }
        return true
    }

    private mutating func skipComment() throws(JinjaError) {
        open(stripsIndentation: true)
        if position == scalars.count { return }
        while !close("#}", trimsLine: true) {
            position += 1
            if position >= scalars.count { throw .failed("a comment in it does not end") }
        }
    }

    /// The place behind the word of a tag `{% raw` or `{% endraw` that stands at `place`; nil where none does. The end
    /// of the first kind trims no line feed.
    private func rawTagEnd(_ word: StaticString, at place: Int, trims: Bool) -> Int? {
        guard stands("{%", at: place) else { return nil }
        var end = place + 2
        if stands("-", at: end) || stands("+", at: end) { end += 1 }
        end = skipSpace(from: end)
        guard stands(word, at: end) else { return nil }
        end = skipSpace(from: end + word.utf8CodeUnitCount)
        let isEnded = stands("%}", at: end) || stands("-%}", at: end) || (trims && stands("+%}", at: end))
        return isEnded ? end : nil
    }

    /// Takes a stretch in which nothing is a tag.
    private mutating func readRaw(behind end: Int) throws(JinjaError) {
        open(stripsIndentation: true)
        position = end
        _ = close("%}", trimsLine: stands("-", at: end))
        // Jinja takes what opens at the very end for nothing.
        if position == scalars.count { return }
        while position < scalars.count {
            if let end = rawTagEnd("endraw", at: position, trims: true) {
                open(stripsIndentation: true)
                position = end
                _ = close("%}", trimsLine: true)
                return
            }
            pending.append(scalars[position])
            position += 1
        }
        throw .failed("'endraw' is missing")
    }

    // MARK: Words

    private mutating func readTag(isBlock: Bool) throws(JinjaError) {
        open(stripsIndentation: isBlock)
        var words: [JinjaWord] = []
        var expected: [String] = []
        while true {
            position = skipSpace(from: position)
            guard position < scalars.count else { throw .failed("a tag in it does not end") }
            if expected.isEmpty, isBlock ? close("%}", trimsLine: true) : close("}}", trimsLine: false) { break }
            let word = try readWord()
            if case .symbol(let symbol) = word {
                if let bracket = Self.closing[symbol] { expected.append(bracket) }
                if Self.closing.values.contains(symbol), expected.popLast() != symbol {
                    throw .failed("'\(symbol)' was not expected in a tag")
                }
            }
            words.append(word)
            if words.count > Self.wordLimit { throw .failed("a tag in it is too long") }
        }
        parts.append(isBlock ? .block(words) : .output(words))
    }

    private static let closing = ["(": ")", "[": "]", "{": "}"]

    private mutating func readWord() throws(JinjaError) -> JinjaWord {
        let first = scalars[position]
        if first == "'" || first == "\"" { return .text(try readText(quote: first)) }
        if ("0"..."9").contains(first) { return try readNumber() }
        if Self.isNamePart(first) {
            let start = position
            while position < scalars.count, Self.isNamePart(scalars[position]) { position += 1 }
            return .name(scalars[start..<position].string)
        }
        for symbol: StaticString in ["==", "!=", "<=", ">=", "//", "**"] where stands(symbol, at: position) {
            position += 2
            return .symbol("\(symbol)")
        }
        guard "+-*/%~<>=.,:|()[]{};".unicodeScalars.contains(first) else {
            throw .failed("'\(first)' stands in a tag")
        }
        position += 1
        return .symbol(String(first))
    }

    private static func isNamePart(_ scalar: Unicode.Scalar) -> Bool {
        scalar.isASCII
            ? ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) || ("0"..."9").contains(scalar)
                || scalar == "_"
            : scalar.properties.isXIDContinue
    }

    /// Digits that `isDigit` accepts, single underscores between them left out; nil, and nothing taken, without any.
    private mutating func readDigits(where isDigit: (Unicode.Scalar) -> Bool) -> String? {
        var digits = ""
        var place = position
        while place < scalars.count {
            if isDigit(scalars[place]) {
                digits.unicodeScalars.append(scalars[place])
                place += 1
            } else if scalars[place] == "_", !digits.isEmpty, place + 1 < scalars.count, isDigit(scalars[place + 1]) {
                place += 1
            } else {
                break
            }
        }
        if digits.isEmpty { return nil }
        position = place
        return digits
    }

    private mutating func readNumber() throws(JinjaError) -> JinjaWord {
        let isDecimal: (Unicode.Scalar) -> Bool = { ("0"..."9").contains($0) }
        for (prefix, radix) in [("b", 2), ("o", 8), ("x", 16)] where scalars[position] == "0" {
            guard position + 1 < scalars.count, String(scalars[position + 1]).lowercased() == prefix else { continue }
            let start = position
            position += stands("_", at: position + 2) ? 3 : 2
            let digits = readDigits { Character($0).isASCII && Int(String($0), radix: radix) != nil }
            if let digits { return try integer(digits, radix: radix) }
            position = start
        }
        let start = position
        let followsDot = start > 0 && scalars[start - 1] == "."
        var text = readDigits(where: isDecimal) ?? ""
        let end = position
        if !followsDot {
            var isFloat = false
            if stands(".", at: position) {
                position += 1
                if let fraction = readDigits(where: isDecimal) {
                    text += "." + fraction
                    isFloat = true
                } else {
                    position -= 1
                }
            }
            if stands("e", at: position) || stands("E", at: position) {
                let mark = position
                position += 1
                let sign = stands("-", at: position) ? "-" : ""
                if stands("+", at: position) || stands("-", at: position) { position += 1 }
                if let exponent = readDigits(where: isDecimal) {
                    text += "e" + sign + exponent
                    isFloat = true
                } else {
                    position = mark
                }
            }
            if isFloat { return .float(Double(text) ?? .infinity) }
        }
        position = end
        // A number other than 0 does not begin with a 0: that ends there.
        if text.hasPrefix("0"), text.contains(where: { $0 != "0" }) {
            position = start + 1
            while position < end, scalars[position] == "0" { position += 1 }
            return .integer(0)
        }
        return try integer(text, radix: 10)
    }

    private func integer(_ digits: String, radix: Int) throws(JinjaError) -> JinjaWord {
        guard let value = Int(digits, radix: radix) else {
            throw .failed("the number \(digits.prefix(40)) has more than 64 bits")
        }
        return .integer(value)
    }
}
