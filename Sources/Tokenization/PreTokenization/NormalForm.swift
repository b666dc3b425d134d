// The normal forms of the standard library, which has them for comparing strings; Foundation would have them too, but
// costs a start of several milliseconds.
@_spi(_Unicode) import Swift

/// Unicode's normal forms (UAX 15): how characters and the marks on them are spelled, "é" as one character or as "e"
/// and an accent.
enum NormalForm: String, Sendable, Equatable {
    case composed = "NFC"
    case decomposed = "NFD"
    case compatibilityComposed = "NFKC"
    case compatibilityDecomposed = "NFKD"

    /// The Unicode version of the tables in Hugging Face's `tokenizers` (its crate `unicode-normalization-alignments`).
    /// Later characters stay as they are there, and keep what stands around them apart.
    static let unicodeVersion = 9
    /// Characters below compose with nothing before them.
    private static let firstMark: UInt32 = 0x300

    /// The lead byte of the first character that a form may change; no character below has it or a higher one.
    private var leadOfFirstChange: UInt8 {
        switch self {
        case .composed: 0xCC
        case .decomposed: 0xC3
        case .compatibilityComposed, .compatibilityDecomposed: 0xC2
        }
    }

    private var composes: Bool { self == .composed || self == .compatibilityComposed }

    /// The text in this form. What a character was made of is where it stands in the source: its last byte at the last,
    /// the others at the first.
    func apply(to text: TrackedText) -> TrackedText {
        let lead = leadOfFirstChange
        guard text.bytes.contains(where: { $0 >= lead }) else { return text }
        var text = text
        if self == .compatibilityComposed || self == .compatibilityDecomposed {
            text = Self.decomposed.canonical(text).rewriting { scalar, bytes, rewritten in
                if scalar.value >= 0xA0, !Self.isTooNew(scalar),
                    let plain = CompatibilityDecomposition.texts[scalar.value]
                {
                    rewritten.append(contentsOf: plain)
                } else {
                    rewritten.append(contentsOf: bytes)
                }
            }
        }
        return canonical(text)
    }

    private func canonical(_ text: TrackedText) -> TrackedText {
        if composes, Self.isComposed(text.bytes[...]) { return text }
        var changed = text.emptied()
        for stretch in Self.independentStretches(of: text.bytes) {
            let isUnchanged =
                composes
                ? Self.isComposed(text.bytes[stretch]) : !text.bytes[stretch].contains { $0 >= 0xC3 }
            if isUnchanged || Self.isTooNew(UTF8Scalar.scalar(in: text.bytes, at: stretch.lowerBound).scalar) {
                changed.append(stretch, of: text)
            } else {
                append(stretch, of: text, to: &changed)
            }
        }
        return changed
    }

    /// Whether a text is seen to be composed already without composing it.
    private static func isComposed(_ bytes: ArraySlice<UInt8>) -> Bool {
        let text = String(decoding: bytes, as: UTF8.self)
        var span = text.utf8Span
        return span.checkForNFC(quickCheck: true)
    }

    private static func isTooNew(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value >= firstMark && (scalar.properties.age?.major ?? .max) > unicodeVersion
    }

    /// The text cut where nothing composes or changes its place across: before characters below `firstMark`, and around
    /// those that are too new.
    private static func independentStretches(of bytes: [UInt8]) -> [Range<Int>] {
        var stretches: [Range<Int>] = []
        var start = 0
        var index = 0
        func cut(at place: Int) {
            if start < place { stretches.append(start..<place) }
            start = place
        }
        while index < bytes.count {
            let (scalar, length) = UTF8Scalar.scalar(in: bytes, at: index)
            if scalar.value < firstMark {
                // Of a run of ASCII only the last may compose with what follows.
                if index == start || bytes[index] >= 0x80 || bytes[index - 1] >= 0x80
                    || (index + 1 < bytes.count && bytes[index + 1] >= 0x80)
                {
                    cut(at: index)
                }
            } else if isTooNew(scalar) {
                cut(at: index)
                cut(at: index + length)
            }
            index += length
        }
        cut(at: bytes.count)
        return stretches
    }

    /// Adds a stretch in this form. What the reader takes for one character holds all that composes (UAX 29).
    private func append(_ stretch: Range<Int>, of text: TrackedText, to changed: inout TrackedText) {
        var start = stretch.lowerBound
        for character in String(decoding: text.bytes[stretch], as: UTF8.self) {
            let end = start + character.utf8.count
            let bytes = bytes(of: character)
            if text.bytes[start..<end].elementsEqual(bytes) {
                changed.append(start..<end, of: text)
            } else {
                changed.append(Array(bytes.dropLast()), origin: text.origin(of: start))
                changed.append(Array(bytes.suffix(1)), origin: text.origin(of: end - 1))
            }
            start = end
        }
    }

    private func bytes(of character: Character) -> [UInt8] {
        var text = String(character)
        if text.unicodeScalars.contains(where: { ("\u{F73}"..."\u{F81}").contains($0) }) {
            text = String(String.UnicodeScalarView(text.unicodeScalars.flatMap(Self.takenApart)))
        }
        return composes
            ? text._nfc.flatMap { UTF8.encode($0).map(Array.init) ?? [] }
            : text._nfd.flatMap { UTF8.encode($0).map(Array.init) ?? [] }
    }

    /// The only characters that count as a beginning and decompose into marks. The standard library does not put these
    /// in order with marks before them.
    private static func takenApart(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
        switch scalar {
        case "\u{F73}": ["\u{F71}", "\u{F72}"]
        case "\u{F75}": ["\u{F71}", "\u{F74}"]
        case "\u{F81}": ["\u{F71}", "\u{F80}"]
        default: [scalar]
        }
    }
}
