/// What a character is to BERT's words.
enum BertCharacter: UInt8, Sendable {
    case letter
    case space
    case punctuation

    private static let ascii: [BertCharacter] = (UInt8(0)..<0x80).map { kind(of: Unicode.Scalar($0)) }

    /// The kind of the character at `index` of valid UTF-8, and its length in bytes.
    @inline(__always)
    static func read(_ bytes: [UInt8], at index: Int) -> (kind: BertCharacter, length: Int) {
        let byte = bytes[index]
        if byte < 0x80 { return (ascii[Int(byte)], 1) }
        let (scalar, length) = UTF8Scalar.scalar(in: bytes, at: index)
        return (kind(of: scalar), length)
    }

    private static func kind(of scalar: Unicode.Scalar) -> BertCharacter {
        if scalar.properties.isWhitespace { return .space }
        return OlderCategories.isPunctuation(scalar) ? .punctuation : .letter
    }
}
