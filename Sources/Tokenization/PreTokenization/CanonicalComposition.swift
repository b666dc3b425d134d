// The normal forms of the standard library, which has them for comparing strings; Foundation would have them too, but
// costs a start of several milliseconds.
@_spi(_Unicode) import Swift

/// Unicode's normalization form C (UAX 15): characters and the marks on them in their composed spelling, "e" with an
/// acute accent as "é".
enum CanonicalComposition {
    /// The Unicode version of the tables in Hugging Face's `tokenizers` (its crate `unicode-normalization-alignments`).
    /// Later characters stay as they are there, and keep what stands around them apart.
    private static let unicodeVersion = 9
    /// Characters below compose with nothing before them.
    private static let firstMark: UInt32 = 0x300
    /// No character below `firstMark` has this byte or a higher one.
    private static let leadOfFirstMark: UInt8 = 0xCC

    /// The text in normalization form C. What a character was composed of is where it stands in the source: its last
    /// byte at the last, the others at the first.
    static func composed(_ text: TrackedText) -> TrackedText {
        guard text.bytes.contains(where: { $0 >= leadOfFirstMark }), !isComposed(text.bytes[...]) else { return text }
        var composed = text.emptied()
        for stretch in independentStretches(of: text.bytes) {
            if isComposed(text.bytes[stretch]) {
                composed.append(stretch, of: text)
            } else {
                append(stretch, of: text, to: &composed)
            }
        }
        return composed
    }

    /// Whether a text is seen to be composed already without composing it.
    private static func isComposed(_ bytes: ArraySlice<UInt8>) -> Bool {
        let text = String(decoding: bytes, as: UTF8.self)
        var span = text.utf8Span
        return span.checkForNFC(quickCheck: true)
    }

    /// The text cut where nothing composes across: before characters below `firstMark`, and around those that are too
    /// new.
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
                cut(at: index)
            } else if (scalar.properties.age?.major ?? .max) > unicodeVersion {
                cut(at: index)
                cut(at: index + length)
            }
            index += length
        }
        cut(at: bytes.count)
        return stretches
    }

    /// Adds a stretch composed. What the reader takes for one character holds all that composes (UAX 29).
    private static func append(_ stretch: Range<Int>, of text: TrackedText, to composed: inout TrackedText) {
        var start = stretch.lowerBound
        for character in String(decoding: text.bytes[stretch], as: UTF8.self) {
            let end = start + character.utf8.count
            let bytes = composedBytes(of: character)
            if text.bytes[start..<end].elementsEqual(bytes) {
                composed.append(start..<end, of: text)
            } else {
                composed.append(Array(bytes.dropLast()), origin: text.origin(of: start))
                composed.append(Array(bytes.suffix(1)), origin: text.origin(of: end - 1))
            }
            start = end
        }
    }

    private static func composedBytes(of character: Character) -> [UInt8] {
        var text = String(character)
        if text.unicodeScalars.contains(where: { ("\u{F73}"..."\u{F81}").contains($0) }) {
            text = String(String.UnicodeScalarView(text.unicodeScalars.flatMap(takenApart)))
        }
        return text._nfc.flatMap { UTF8.encode($0).map(Array.init) ?? [] }
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
