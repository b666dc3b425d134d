/// Collects the tokens of a text, and which part of the text each stands for if that was asked for.
struct TokenSink {
    /// Whether `sources` is filled.
    let tracksSources: Bool
    private(set) var ids: [Int32] = []
    /// For each token the bytes of the source text that it stands for; empty unless tracked.
    private(set) var sources: [Range<Int>] = []

    /// An empty sink.
    init(tracksSources: Bool = false) {
        self.tracksSources = tracksSources
    }

    /// Adds a token that stands for a stretch of `text`, which is not empty.
    mutating func append(_ id: Int32, for range: Range<Int>, of text: TrackedText) {
        ids.append(id)
        if tracksSources {
            sources.append(text.origin(of: range.lowerBound)..<text.origin(of: range.upperBound - 1) + 1)
        }
    }

    /// Adds a token that stands for a stretch of the source text.
    mutating func append(_ id: Int32, for source: Range<Int>) {
        ids.append(id)
        if tracksSources { sources.append(source) }
    }
}
