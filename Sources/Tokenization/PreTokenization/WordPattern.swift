/// What kind of character a scalar is to the patterns that cut text into words.
enum ScalarClass: Sendable {
    /// `\p{L}`, and `\p{M}` where a pattern joins marks to letters.
    case letter
    /// `\p{N}`
    case number
    /// Carriage return or line feed; also `\s`.
    case lineBreak
    /// `\s` otherwise: Unicode's White_Space.
    case space
    /// Everything else.
    case other

    /// The Unicode version of the expression engine in Hugging Face's `tokenizers` (Oniguruma 6.9.10). Letters and
    /// numbers that later versions added are `other` there, and must be here for equal ids.
    private static let patternUnicodeVersion = 16

    /// The class of the scalar at `index` of valid UTF-8, and its length in bytes; marks are letters or `other`.
    @inline(__always)
    static func read(
        _ bytes: [UInt8], at index: Int, joinsMarks: Bool = false
    ) -> (class: ScalarClass, length: Int) {
        let byte = bytes[index]
        if byte < 0x80 { return (ofASCII(byte), 1) }
        let (scalar, length) = UTF8Scalar.scalar(in: bytes, at: index)
        return (ofNonASCII(scalar, joinsMarks: joinsMarks), length)
    }

    @inline(__always)
    private static func ofASCII(_ byte: UInt8) -> ScalarClass {
        switch byte {
        case 0x61...0x7A, 0x41...0x5A: .letter
        case 0x30...0x39: .number
        case 0x0A, 0x0D: .lineBreak
        case 0x20, 0x09, 0x0B, 0x0C: .space
        default: .other
        }
    }

    private static func ofNonASCII(_ scalar: Unicode.Scalar, joinsMarks: Bool) -> ScalarClass {
        let properties = scalar.properties
        let kind: ScalarClass
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: kind = .letter
        case .decimalNumber, .letterNumber, .otherNumber: kind = .number
        case .nonspacingMark, .spacingMark, .enclosingMark: kind = joinsMarks ? .letter : .other
        default: return properties.isWhitespace ? .space : .other
        }
        guard let age = properties.age, age.major <= patternUnicodeVersion else { return .other }
        return kind
    }
}

/// The expressions that cut text into words in known tokenizers, each as a scanner written by hand: SwiftPM has no
/// expression engine with look-ahead that starts as fast and runs as fast.
enum WordPattern: Sendable, Equatable {
    /// GPT-2's.
    case gpt2
    /// Llama 3's: contractions in any case, a letter run may take one other character before it, numbers in groups of
    /// at most `longestNumber` digits (3 there, 1 in Qwen's), marks as letters where it `joinsMarks` (Qwen 3.5's).
    case llama3(longestNumber: Int, joinsMarks: Bool = false)

    /// Those that known tokenizers have.
    private static let known: [WordPattern] = [
        .gpt2, .llama3(longestNumber: 3), .llama3(longestNumber: 1), .llama3(longestNumber: 1, joinsMarks: true),
    ]

    /// The pattern for a regular expression as tokenizer files spell it; nil for an unknown one.
    init?(expression: String) {
        guard let pattern = Self.known.first(where: { $0.expression.utf8.elementsEqual(expression.utf8) }) else {
            return nil
        }
        self = pattern
    }

    /// The regular expression as tokenizer files spell it.
    var expression: String {
        switch self {
        case .gpt2:
            return #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
        case .llama3(let longestNumber, let joinsMarks):
            let letters = joinsMarks ? #"[\p{L}\p{M}]+"# : #"\p{L}+"#
            let numbers = longestNumber == 1 ? #"\p{N}"# : #"\p{N}{1,\#(longestNumber)}"#
            let others = joinsMarks ? #"[^\s\p{L}\p{M}\p{N}]+"# : #"[^\s\p{L}\p{N}]+"#
            return #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?"# + letters + "|" + numbers + "| ?" + others
                + #"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
        }
    }

    /// The end of the word that begins at `start`; the patterns match at every place, so words leave no gaps.
    /// `end` counts as the end of the text. `start < end`.
    func wordEnd(in bytes: [UInt8], from start: Int, to end: Int) -> Int {
        switch self {
        case .gpt2: Self.gpt2WordEnd(bytes, start, end)
        case .llama3(let longestNumber, let joinsMarks):
            Self.llama3WordEnd(bytes, start, end, longestNumber: longestNumber, joinsMarks: joinsMarks)
        }
    }

    private static func gpt2WordEnd(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Int {
        if let contraction = contractionEnd(bytes, start, end, anyCase: false) { return contraction }
        // ` ?` before a run of letters, numbers or other characters.
        var body = start
        if bytes[start] == UInt8(ascii: " "), start + 1 < end { body = start + 1 }
        let (kind, length) = ScalarClass.read(bytes, at: body)
        switch kind {
        case .letter, .number, .other: return runEnd(of: kind, bytes, body + length, end)
        case .space, .lineBreak: return spaceEnd(bytes, start, end)
        }
    }

    private static func llama3WordEnd(
        _ bytes: [UInt8], _ start: Int, _ end: Int, longestNumber: Int, joinsMarks: Bool
    ) -> Int {
        if let contraction = contractionEnd(bytes, start, end, anyCase: true) { return contraction }
        let (kind, length) = ScalarClass.read(bytes, at: start, joinsMarks: joinsMarks)
        let second = start + length
        switch kind {
        case .letter:
            return runEnd(of: .letter, bytes, second, end, joinsMarks: joinsMarks)
        case .number:
            var stop = second
            for _ in 1..<max(longestNumber, 1) where stop < end {
                let (next, length) = ScalarClass.read(bytes, at: stop)
                guard next == .number else { break }
                stop += length
            }
            return stop
        case .other, .space:
            if second < end {
                let (next, nextLength) = ScalarClass.read(bytes, at: second, joinsMarks: joinsMarks)
                if next == .letter {
                    return runEnd(of: .letter, bytes, second + nextLength, end, joinsMarks: joinsMarks)
                }
                if bytes[start] == UInt8(ascii: " "), next == .other {
                    let run = runEnd(of: .other, bytes, second + nextLength, end, joinsMarks: joinsMarks)
                    return lineBreaksEnd(bytes, run, end)
                }
            }
            if kind == .other {
                return lineBreaksEnd(bytes, runEnd(of: .other, bytes, second, end, joinsMarks: joinsMarks), end)
            }
            return llama3SpaceEnd(bytes, start, end)
        case .lineBreak:
            return llama3SpaceEnd(bytes, start, end)
        }
    }

    /// The end of `'s|'t|'re|'ve|'m|'ll|'d` at `start`; nil where none stands there. Ignoring case, "ſ" (U+017F) is an
    /// "s" too, as simple case folding has it.
    private static func contractionEnd(_ bytes: [UInt8], _ start: Int, _ end: Int, anyCase: Bool) -> Int? {
        guard bytes[start] == UInt8(ascii: "'"), start + 1 < end else { return nil }
        let lowered: UInt8 = anyCase ? 0x20 : 0
        func letter(_ index: Int) -> UInt8 {
            guard index < end else { return 0 }
            let byte = bytes[index]
            return (0x41...0x5A).contains(byte) ? byte | lowered : byte
        }
        switch (letter(start + 1), letter(start + 2)) {
        case (UInt8(ascii: "s"), _), (UInt8(ascii: "t"), _), (UInt8(ascii: "m"), _), (UInt8(ascii: "d"), _):
            return start + 2
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
            (UInt8(ascii: "l"), UInt8(ascii: "l")):
            return start + 3
        case (0xC5, 0xBF) where anyCase:
            return start + 3
        default:
            return nil
        }
    }

    private static func runEnd(
        of kind: ScalarClass, _ bytes: [UInt8], _ start: Int, _ end: Int, joinsMarks: Bool = false
    ) -> Int {
        var index = start
        while index < end {
            let (next, length) = ScalarClass.read(bytes, at: index, joinsMarks: joinsMarks)
            if next != kind { break }
            index += length
        }
        return index
    }

    private static func lineBreaksEnd(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Int {
        runEnd(of: .lineBreak, bytes, start, end)
    }

    /// `\s+(?!\S)|\s+`: a run of white space but for its last character, which goes to the next word, unless the run
    /// ends the text or is that character alone.
    private static func spaceEnd(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Int {
        var index = start
        var last = start
        while index < end {
            let (next, length) = ScalarClass.read(bytes, at: index)
            if next != .space && next != .lineBreak { break }
            last = index
            index += length
        }
        return index == end || last == start ? index : last
    }

    /// `\s*[\r\n]+` before the former: a run of white space up to its last line break, if it has one.
    private static func llama3SpaceEnd(_ bytes: [UInt8], _ start: Int, _ end: Int) -> Int {
        var index = start
        var afterBreak: Int?
        while index < end {
            let (next, length) = ScalarClass.read(bytes, at: index)
            if next != .space && next != .lineBreak { break }
            index += length
            if next == .lineBreak { afterBreak = index }
        }
        return afterBreak ?? spaceEnd(bytes, start, end)
    }
}
