import CheckpointIO
import TensorCore

/// What a GGUF file was converted from: an adapter that was made for the original belongs to the file too.
extension BaseFingerprint {
    /// The key of GGUF metadata under which a conversion writes the digests of the checkpoints that came before, the
    /// oldest first, with blanks between them. A merge, by which another model comes about, leaves it out.
    package static let sourcesKey = "tspeft.converted_from"

    /// The value under `sourcesKey` of a file that is converted from this checkpoint.
    package var sourcesText: String { (sources + [digest]).joined(separator: " ") }

    /// Whether `other` says that it was converted from this checkpoint, and agrees with it in every tensor that it holds
    /// in the same type and form.
    func isSource(of other: BaseFingerprint) -> Bool {
        guard other.sources.contains(where: digest.hasSameBytes(as:)) else { return false }
        let found = NameTable(other.entries.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        return entries.allSatisfy { entry in
            guard let there = found[entry.name], there.encoding == entry.encoding, !other.reformed.contains(entry.name)
            else { return true }
            return there == entry
        }
    }
}

extension Checkpoint {
    /// The digests that a GGUF file lists of what it was converted from.
    var conversionSources: [String] {
        let text = metadata?[BaseFingerprint.sourcesKey]?.stringValue ?? ""
        return text.split(separator: " ").map(String.init)
    }
}

extension TensorSpecification {
    /// Whether GGUF files hold its numbers in another order, or others.
    var isReformedInGGUF: Bool { ggufRows.isPermuted || ggufColumns.isPermuted || ggufValues != .same }
}
