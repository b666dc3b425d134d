import Adapters
import CheckpointIO
import Glibc
import Transforms

/// What `inspect` is asked to say of single tensors.
package struct TensorRequest: Sendable, Equatable {
    /// A name, or a pattern that names match as a whole: `*` stands for any characters, `?` for one, `[...]` for one of
    /// a set. Nil is every tensor, where there is anything to say of them.
    package let pattern: String?
    /// Whether values are to be read and measured.
    package let statistics: Bool
    /// Whether bytes are to be read and hashed.
    package let checksums: Bool

    /// A request; see the properties.
    package init(pattern: String? = nil, statistics: Bool = false, checksums: Bool = false) {
        self.pattern = pattern
        self.statistics = statistics
        self.checksums = checksums
    }

    /// Whether anything is asked for.
    var wantsTable: Bool { pattern != nil || statistics || checksums }

    /// What messages call the tensors that are asked for.
    var words: String { pattern.map { "tensor '\($0)'" } ?? "a tensor" }

    /// The tensors that the pattern selects; throws `matchesNothing` where it selects none of `path`.
    func select(_ records: [TensorRecord], path: String) throws(WorkflowError) -> [TensorRecord] {
        guard let pattern else { return records }
        let chosen = records.filter { matches($0.name) }
        guard !chosen.isEmpty else {
            throw .matchesNothing(
                path: path, what: words, reason: nil, nearest: NearestNames.find(pattern, in: records.map(\.name)))
        }
        return chosen
    }

    /// Whether the pattern, if there is one, selects a name.
    func matches(_ name: String) -> Bool {
        guard let pattern else { return true }
        return name == pattern || fnmatch(pattern, name, 0) == 0
    }
}

/// One tensor of a table.
package struct InspectedTensor: Sendable {
    /// Where it lies and how.
    package let record: TensorRecord
    /// The name of the file that holds it.
    package let file: String
    /// Figures of its values; nil where they were not asked for, or its type has no numbers that tspeft reads.
    package let statistics: ValueStatistics?
    /// SHA-256 of its type, shape and bytes; nil where it was not asked for.
    package let digest: String?
}

/// Tensors that were asked for, and what was.
package struct TensorTable: Sendable {
    /// The request.
    package let request: TensorRequest
    /// The tensors in the checkpoint's order.
    package let tensors: [InspectedTensor]
    /// The tensors of the checkpoint, selected or not.
    package let checkpointCount: Int
    /// SHA-256 over the digests of the selected tensors, whatever their order and files; nil where it was not asked
    /// for.
    package let checksum: String?

    /// The table of a checkpoint's tensors; nil where nothing is asked for.
    init?(_ request: TensorRequest, of checkpoint: Checkpoint) throws {
        try self.init(request, checkpoint.tensors, of: checkpoint, files: checkpoint.files)
    }

    /// The table of `records`, which lie in `source`; nil where nothing is asked for. Reads the tensors where values or
    /// bytes are.
    init?(_ request: TensorRequest, _ records: [TensorRecord], of source: any TensorSource, files: [String]) throws {
        guard request.wantsTable else { return nil }
        let chosen = try request.select(records, path: source.path)
        let statistics = request.statistics ? try ValueStatistics.measure(chosen, of: source) : nil
        let checksums = request.checksums ? try TensorChecksums(chosen, of: source) : nil
        self.request = request
        checkpointCount = records.count
        checksum = checksums?.total
        tensors = chosen.enumerated().map { place, record in
            InspectedTensor(
                record: record, file: lastPathComponent(files[record.fileIndex]), statistics: statistics?[place],
                digest: checksums?.digests[place])
        }
    }
}
