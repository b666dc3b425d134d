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
