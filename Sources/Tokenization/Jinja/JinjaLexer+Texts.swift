extension JinjaLexer {
    /// A text in quotes at `position`, with Python's escapes.
    mutating func readText(quote: Unicode.Scalar) throws(JinjaError) -> String {
        var text: [Unicode.Scalar] = []
        position += 1
        while position < scalars.count, scalars[position] != quote {
            let scalar = scalars[position]
            position += 1
            if scalar == "\\", position < scalars.count {
                try readEscape(into: &text)
            } else {
                text.append(scalar)
            }
        }
        guard position < scalars.count else { throw .failed("a text in it does not end") }
        position += 1
        return text.string
    }

    /// What follows a backslash.
    private mutating func readEscape(into text: inout [Unicode.Scalar]) throws(JinjaError) {
        let escaped = scalars[position]
        position += 1
        switch escaped {
        case "n": text.append("\n")
        case "t": text.append("\t")
        case "r": text.append("\r")
        case "a": text.append("\u{7}")
        case "b": text.append("\u{8}")
        case "f": text.append("\u{C}")
        case "v": text.append("\u{B}")
        case "\\", "'", "\"": text.append(escaped)
        case "\n": break
        case "x": text.append(try readHex(digits: 2))
        case "u": text.append(try readHex(digits: 4))
        case "U": text.append(try readHex(digits: 8))
        case "N": throw .failed("the escape '\\N' stands in a text")
        case "0"..."7":
            var value = escaped.value - 0x30
            for _ in 0..<2 where position < scalars.count && ("0"..."7").contains(scalars[position]) {
                value = value * 8 + scalars[position].value - 0x30
                position += 1
            }
            text.append(Unicode.Scalar(value) ?? "\u{FFFD}")
        default:
            text.append("\\")
            if escaped.isASCII {
                text.append(escaped)
            } else {
                // Jinja escapes what is not ASCII before it undoes the escapes, so that the backslash escapes that.
                text += Self.asciiEscape(of: escaped).dropFirst().unicodeScalars
            }
        }
    }

    /// Python's escape of a scalar that is not ASCII.
    static func asciiEscape(of scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16)
        let (letter, length) = scalar.value < 0x100 ? ("x", 2) : scalar.value < 0x10000 ? ("u", 4) : ("U", 8)
        return "\\" + letter + String(repeating: "0", count: max(0, length - digits.count)) + digits
    }

    private mutating func readHex(digits: Int) throws(JinjaError) -> Unicode.Scalar {
        var value: UInt32 = 0
        for _ in 0..<digits {
            guard position < scalars.count, scalars[position].isASCII,
                let digit = Character(scalars[position]).hexDigitValue
            else { throw .failed("an escape in a text lacks digits") }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        guard let scalar = Unicode.Scalar(value) else { throw .failed("an escape in a text is half a character") }
        return scalar
    }
}
