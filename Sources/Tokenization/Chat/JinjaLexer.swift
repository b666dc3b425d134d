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
    case text(String)
    /// An operator or a bracket.
    case symbol(String)

    /// The word for an error message.
    var shown: String {
        switch self {
        case .name(let name): name
        case .integer(let value): "\(value)"
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

    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var parts: [JinjaPart] = []
    /// Text since the last tag.
    private var pending: [Unicode.Scalar] = []
    /// Whether what `pending` follows ended a line, so that indentation at its beginning stands at a line's beginning.
    private var startsLine = true

    /// The parts of `template`.
    static func parts(of template: String) throws(TokenizationError) -> [JinjaPart] {
        var lexer = JinjaLexer(template)
        try lexer.run()
        return lexer.parts
    }

    private init(_ template: String) {
        // Line ends of all kinds count as one, and the last is no part of the template, as in Jinja.
        var scalars: [Unicode.Scalar] = []
        var wasReturn = false
        for scalar in template.unicodeScalars {
            if scalar == "\n", wasReturn {
                wasReturn = false
                continue
            }
            wasReturn = scalar == "\r"
            scalars.append(wasReturn ? "\n" : scalar)
        }
        if scalars.last == "\n" { scalars.removeLast() }
        self.scalars = scalars
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

    private mutating func run() throws(TokenizationError) {
        while position < scalars.count {
            if stands("{{", at: position) {
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
        if pending.isEmpty { return }
        var text = ""
        text.unicodeScalars.append(contentsOf: pending)
        parts.append(.text(text))
        pending = []
    }

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
            while kept > 0, pending[kept - 1] == " " || pending[kept - 1] == "\t" { kept -= 1 }
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
            while position < scalars.count, JinjaText.isSpace(scalars[position]) {
                startsLine = scalars[position] == "\n"
                position += 1
            }
        } else if trimsLine, !isSigned, position < scalars.count, scalars[position] == "\n" {
            startsLine = true
            position += 1
        }
        return true
    }

    private mutating func skipComment() throws(TokenizationError) {
        open(stripsIndentation: true)
        while !close("#}", trimsLine: true) {
            position += 1
            if position >= scalars.count { throw .unsupportedTemplate(problem: "a comment in it does not end") }
        }
    }

    private mutating func readTag(isBlock: Bool) throws(TokenizationError) {
        open(stripsIndentation: isBlock)
        var words: [JinjaWord] = []
        var depth = 0
        while true {
            while position < scalars.count, JinjaText.isSpace(scalars[position]) { position += 1 }
            guard position < scalars.count else { throw .unsupportedTemplate(problem: "a tag in it does not end") }
            if depth == 0, isBlock ? close("%}", trimsLine: true) : close("}}", trimsLine: false) { break }
            let word = try readWord()
            if case .symbol(let symbol) = word {
                if "([{".contains(symbol) { depth += 1 }
                if ")]}".contains(symbol) { depth -= 1 }
            }
            words.append(word)
            if words.count > Self.wordLimit { throw .unsupportedTemplate(problem: "a tag in it is too long") }
        }
        parts.append(isBlock ? .block(words) : .output(words))
    }

    private mutating func readWord() throws(TokenizationError) -> JinjaWord {
        let first = scalars[position]
        if first == "'" || first == "\"" { return .text(try readText(quote: first)) }
        if first.properties.isAlphabetic || first == "_" {
            var name = ""
            while position < scalars.count, Self.isNamePart(scalars[position]) {
                name.unicodeScalars.append(scalars[position])
                position += 1
            }
            return .name(name)
        }
        if ("0"..."9").contains(first) {
            var digits = ""
            while position < scalars.count, ("0"..."9").contains(scalars[position]) {
                digits.unicodeScalars.append(scalars[position])
                position += 1
            }
            let isFraction = stands(".", at: position) && position + 1 < scalars.count
            guard let value = Int(digits), !(isFraction && ("0"..."9").contains(scalars[position + 1])) else {
                throw .unsupportedTemplate(problem: "the number that begins with \(digits) is no small integer")
            }
            return .integer(value)
        }
        for symbol: StaticString in ["==", "!=", "<=", ">=", "//", "**"] where stands(symbol, at: position) {
            position += 2
            return .symbol("\(symbol)")
        }
        guard "+-*/%~<>=.,:|()[]{}".unicodeScalars.contains(first) else {
            throw .unsupportedTemplate(problem: "'\(first)' stands in a tag")
        }
        position += 1
        return .symbol(String(first))
    }

    private static func isNamePart(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isAlphabetic || scalar == "_" || ("0"..."9").contains(scalar)
    }

    /// A text in quotes, with Python's escapes.
    private mutating func readText(quote: Unicode.Scalar) throws(TokenizationError) -> String {
        var text = ""
        position += 1
        while position < scalars.count, scalars[position] != quote {
            let scalar = scalars[position]
            position += 1
            guard scalar == "\\", position < scalars.count else {
                text.unicodeScalars.append(scalar)
                continue
            }
            let escaped = scalars[position]
            position += 1
            switch escaped {
            case "n": text += "\n"
            case "t": text += "\t"
            case "r": text += "\r"
            case "\\", "'", "\"": text.unicodeScalars.append(escaped)
            case "x": text.unicodeScalars.append(try readHex(digits: 2))
            case "u": text.unicodeScalars.append(try readHex(digits: 4))
            case "a", "b", "f", "v", "N", "U", "0"..."7", "\n":
                throw .unsupportedTemplate(problem: "the escape '\\\(escaped)' stands in a text")
            default:
                text += "\\"
                text.unicodeScalars.append(escaped)
            }
        }
        guard position < scalars.count else { throw .unsupportedTemplate(problem: "a text in it does not end") }
        position += 1
        return text
    }

    private mutating func readHex(digits: Int) throws(TokenizationError) -> Unicode.Scalar {
        var value: UInt32 = 0
        for _ in 0..<digits {
            guard position < scalars.count, let digit = Character(scalars[position]).hexDigitValue else {
                throw .unsupportedTemplate(problem: "an escape in a text lacks digits")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        guard let scalar = Unicode.Scalar(value) else {
            throw .unsupportedTemplate(problem: "an escape in a text is half a character")
        }
        return scalar
    }
}
