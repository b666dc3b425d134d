/// UTF-8 on its way through normalizers and pre-tokenizers, with the place in the source text of each byte.
struct TrackedText: Sendable {
    private(set) var bytes: [UInt8]
    /// For each byte its place in the source; nil while the text still is the source from `offset` on, or always where
    /// nobody asked for places.
    private var origins: [Int]?
    private let offset: Int
    private let isTracked: Bool

    /// A text that begins at byte `offset` of the source; its places are known later only if `isTracked`.
    init(bytes: [UInt8], offset: Int, isTracked: Bool) {
        self.bytes = bytes
        self.offset = offset
        self.isTracked = isTracked
        origins = nil
    }

    /// No text yet; `append` builds it.
    private init(capacity: Int, offset: Int, isTracked: Bool) {
        bytes = []
        bytes.reserveCapacity(capacity)
        origins = isTracked ? [] : nil
        self.offset = offset
        self.isTracked = isTracked
    }

    /// The place in the source of byte `index`.
    func origin(of index: Int) -> Int {
        guard let origins else { return offset + index }
        return index < origins.count ? origins[index] : (origins.last ?? offset)
    }

    /// An empty text to rebuild this one into.
    func emptied() -> TrackedText { TrackedText(capacity: bytes.count + 8, offset: offset, isTracked: isTracked) }

    /// Adds bytes that all come from one place of the source.
    mutating func append(_ added: [UInt8], origin: Int) {
        bytes.append(contentsOf: added)
        origins?.append(contentsOf: repeatElement(origin, count: added.count))
    }

    /// Adds a stretch of another state of the same text.
    mutating func append(_ range: Range<Int>, of other: TrackedText) {
        bytes.append(contentsOf: other.bytes[range])
        if origins != nil { for index in range { origins!.append(other.origin(of: index)) } }
    }

    /// A copy of a stretch of this text.
    func copy(_ range: Range<Int>) -> TrackedText {
        if origins == nil {
            return TrackedText(bytes: Array(bytes[range]), offset: offset + range.lowerBound, isTracked: isTracked)
        }
        var copy = emptied()
        copy.append(range, of: self)
        return copy
    }

    /// The text with every `old` replaced by `new`; `old` is not empty.
    func replacing(_ old: [UInt8], with new: [UInt8]) -> TrackedText {
        var replaced = emptied()
        var kept = 0
        while let match = bytes.firstOccurrence(of: old, in: kept..<bytes.count) {
            replaced.append(kept..<match.lowerBound, of: self)
            replaced.append(new, origin: origin(of: match.lowerBound))
            kept = match.upperBound
        }
        if kept == 0 { return self }
        replaced.append(kept..<bytes.count, of: self)
        return replaced
    }

    /// The text rewritten character by character: `change` appends what a character, given in UTF-8 too, becomes.
    @inline(__always)
    func rewriting(
        _ change: (_ scalar: Unicode.Scalar, _ bytes: ArraySlice<UInt8>, _ rewritten: inout [UInt8]) -> Void
    ) -> TrackedText {
        var rewritten = emptied()
        var index = 0
        while index < bytes.count {
            let (scalar, length) = UTF8Scalar.scalar(in: bytes, at: index)
            change(scalar, bytes[index..<index + length], &rewritten.bytes)
            if isTracked {
                let known = rewritten.origins?.count ?? 0
                for place in known..<rewritten.bytes.count {
                    let isLast = place == rewritten.bytes.count - 1
                    rewritten.origins?.append(origin(of: isLast ? index + length - 1 : index))
                }
            }
            index += length
        }
        return rewritten
    }

    /// The text with each byte replaced by `table`'s for it, and those left out that it has none for; all bytes are
    /// ASCII.
    func mappingASCII(_ table: [UInt8?]) -> TrackedText {
        var mapped = emptied()
        for index in bytes.indices {
            guard let byte = table[Int(bytes[index])] else { continue }
            mapped.bytes.append(byte)
            if isTracked { mapped.origins?.append(origin(of: index)) }
        }
        return mapped
    }

    /// The characters in a stretch.
    func scalarCount(_ range: Range<Int>) -> Int { range.count { bytes[$0] & 0xC0 != 0x80 } }

    /// The text with `prefix` before it.
    func prepending(_ prefix: [UInt8]) -> TrackedText {
        var longer = emptied()
        longer.append(prefix, origin: origin(of: 0))
        longer.append(0..<bytes.count, of: self)
        return longer
    }
}

extension [UInt8] {
    /// The first place of `pattern`, which is not empty, in a stretch of the array.
    func firstOccurrence(of pattern: [UInt8], in range: Range<Int>) -> Range<Int>? {
        var start = range.lowerBound
        while start + pattern.count <= range.upperBound {
            if self[start] == pattern[0], hasBytes(pattern, at: start) { return start..<start + pattern.count }
            start += 1
        }
        return nil
    }

    /// Whether `pattern` stands at `start`.
    func hasBytes(_ pattern: [UInt8], at start: Int) -> Bool {
        guard start + pattern.count <= count else { return false }
        for index in pattern.indices where self[start + index] != pattern[index] { return false }
        return true
    }
}
