/// One step that rewrites text before it is cut into words, by the names of `tokenizers`.
enum Normalizer: Sendable, Equatable {
    /// Puts `text` before a text that is not empty.
    case prepend([UInt8])
    /// Replaces every occurrence of one text, which is not empty, by another.
    case replace([UInt8], with: [UInt8])
    /// Replaces every match of an expression.
    case replaceMatches(TextExpression, with: [UInt8])
    /// One of Unicode's normal forms.
    case form(NormalForm)
    /// BERT's cleaning.
    case bert(BertNormalization)
    case lowercase
    /// Leaves out all marks.
    case stripAccents
    /// Takes white space off the ends.
    case strip(left: Bool, right: Bool)
    /// SentencePiece's table of characters.
    case characterMap(CharacterMap)
    /// What SentencePiece's rules for translation do first: control characters go, odd spaces become spaces.
    case translationSpaces

    /// Spells characters with marks in Unicode's composed form (NFC).
    static let composed = Normalizer.form(.composed)

    /// The text after this step.
    func apply(to text: TrackedText) -> TrackedText {
        switch self {
        case .prepend(let prefix): text.bytes.isEmpty ? text : text.prepending(prefix)
        case .replace(let old, let new): text.replacing(old, with: new)
        case .replaceMatches(let expression, let new): Self.replace(expression, with: new, in: text)
        case .form(let form): form.apply(to: text)
        case .bert(let rules): rules.apply(to: text)
        case .lowercase: Self.lowercased(text)
        case .stripAccents: Self.withoutMarks(text)
        case .strip(let left, let right): Self.stripped(text, left: left, right: right)
        case .characterMap(let map): map.apply(to: text)
        case .translationSpaces: Self.withPlainSpaces(text)
        }
    }

    private static func replace(_ expression: TextExpression, with new: [UInt8], in text: TrackedText) -> TrackedText {
        var replaced = text.emptied()
        var kept = 0
        for match in expression.matches(in: text.bytes, 0..<text.bytes.count) {
            replaced.append(kept..<match.lowerBound, of: text)
            if !match.isEmpty { replaced.append(new, origin: text.origin(of: match.lowerBound)) }
            kept = match.upperBound
        }
        replaced.append(kept..<text.bytes.count, of: text)
        return replaced
    }

    /// Each byte of ASCII in lower case.
    private static let lowercaseASCII: [UInt8?] = (UInt8(0)..<0x80).map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }

    /// Every character by its own lower case: no word's end makes another sigma.
    static func lowercased(_ text: TrackedText) -> TrackedText {
        if text.isASCII { return text.mappingASCII(lowercaseASCII) }
        return text.rewriting { scalar, bytes, rewritten in
            if scalar.isASCII {
                let byte = UInt8(truncatingIfNeeded: scalar.value)
                rewritten.append((0x41...0x5A).contains(byte) ? byte | 0x20 : byte)
            } else if scalar.properties.changesWhenLowercased {
                rewritten.append(contentsOf: scalar.properties.lowercaseMapping.utf8)
            } else {
                rewritten.append(contentsOf: bytes)
            }
        }
    }

    private static func withoutMarks(_ text: TrackedText) -> TrackedText {
        if text.isASCII { return text }
        return text.rewriting { scalar, bytes, rewritten in
            if !OlderCategories.isMark(scalar) { rewritten.append(contentsOf: bytes) }
        }
    }

    private static func stripped(_ text: TrackedText, left: Bool, right: Bool) -> TrackedText {
        var range = 0..<text.bytes.count
        while left, !range.isEmpty {
            let (scalar, length) = UTF8Scalar.scalar(in: text.bytes, at: range.lowerBound)
            guard scalar.properties.isWhitespace else { break }
            range = range.lowerBound + length..<range.upperBound
        }
        while right, !range.isEmpty {
            let scalar = UTF8Scalar.scalar(in: text.bytes, before: range.upperBound)
            guard scalar.properties.isWhitespace else { break }
            range = range.lowerBound..<range.upperBound - UTF8.width(scalar)
        }
        return range.count == text.bytes.count ? text : text.copy(range)
    }

    private static func withPlainSpaces(_ text: TrackedText) -> TrackedText {
        text.rewriting { scalar, bytes, rewritten in
            switch scalar.value {
            case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: break
            case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD:
                rewritten.append(UInt8(ascii: " "))
            default: rewritten.append(contentsOf: bytes)
            }
        }
    }
}

extension TrackedText {
    /// Whether every byte is ASCII.
    var isASCII: Bool { bytes.allSatisfy { $0 < 0x80 } }
}
