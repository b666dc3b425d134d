import CheckpointIO
import TensorCore
import Threads

/// What identifies a base checkpoint: names, shapes, types and a sample of the bytes of all its tensors. It is made to
/// catch mistakes (another model, a merged model), not forgery.
package struct BaseFingerprint: Sendable, Equatable {
    /// One tensor's share.
    package struct Entry: Sendable, Equatable {
        /// Hugging Face's name.
        package let name: String
        /// Extents, row-major.
        package let shape: [Int]
        /// `BF16`, `Q4_0` and so on.
        package let encoding: String
        /// FNV-1a, 64 bits, of the sampled bytes, as 16 hexadecimal digits.
        package let hash: String
    }

    /// The model's tensors in the order of their names, so that the way they are spread over shards does not matter.
    package let entries: [Entry]
    /// FNV-1a, 64 bits, over all entries, as 16 hexadecimal digits.
    package let digest: String
    /// Names of the tensors that the other kind of checkpoint holds in another order or form, where a checkpoint at hand
    /// tells; no part of what identifies it.
    let reformed: NameSet
    /// Digests of the checkpoints that the one at hand says it was converted from; no part of what identifies it.
    package let sources: [String]

    /// Pieces and bytes of each that are sampled of a tensor, evenly spread from its first byte to its last.
    private static let pieceCount = 64
    private static let pieceSize = 64

    init(entries: [Entry], reformed: NameSet = [], sources: [String] = []) {
        self.reformed = reformed
        self.sources = sources
        let sorted = entries.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        self.entries = sorted
        var hash = FNVHash()
        for entry in sorted {
            hash.add("\(entry.name)\u{0}\(entry.shape)\u{0}\(entry.encoding)\u{0}\(entry.hash)\u{0}")
        }
        digest = hash.text
    }

    package static func == (left: BaseFingerprint, right: BaseFingerprint) -> Bool {
        left.digest == right.digest && left.entries == right.entries
    }

    /// The hash of a sample of a tensor's bytes; `read` lends a range of them.
    static func sampleHash(
        byteCount: Int, read: (_ range: Range<Int>, _ body: (UnsafeRawBufferPointer) -> Void) throws -> Void
    ) rethrows -> String {
        var hash = FNVHash()
        for piece in pieces(byteCount: byteCount) { try read(piece) { hash.add($0) } }
        return hash.text
    }

    /// The same for two tensors of one size, whose bytes are these.
    static func sampleHashes(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> [String] {
        var (first, second) = (FNVHash(), FNVHash())
        for piece in pieces(byteCount: left.count) {
            FNVHash.add(
                UnsafeRawBufferPointer(rebasing: left[piece]), to: &first,
                and: UnsafeRawBufferPointer(rebasing: right[piece]), to: &second)
        }
        return [first.text, second.text]
    }

    /// The ranges of a tensor's bytes that are sampled.
    private static func pieces(byteCount: Int) -> [Range<Int>] {
        guard byteCount > pieceCount * pieceSize else { return [0..<byteCount] }
        // last * piece / (pieceCount - 1), without a product that could overflow.
        let (step, rest) = (byteCount - pieceSize).quotientAndRemainder(dividingBy: pieceCount - 1)
        return (0..<pieceCount).map { piece in
            let start = step * piece + rest * piece / (pieceCount - 1)
            return start..<start + pieceSize
        }
    }

    /// In one sentence how `other`, the checkpoint at hand, differs from this one, the one recorded; nil if it does
    /// not.
    package func difference(from other: BaseFingerprint) -> String? {
        if self == other || isSource(of: other) { return nil }
        let found = NameTable(other.entries.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let names = NameSet(entries.map(\.name))
        if let missing = entries.first(where: { found[$0.name] == nil }) {
            return "it has no tensor '\(missing.name)'"
        }
        if let extra = other.entries.first(where: { !names.contains($0.name) }) {
            return "it has a tensor '\(extra.name)' that the recorded base has not"
        }
        for entry in entries {
            let there = found[entry.name]!
            if entry.shape != there.shape {
                return "tensor '\(entry.name)' has the shape \(there.shape), in the recorded base \(entry.shape)"
            }
        }
        for entry in entries {
            let there = found[entry.name]!
            if entry.encoding != there.encoding {
                return
                    "tensor '\(entry.name)' is stored as \(there.encoding), in the recorded base as \(entry.encoding)"
                    + Self.remedyIfConverted
            }
        }
        let changed = entries.filter { found[$0.name]!.hash != $0.hash }
        let difference =
            "\(changed.count) of \(entries.count) tensors have other values, '\(changed.first?.name ?? "")' for one"
        guard changed.allSatisfy({ other.reformed.contains($0.name) }) else { return difference }
        return difference + ", and they are those that GGUF files hold in another order or form than Hugging Face's"
            + Self.remedyIfConverted
    }

    private static let remedyIfConverted =
        "; if this is that base converted by another program, use the adapter with the original and convert the result, or "
        + "convert the original with tspeft, whose GGUF files say what they were made of"
}

extension BaseFingerprint {
    /// The JSON form: `{"digest": ..., "tensors": [{"name", "shape", "encoding", "hash"}, ...]}`.
    package var json: JSONValue {
        let tensors = entries.map { entry in
            JSONValue.object([
                "name": .string(entry.name),
                "shape": .array(entry.shape.map(JSONValue.integer)),
                "encoding": .string(entry.encoding),
                "hash": .string(entry.hash),
            ])
        }
        return .object(["digest": .string(digest), "tensors": .array(tensors)])
    }

    /// Reads the JSON form back; throws `ModelError.badFingerprint`, also where the digest does not fit the entries.
    package init(json: JSONValue) throws(ModelError) {
        guard let digest = json["digest"]?.stringValue, let tensors = json["tensors"]?.arrayValue else {
            throw .badFingerprint(problem: "it needs 'digest' and 'tensors'")
        }
        var entries: [Entry] = []
        for tensor in tensors {
            guard let name = tensor["name"]?.stringValue, let encoding = tensor["encoding"]?.stringValue,
                let hash = tensor["hash"]?.stringValue, let extents = tensor["shape"]?.arrayValue
            else { throw .badFingerprint(problem: "a tensor needs 'name', 'shape', 'encoding' and 'hash'") }
            let shape = extents.compactMap { $0.integer(in: .sizesOrNone) }
            guard shape.count == extents.count else {
                throw .badFingerprint(problem: "the shape of tensor '\(name)' is not a list of integers")
            }
            entries.append(Entry(name: name, shape: shape, encoding: encoding, hash: hash))
        }
        self.init(entries: entries)
        guard self.digest == digest else {
            throw .badFingerprint(problem: "its digest \(digest) does not fit its tensors (\(self.digest))")
        }
    }
}

extension ModelCheckpoint {
    /// What identifies this checkpoint; found once, on several threads. Reads a few kilobytes of each tensor, and leaves no
    /// pages of mapped files behind: touched in so many places, most of them would stay in memory. Throws what reading
    /// throws.
    package func fingerprint() throws -> BaseFingerprint {
        try fingerprintOnce {
            // A head that was asked for does not change what the base is.
            if isAskedForHead { return try ModelCheckpoint.open(checkpoint).fingerprint() }
            // What is packed is unpacked in the order of the file.
            let isPacked = checkpoint.mappings.contains(where: \.isPacked)
            let isGGUF = checkpoint.layout == .gguf
            let team = ThreadTeam(isPacked ? 1 : ThreadTeam.available)
            let entries = try team.map((tensorNames.count + 1) / 2, grain: Self.pairsOfAPart) { pair in
                let names = tensorNames[2 * pair..<min(tensorNames.count, 2 * pair + 2)]
                let records = names.map { record(of: $0)! }
                return zip(zip(names, records), try sampleHashes(of: records)).map { tensor, hash in
                    BaseFingerprint.Entry(
                        name: isGGUF ? tensor.0 : tensor.1.name, shape: tensor.1.shape,
                        encoding: tensor.1.encoding.description, hash: hash)
                }
            }.flatMap { $0 }
            for mapping in checkpoint.mappings { mapping.giveBackPages() }
            return BaseFingerprint(
                entries: entries,
                reformed: NameSet(specifications.all.lazy.filter(\.isReformedInGGUF).map(\.name)),
                sources: checkpoint.conversionSources)
        }
    }

    /// Pairs of tensors that a thread takes at a time.
    private static let pairsOfAPart = 16
    /// Bytes of a tensor up to which its sample is read through the mapping: the sample lies on most of its pages then, and
    /// mapping these costs less than a call for each piece.
    private static let mappedByteCount = 1 << 20

    /// The hashes of one tensor or two.
    private func sampleHashes(of records: [TensorRecord]) throws -> [String] {
        let files = records.map { checkpoint.mapping(of: $0) }
        guard records.count == 2, records[0].byteCount == records[1].byteCount,
            records[0].byteCount <= Self.mappedByteCount, !files.contains(where: \.isPacked)
        else { return try zip(records, files).map { try sampleHash(of: $0, in: $1) } }
        defer { for (record, file) in zip(records, files) { file.finish(record.byteRange) } }
        return try files[0].withBytes(in: records[0].byteRange) { left in
            try files[1].withBytes(in: records[1].byteRange) { right in BaseFingerprint.sampleHashes(left, right) }
        }
    }

    private func sampleHash(of record: TensorRecord, in file: MappedFile) throws -> String {
        if file.isPacked { return try sampleHash(ofPacked: record, in: file) }
        if record.byteCount <= Self.mappedByteCount {
            defer { file.finish(record.byteRange) }
            return try file.withBytes(in: record.byteRange) { bytes in
                BaseFingerprint.sampleHash(byteCount: record.byteCount) { range, body in
                    body(UnsafeRawBufferPointer(rebasing: bytes[range]))
                }
            }
        }
        var sample: [UInt8] = []
        return try BaseFingerprint.sampleHash(byteCount: record.byteCount) { range, body in
            if sample.count != range.count { sample = [UInt8](repeating: 0, count: range.count) }
            let start = record.offset + range.lowerBound
            try sample.withUnsafeMutableBytes { bytes in
                try file.read(start..<start + range.count, into: bytes)
                body(UnsafeRawBufferPointer(bytes))
            }
        }
    }

    /// A packed tensor is unpacked for this; it need not stay longer than the piece that is sampled.
    private func sampleHash(ofPacked record: TensorRecord, in file: MappedFile) throws -> String {
        var kept = record.offset
        defer { file.advise(kept..<record.byteRange.upperBound, willNeed: false) }
        return try BaseFingerprint.sampleHash(byteCount: record.byteCount) { range, body in
            let (start, end) = (record.offset + range.lowerBound, record.offset + range.upperBound)
            try file.withBytes(in: start..<end, body)
            // Pieces come in order and may overlap.
            if end > kept { file.advise(kept..<end, willNeed: false) }
            kept = max(kept, end)
        }
    }
}
