/// SentencePiece's table of what characters become (`precompiled_charsmap`): a double-array trie of UTF-8, whose leaves
/// say where in a block of texts, each ended by a zero, the replacement begins.
///
/// Applied as Hugging Face's `tokenizers` does: a cluster of less than six bytes that begins with an entry becomes the
/// shortest such entry's text, whatever else is in it; other clusters change character by character.
struct CharacterMap: Sendable, Equatable {
    /// The units of the trie, as darts-clone packs them.
    private let units: [UInt32]
    private let texts: [UInt8]
    /// What an ASCII character becomes; nil where it stays.
    private var asciiTexts: [[UInt8]?] = []

    /// Clusters of this many bytes or more change character by character.
    private static let longestCluster = 6

    /// Reads a table: the trie's length in bytes (32 bits, little-endian), the trie, the texts. Nil for what is none.
    init?(_ table: [UInt8]) {
        func word(_ index: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(table[index + $1]) << (8 * UInt32($1)) }
        }
        guard table.count >= 4 else { return nil }
        let length = Int(word(0))
        guard length > 0, length % 4 == 0, length <= table.count - 4 else { return nil }
        units = stride(from: 4, to: 4 + length, by: 4).map(word)
        texts = Array(table[(4 + length)...])
        guard String(validating: texts, as: UTF8.self) != nil else { return nil }
        let count = texts.count
        guard units.allSatisfy({ !Self.isValue($0) || Self.value(of: $0) < count }) else { return nil }
        asciiTexts = (UInt8(0)..<0x80).map { text(of: [$0]).map(Array.init) }
    }

    private static func isValue(_ unit: UInt32) -> Bool { unit >> 31 == 1 }
    private static func value(of unit: UInt32) -> Int { Int(unit & 0x7FFF_FFFF) }
    private static func offset(of unit: UInt32) -> Int { Int((unit >> 10) << ((unit & 1 << 9) >> 6)) }

    /// What a text becomes that begins with an entry; nil where it begins with none.
    private func text(of key: ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        var place = Self.offset(of: units[0])
        for byte in key {
            if byte == 0 { return nil }
            place ^= Int(byte)
            guard place < units.count else { return nil }
            let unit = units[place]
            guard unit & (1 << 31 | 0xFF) == UInt32(byte) else { return nil }
            place ^= Self.offset(of: unit)
            if unit >> 8 & 1 == 1 {
                guard place < units.count else { return nil }
                let start = Self.value(of: units[place])
                guard start < texts.count else { return nil }
                return texts[start...].prefix { $0 != 0 }
            }
        }
        return nil
    }

    /// The text after this step.
    func apply(to text: TrackedText) -> TrackedText {
        if text.isASCII, !text.bytes.contains(where: { asciiTexts[Int($0)] != nil }) { return text }
        var changed = text.emptied()
        for stretch in Self.stretches(of: text.bytes) {
            if stretch.isPlain {
                append(ascii: stretch.range, of: text, to: &changed)
                continue
            }
            var start = stretch.range.lowerBound
            for cluster in String(decoding: text.bytes[stretch.range], as: UTF8.self) {
                let end = start + cluster.utf8.count
                append(cluster: start..<end, of: text, to: &changed)
                start = end
            }
        }
        return changed
    }

    /// Stretches of ASCII in which every character is a cluster of its own, and the others.
    private static func stretches(of bytes: [UInt8]) -> [(range: Range<Int>, isPlain: Bool)] {
        var stretches: [(range: Range<Int>, isPlain: Bool)] = []
        var start = 0
        while start < bytes.count {
            var end = start
            while end < bytes.count, bytes[end] < 0x80, !(bytes[end] == 0x0D && end + 1 < bytes.count) { end += 1 }
            // The last goes with the marks that may follow.
            if end < bytes.count, end > start { end -= 1 }
            if end > start { stretches.append((start..<end, true)) }
            start = end
            if start == bytes.count { break }
            // Up to two of ASCII in a row, between which a cluster ends.
            end = start + 1
            while end < bytes.count {
                if bytes[end] < 0x80, bytes[end - 1] < 0x80, bytes[end] != 0x0A, bytes[end - 1] != 0x0D { break }
                end += 1
            }
            stretches.append((start..<end, false))
            start = end
        }
        return stretches
    }

    private func append(ascii range: Range<Int>, of text: TrackedText, to changed: inout TrackedText) {
        var kept = range.lowerBound
        for index in range {
            guard let new = asciiTexts[Int(text.bytes[index])] else { continue }
            changed.append(kept..<index, of: text)
            changed.append(new, origin: text.origin(of: index))
            kept = index + 1
        }
        changed.append(kept..<range.upperBound, of: text)
    }

    private func append(cluster: Range<Int>, of text: TrackedText, to changed: inout TrackedText) {
        if cluster.count < Self.longestCluster, let new = self.text(of: text.bytes[cluster]) {
            changed.append(Array(new), origin: text.origin(of: cluster.lowerBound))
            return
        }
        var start = cluster.lowerBound
        while start < cluster.upperBound {
            let end = min(start + UTF8Scalar.length(lead: text.bytes[start]), cluster.upperBound)
            if let new = self.text(of: text.bytes[start..<end]) {
                changed.append(Array(new), origin: text.origin(of: start))
            } else {
                changed.append(start..<end, of: text)
            }
            start = end
        }
    }
}
