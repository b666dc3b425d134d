import CheckpointIO
import Threads

/// SHA-256 of each tensor of a checkpoint, and one of all that depends neither on their order nor on the files.
///
/// A tensor's digest is that of one line, `TYPE EXTENTS` and a line feed (such as `BF16 4096,1024`; no extents for a
/// scalar), followed by its bytes as stored. The digest of all is that of the list of `DIGEST  NAME` lines, each ended
/// by a line feed, sorted by the bytes of the names; as in the lists of sha256sum, a name with a backslash or a line
/// feed has them as `\\` and `\n`, and its line a backslash before it.
package struct TensorChecksums: Sendable, Equatable {
    /// The digests, 64 hexadecimal digits, in the order of the tensors given.
    package let digests: [String]
    /// The digest of all.
    package let total: String

    /// Reads every tensor once, several at a time; throws what reading throws.
    package init(_ records: [TensorRecord], of source: any TensorSource) throws {
        // The largest first, so that no thread is left alone with one at the end.
        let order = records.indices.sorted { (records[$1].byteCount, $0) < (records[$0].byteCount, $1) }
        digests = try ResultSlots.collect(records.count, "") { slots in
            try ThreadTeam.whole.takeItems(records.count) { item, _ in
                let record = records[order[item]]
                var hash = SHA256()
                hash.add(Self.heading(record))
                for begin in stride(from: 0, to: record.byteCount, by: Self.pieceSize) {
                    let range = begin..<min(begin + Self.pieceSize, record.byteCount)
                    try source.withBytes(range, of: record) { hash.add($0) }
                }
                slots.put(hash.finished(), at: order[item])
            }
        }
        total = Self.total(zip(records.map(\.name), digests).map { ($0, $1) })
    }

    private static let pieceSize = 4 << 20

    private static func heading(_ record: TensorRecord) -> String {
        "\(record.encoding) \(record.shape.map(String.init).joined(separator: ","))\n"
    }

    private static func total(_ digests: [(name: String, digest: String)]) -> String {
        var hash = SHA256()
        for (name, digest) in digests.sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
            hash.add(line(name, digest))
        }
        return hash.finished()
    }

    private static func line(_ name: String, _ digest: String) -> String {
        var escaped = ""
        for scalar in name.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return (escaped.unicodeScalars.count == name.unicodeScalars.count ? "" : "\\") + "\(digest)  \(escaped)\n"
    }
}
