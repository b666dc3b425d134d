/// A token that is found in the text as it stands, before anything is cut or merged.
struct AddedToken: Sendable, Equatable {
    var id: Int32
    /// In UTF-8; not empty.
    var content: [UInt8]
    /// Left out of decoded text on request.
    var isSpecial: Bool
    /// Matches only where no letter, digit or underscore touches it.
    var isSingleWord: Bool = false
    /// Takes the white space before it.
    var stripsLeft: Bool = false
    /// Takes the white space after it.
    var stripsRight: Bool = false
    /// Is looked for in the normalized text, itself normalized.
    var isNormalized: Bool = false
}

/// Finds added tokens in text: leftmost first, the longest where several begin.
struct AddedTokenMatcher: Sendable {
    /// By first byte, the longest pattern first.
    private var candidates: [[(pattern: [UInt8], token: AddedToken)]] = Array(repeating: [], count: 256)
    private(set) var isEmpty = true

    /// Looks for the given patterns, none of which is empty.
    init(_ patterns: [(pattern: [UInt8], token: AddedToken)]) {
        for entry in patterns {
            candidates[Int(entry.pattern[0])].append(entry)
            isEmpty = false
        }
        for index in candidates.indices { candidates[index].sort { $0.pattern.count > $1.pattern.count } }
    }

    /// A stretch of a text: an added token, or plain text where `token` is nil.
    struct Stretch {
        let range: Range<Int>
        let token: Int32?
    }

    /// Cuts `bytes` at the added tokens in it; no stretch of plain text is empty.
    func stretches(in bytes: [UInt8]) -> [Stretch] {
        if isEmpty { return bytes.isEmpty ? [] : [Stretch(range: 0..<bytes.count, token: nil)] }
        var stretches: [Stretch] = []
        var done = 0
        var index = 0
        while index < bytes.count {
            guard let match = candidates[Int(bytes[index])].first(where: { bytes.hasBytes($0.pattern, at: index) })
            else {
                index += 1
                continue
            }
            var range = index..<index + match.pattern.count
            index = range.upperBound
            if match.token.isSingleWord, Self.touchesWord(range, in: bytes) { continue }
            if match.token.stripsLeft {
                // Space that the token before has taken stays with it.
                let start = max(Self.spaceStart(before: range, in: bytes), done)
                range = min(start, range.upperBound)..<range.upperBound
            }
            if match.token.stripsRight { range = range.lowerBound..<Self.spaceEnd(after: range, in: bytes) }
            if done < range.lowerBound { stretches.append(Stretch(range: done..<range.lowerBound, token: nil)) }
            stretches.append(Stretch(range: range, token: match.token.id))
            done = range.upperBound
        }
        if done < bytes.count { stretches.append(Stretch(range: done..<bytes.count, token: nil)) }
        return stretches
    }

    private static func touchesWord(_ range: Range<Int>, in bytes: [UInt8]) -> Bool {
        if range.lowerBound > 0, UTF8Scalar.scalar(in: bytes, before: range.lowerBound).isWordCharacter { return true }
        return range.upperBound < bytes.count
            && UTF8Scalar.scalar(in: bytes, at: range.upperBound).scalar.isWordCharacter
    }

    private static func spaceStart(before range: Range<Int>, in bytes: [UInt8]) -> Int {
        var start = range.lowerBound
        while start > 0 {
            let scalar = UTF8Scalar.scalar(in: bytes, before: start)
            guard scalar.properties.isWhitespace else { break }
            start -= UTF8.width(scalar)
        }
        return start
    }

    private static func spaceEnd(after range: Range<Int>, in bytes: [UInt8]) -> Int {
        var end = range.upperBound
        while end < bytes.count {
            let (scalar, length) = UTF8Scalar.scalar(in: bytes, at: end)
            guard scalar.properties.isWhitespace else { break }
            end += length
        }
        return end
    }
}

extension Unicode.Scalar {
    /// The Unicode version of the expressions in `tokenizers` (its crate `regex`).
    private static let wordVersion = 16

    /// `\w` of Unicode's regular expressions (UTS 18, annex C).
    var isWordCharacter: Bool {
        if isASCII {
            return value == 0x5F || (0x30...0x39).contains(value) || (0x41...0x5A).contains(value & ~0x20)
        }
        guard (properties.age?.major ?? .max) <= Self.wordVersion else { return false }
        switch properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
        default: return properties.isAlphabetic || properties.isJoinControl
        }
    }
}
