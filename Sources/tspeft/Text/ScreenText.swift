/// How text lies on a terminal: columns that it takes, and where it may be parted.
enum ScreenText {
    /// Columns that a text takes: two for what terminals show wide, none for marks on other letters. Where terminals
    /// differ (emoji of several characters), the larger number.
    static func width(_ text: some StringProtocol) -> Int {
        text.reduce(0) { $0 + width($1) }
    }

    private static func width(_ character: Character) -> Int {
        let scalars = character.unicodeScalars
        if scalars.count > 1, scalars.contains("\u{FE0F}") { return 2 }
        return scalars.reduce(0) { max($0, width($1)) }
    }

    private static func width(_ scalar: Unicode.Scalar) -> Int {
        if scalar.isASCII { return scalar.value < 0x20 || scalar.value == 0x7F ? 0 : 1 }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .control: return 0
        case .format: return scalar == "\u{AD}" ? 1 : 0
        default: return scalar.properties.isEmojiPresentation || wide.contains { $0.contains(scalar.value) } ? 2 : 1
        }
    }

    /// East Asian Wide and Fullwidth of Unicode 16's EastAsianWidth.txt, but for emoji, which have a property of their own;
    /// blocks whose unassigned characters are wide as a whole.
    private static let wide: [ClosedRange<UInt32>] = [
        0x1100...0x115F, 0x2329...0x232A, 0x2630...0x2637, 0x268A...0x268F, 0x2E80...0x303E, 0x3041...0x33FF,
        0x3400...0x4DBF, 0x4DC0...0x4DFF, 0x4E00...0xA4CF, 0xA960...0xA97C, 0xAC00...0xD7A3, 0xF900...0xFAFF,
        0xFE10...0xFE19, 0xFE30...0xFE6B, 0xFF01...0xFF60, 0xFFE0...0xFFE6, 0x16FE0...0x18CFF, 0x18D00...0x18DFF,
        0x1AFF0...0x1B2FF, 0x1D300...0x1D356, 0x1D360...0x1D376, 0x1F200...0x1F265, 0x20000...0x2FFFD,
        0x30000...0x3FFFD,
    ]

    /// The words of a text up to `columns`, the last one that does not fit left out, so that no number is cut; empty
    /// where not even the first fits.
    static func fitted(_ text: String, columns: Int) -> String {
        guard width(text) > columns else { return text }
        var (end, used) = (text.startIndex, 0)
        var fitting = text.startIndex
        while end < text.endIndex {
            used += width(text[end])
            if used > columns { break }
            let next = text.index(after: end)
            if next == text.endIndex || text[next].isWhitespace { fitting = next }
            end = next
        }
        var kept = text[..<fitting]
        while kept.last?.isWhitespace ?? false { kept.removeLast() }
        return String(kept)
    }

    /// The text in lines of at most `columns`, parted at spaces, all but the first behind `indent`. A word that is longer
    /// than a line, such as a path, stays whole.
    static func wrapped(_ text: String, columns: Int, indent: String = "  ") -> [String] {
        guard width(text) > columns else { return [text] }
        let words = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        return filled(words, columns: columns, rest: indent)
    }

    /// Words in lines of at most `columns`, the first behind `first`, the others behind `rest`; none ends with a space. A
    /// word that is too long for a line has one for itself.
    static func filled(_ words: [String], columns: Int, first: String = "", rest: String = "") -> [String] {
        var lines: [String] = []
        var line = first
        var isStart = true
        for word in words {
            if !isStart, width(line) + 1 + width(word) > columns {
                lines.append(withoutEnd(line))
                (line, isStart) = (rest, true)
            }
            line += (isStart ? "" : " ") + word
            // Spaces at a line's beginning are its indentation alone.
            isStart = isStart && word.isEmpty
        }
        return lines + [withoutEnd(line)]
    }

    private static func withoutEnd(_ line: String) -> String {
        String(line.reversed().drop { $0 == " " }.reversed())
    }
}

/// A line of progress in fields, the most important ones first, which shows as many of them as fit, each whole.
struct ProgressLine: Sendable {
    /// One thing to tell.
    struct Field: Sendable {
        /// How it is told where there is room.
        let text: String
        /// How it is told where there is little.
        let short: String

        init(_ text: String, short: String? = nil) {
            self.text = text
            self.short = short ?? text
        }
    }

    private static let gap = "  "

    private let fields: [Field]
    private let extras: [Field]

    /// - Parameters:
    ///   - fields: what is wanted, the most important first.
    ///   - extras: what is shown besides where all of that stands there in full.
    init(_ fields: [Field], extras: [Field] = []) {
        self.fields = fields
        self.extras = extras
    }

    /// The line for a width: as many fields as fit, as many of these in full as fit, and then extras.
    func text(columns: Int) -> String {
        var shown: [(text: String, full: String)] = []
        func width(_ texts: [String]) -> Int { ScreenText.width(texts.joined(separator: Self.gap)) }
        for field in fields where width(shown.map(\.text) + [field.short]) <= columns {
            shown.append((field.short, field.text))
        }
        for index in shown.indices {
            var longer = shown.map(\.text)
            longer[index] = shown[index].full
            if width(longer) <= columns { shown[index].text = shown[index].full }
        }
        let isWhole = shown.count == fields.count && shown.allSatisfy { $0.text == $0.full }
        for extra in isWhole ? extras : [] where width(shown.map(\.text) + [extra.text]) <= columns {
            shown.append((extra.text, extra.text))
        }
        return shown.map(\.text).joined(separator: Self.gap)
    }
}
