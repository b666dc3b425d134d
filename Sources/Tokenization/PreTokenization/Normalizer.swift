/// One step that rewrites text before it is cut into words.
enum Normalizer: Sendable, Equatable {
    /// Puts `text` before a text that is not empty.
    case prepend([UInt8])
    /// Replaces every occurrence of one text, which is not empty, by another.
    case replace([UInt8], with: [UInt8])
    /// Spells characters with marks in Unicode's composed form (NFC).
    case composed

    /// The text after this step.
    func apply(to text: TrackedText) -> TrackedText {
        switch self {
        case .prepend(let prefix): text.bytes.isEmpty ? text : text.prepending(prefix)
        case .replace(let old, let new): text.replacing(old, with: new)
        case .composed: CanonicalComposition.composed(text)
        }
    }
}
