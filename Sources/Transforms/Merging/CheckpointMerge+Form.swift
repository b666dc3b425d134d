import CheckpointIO
import Models
import TensorCore

/// Writing the merged checkpoint as a conversion of it would be, in one pass.
extension CheckpointMerge {
    /// How the merged checkpoint is written.
    package struct Form: Sendable {
        /// In which format; that of the base where it is not named.
        package let format: CheckpointConversion.Format
        /// The type of all tensors; nil keeps each one's.
        package let type: QuantizationMix?

        /// A form; see the properties.
        package init(_ format: CheckpointConversion.Format, _ type: QuantizationMix?) {
            self.format = format
            self.type = type
        }
    }

    /// Writes what `write(to:as:)` followed by a conversion would, byte for byte, without what would lie between: each
    /// tensor is merged, rounded to the type that the merge would give it, and encoded, a few rows at a time.
    ///
    /// The model takes the name that it would have from a directory called like the output without its ending.
    ///
    /// - Parameter type: what changed weights are rounded to first, in place of the base's types.
    ///
    /// Throws what both throw.
    package func write(
        to output: OutputTarget, as type: TensorEncoding? = nil, in form: Form,
        threadCount: Int, progress: Progress = { _, _ in }
    ) throws -> MergeReport {
        try checkOutput(output.path, keeps: inputs)
        let outcome: Unwritten
        switch base.checkpoint.layout {
        case .huggingFace(let directory):
            outcome = try unwrittenShards(of: directory, as: try type.map(Self.directoryType), named: output.path)
        case .gguf: outcome = try unwrittenGGUF(as: type, named: output.path)
        }
        let conversion = try CheckpointConversion(outcome.checkpoint, to: form.format, at: output, type: form.type)
        var report: MergeReport?
        try conversion.write(threadCount: threadCount, progress: progress) { directory in
            let own = try outcome.report(conversion.files.map { lastPathComponent($0.path) })
            report = own
            guard own.changedCount > 0 || output.rehearsal != nil else { throw nothingChanged(own) }
            if let directory { try writeRecord(of: own, into: directory, output) }
            try checkAdaptersUnchanged()
        }
        guard var report else { preconditionFailure("a conversion asks before it ends") }
        report.conversion = conversion
        return report
    }

    /// What a merge would write, and what is to be said of it once it is made.
    struct Unwritten {
        let checkpoint: UnwrittenCheckpoint
        let report: (_ files: [String]) throws -> MergeReport
    }

    /// The base's shards with the changed tensors in place of its own.
    private func unwrittenShards(of source: String, as dtype: DType?, named path: String) throws -> Unwritten {
        let checkpoint = base.checkpoint
        let added = plan.added(to: base)
        var records: [TensorRecord] = []
        var made: NameTable<TensorStream.Rows> = [:]
        var tallies: NameTable<ChangeTally> = [:]
        var rewritten: Set<Int> = []
        func add(_ tensor: MergePlan.Tensor, _ type: DType, inFile file: Int) {
            let rows = self.made(tensor, as: type)
            if tensor.role != .copied { tallies[tensor.target] = rows.tally }
            made[tensor.target] = rows.rows
            records.append(
                TensorRecord(
                    unwritten: tensor.target, shape: outputShape(of: tensor), encoding: .plain(type), fileIndex: file))
        }
        for file in checkpoint.files.indices {
            for record in checkpoint.tensors where record.fileIndex == file {
                guard let tensor = plan.tensor(record.name), let type = storedType(of: tensor, as: dtype) else {
                    records.append(record)
                    continue
                }
                add(tensor, type, inFile: file)
                if records[records.count - 1].encoding != record.encoding || outputShape(of: tensor) != record.shape {
                    rewritten.insert(file)
                }
            }
            guard file == checkpoint.files.count - 1 else { continue }
            for tensor in added { add(tensor, storedType(of: tensor, as: dtype) ?? .f32, inFile: file) }
            if !added.isEmpty { rewritten.insert(file) }
        }
        let configuration = changedConfiguration
        let unwritten = UnwrittenCheckpoint(
            checkpoint: Checkpoint(
                checkpoint, holding: records, configuration: configuration ?? checkpoint.configuration),
            made: made, rewrittenFiles: rewritten, changedConfiguration: configuration, record: completeRecord,
            directory: Self.withoutEnding(path))
        let dtypes = plan.tensors.filter { $0.role != .copied }.compactMap { storedType(of: $0, as: dtype)?.rawValue }
        return Unwritten(checkpoint: unwritten) { files in
            report(tallies.mapValues(\.outcome), files: files, dtypes: dtypes, dropped: [])
        }
    }

    /// The base's GGUF tensors with the changed ones in place of its own.
    private func unwrittenGGUF(as type: TensorEncoding?, named path: String) throws -> Unwritten {
        let outputs = try outputs(as: type)
        var made: NameTable<TensorStream.Rows> = [:]
        let records = outputs.map { output in
            guard let change = output.change else {
                return output.source.name.hasSameBytes(as: output.entry.name)
                    ? output.source : output.source.renamed(output.entry.name)
            }
            made[output.entry.name] = change.merged.rows()
            return TensorRecord(
                unwritten: output.entry.name, shape: output.entry.shape, encoding: output.entry.encoding,
                fileIndex: output.source.fileIndex)
        }
        let unwritten = UnwrittenCheckpoint(
            checkpoint: Checkpoint(base.checkpoint, holding: records, configuration: nil), made: made,
            metadata: try metadata(of: outputs), record: completeRecord, directory: Self.withoutEnding(path))
        return Unwritten(checkpoint: unwritten) { files in try report(of: outputs, in: files.first ?? "") }
    }

    /// A path without what says that it is a GGUF file.
    private static func withoutEnding(_ path: String) -> String {
        path.hasSuffix(ggufEnding) ? String(path.dropLast(ggufEnding.count)) : path
    }
}
