/// What BERT does to a text first: control characters go, white space becomes spaces, Chinese characters stand alone,
/// accents and capitals go.
struct BertNormalization: Sendable, Equatable {
    /// Leaves out control characters and makes white space spaces.
    var cleans: Bool
    /// Puts spaces around Chinese characters.
    var separatesChinese: Bool
    /// Leaves out the marks of decomposed characters.
    var stripsAccents: Bool
    var lowercases: Bool

    /// The text after these steps.
    func apply(to text: TrackedText) -> TrackedText {
        if text.isASCII { return asciiApplied(to: text) }
        var text = cleans || separatesChinese ? cleaned(text) : text
        if stripsAccents {
            text = NormalForm.decomposed.apply(to: text)
            if text.bytes.contains(where: { $0 >= Self.leadOfFirstMark }) {
                text = text.rewriting { scalar, bytes, rewritten in
                    if !OlderCategories.isNonspacingMark(scalar) { rewritten.append(contentsOf: bytes) }
                }
            }
        }
        return lowercases ? Normalizer.lowercased(text) : text
    }

    /// The lead byte of U+0300; no character below it, none of which is a mark, has a higher one.
    private static let leadOfFirstMark: UInt8 = 0xCC

    private func asciiApplied(to text: TrackedText) -> TrackedText {
        guard cleans || lowercases else { return text }
        return text.mappingASCII(
            (UInt8(0)..<0x80).map { byte in
                if lowercases, (0x41...0x5A).contains(byte) { return byte | 0x20 }
                guard cleans else { return byte }
                switch byte {
                case 0x09, 0x0A, 0x0D: return UInt8(ascii: " ")
                case 0x00...0x1F, 0x7F: return nil
                default: return byte
                }
            })
    }

    private func cleaned(_ text: TrackedText) -> TrackedText {
        let space = UInt8(ascii: " ")
        return text.rewriting { scalar, bytes, rewritten in
            if cleans {
                switch scalar.value {
                case 0x20...0x7E: break
                case 0x09, 0x0A, 0x0D:
                    rewritten.append(space)
                    return
                case 0, 0xFFFD: return
                default:
                    if OlderCategories.isOther(scalar) { return }
                    if scalar.properties.isWhitespace {
                        rewritten.append(space)
                        return
                    }
                }
            }
            let standsAlone = separatesChinese && Self.isChinese(scalar)
            if standsAlone { rewritten.append(space) }
            rewritten.append(contentsOf: bytes)
            if standsAlone { rewritten.append(space) }
        }
    }

    /// The blocks of Chinese characters that BERT lists, the extensions after E not among them.
    private static func isChinese(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
            0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
            true
        default: false
        }
    }
}
