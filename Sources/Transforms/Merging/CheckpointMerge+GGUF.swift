import CheckpointIO
import Models
import TensorCore

/// Writing a GGUF base back as a GGUF file.
extension CheckpointMerge {
    /// The key and value by which a file says how its blocks are made, which one with blocks must have.
    private static let quantizationKey = "general.quantization_version"
    private static let quantizationVersion: UInt32 = 2

    /// A tensor of the output.
    struct Output {
        let entry: GGUFEntry
        /// The base's tensor whose bytes it takes, or from which it is made.
        let source: TensorRecord
        /// What is done to it; nil for a copy.
        var change: (tensor: MergePlan.Tensor, merged: RequantizedTensor)?
    }

    /// The base's tensors in their order, changed weights in `type` where one is given, with all metadata and the
    /// record of this merge; an output head that was the embedding so far comes last.
    func writeGGUF(
        to target: OutputTarget, as type: TensorEncoding?, _ threadCount: Int, _ progress: Progress
    ) throws -> MergeReport {
        let outputs = try outputs(as: type)
        let writer = try AtomicFileWriter(target)
        let file = try OutputTensorFile(
            writer,
            layout: try GGUFWriter.layout(
                outputs.map(\.entry), metadata: try metadata(of: outputs), file: writer.path))
        let items = outputs.enumerated().map { index, output in
            let copy = TensorStream.Content.stored(base.checkpoint.mapping(of: output.source), output.source.byteRange)
            return file.item(index, output.change.map { .made($0.merged.rows()) } ?? copy)
        }
        do {
            try TensorStream(items).write(
                threadCount: threadCount, rehearsal: target.rehearsal, progress: progress)
            let report = try report(of: outputs, in: lastPathComponent(target.path))
            guard report.changedCount > 0 || target.rehearsal != nil else { throw nothingChanged(report) }
            try checkAdaptersUnchanged()
            try file.commit(rechecking: base.checkpoint.mappings)
            return report
        } catch {
            writer.abandon()
            throw error
        }
    }

    /// What the output holds. Throws `TransformError.unsupported` for a changed tensor whose type cannot be encoded or
    /// does not fit its rows.
    func outputs(as type: TensorEncoding?) throws -> [Output] {
        var changing: NameTable<MergePlan.Tensor> = [:]
        func ggufName(_ name: String) -> String { base.specifications[name]?.ggufName ?? name }
        for tensor in plan.tensors {
            try checkHeld(tensor)
            changing[ggufName(tensor.target)] = tensor
        }
        func output(_ name: String, _ source: TensorRecord, _ tensor: MergePlan.Tensor?) throws -> Output {
            guard let tensor, tensor.role != .copied else {
                return Output(
                    entry: GGUFEntry(name: name, encoding: source.encoding, shape: source.shape), source: source)
            }
            let encoding = tensor.role == .bias ? source.encoding : type ?? source.encoding
            try check(encoding, holds: source, named: name, isAsked: type != nil && tensor.role != .bias)
            let merged = RequantizedTensor(
                base: base, name: tensor.source ?? tensor.target, record: source, encoding: encoding,
                matrix: matrixShape(of: tensor), value: tensor.value?.tensor,
                makeChange: { try self.change(of: tensor) })
            return Output(
                entry: GGUFEntry(name: name, encoding: encoding, shape: source.shape), source: source,
                change: (tensor, merged))
        }
        var outputs = try base.checkpoint.tensors.map { try output($0.name, $0, changing[$0.name]) }
        for head in plan.added(to: base) {
            guard let source = head.source.flatMap(base.record) else {
                throw TransformError.unsupported(
                    path: base.checkpoint.path, reason: "a GGUF file has no place for the new tensor '\(head.target)'")
            }
            outputs.append(try output(ggufName(head.target), source, head))
        }
        return outputs
    }

    /// Refuses what a GGUF file cannot take up: an output head of its own where its architecture has none, and an update
    /// of a tensor whose values the file holds in another form, which can only be replaced.
    private func checkHeld(_ tensor: MergePlan.Tensor) throws {
        let source = tensor.source ?? tensor.target
        if !source.hasSameBytes(as: tensor.target), base.specifications[tensor.target]?.ggufName == nil {
            throw TransformError.unsupported(
                path: base.checkpoint.path,
                reason: "the merge gives '\(tensor.target)' a weight of its own, and GGUF files of this architecture "
                    + "have none beside the embedding; merge into the Hugging Face checkpoint")
        }
        if !tensor.contributions.isEmpty, base.storedForm(of: source).values != .same {
            throw TransformError.unsupported(
                path: base.checkpoint.path,
                reason: "the file does not hold the values of '\(source)' as they are in a checkpoint, so that nothing "
                    + "can be added to them; merge into the Hugging Face checkpoint")
        }
    }

    private func check(
        _ encoding: TensorEncoding, holds record: TensorRecord, named name: String, isAsked: Bool
    ) throws {
        /// The types that would do, as a request takes them.
        func others() -> String {
            TensorEncoding.writable.filter { Self.fits($0, record) }.map { "\($0)".lowercased() }.joined(
                separator: ", ")
        }
        guard encoding.isWritable else {
            throw TransformError.unsupported(
                path: base.checkpoint.path,
                reason:
                    "tensor '\(name)' is stored as \(encoding), which tspeft cannot encode; \(.mergedType) gives the changed "
                    + "tensors another type: \(others())")
        }
        guard Self.fits(encoding, record) else {
            let reason: Wording =
                "tensor '\(name)' of the shape \(record.shape) has no rows of whole blocks of "
                + "\(encoding.group.elements) elements; types that fit: \(others())"
            throw isAsked
                ? TransformError.unsuitableValue(.mergedType, "\(encoding)", reason: reason)
                : .unsupported(path: base.checkpoint.path, reason: reason)
        }
    }

    /// Whether each row is whole blocks; what has one extent has rows of one element.
    private static func fits(_ encoding: TensorEncoding, _ record: TensorRecord) -> Bool {
        record.shape.dropFirst().reduce(1, *) % encoding.group.elements == 0
    }

    /// The base's metadata as they are, less what they say of a split, and the record of this merge.
    func metadata(of outputs: [Output]) throws -> [(key: String, value: GGUFEncodedValue)] {
        guard let metadata = base.checkpoint.metadata else {
            throw TransformError.unsupported(path: base.checkpoint.path, reason: "it has no metadata")
        }
        var pairs = metadata.keys.compactMap { key in metadata.encoded(key).map { (key: key, value: $0) } }
        pairs = GGUFSplit.joined(pairs).filter {
            $0.key != MergeRecord.metadataKey && $0.key != BaseFingerprint.sourcesKey
        }
        let hasBlocks = outputs.contains { $0.entry.encoding.group.elements > 1 }
        if hasBlocks, metadata[Self.quantizationKey] == nil {
            pairs.append((Self.quantizationKey, .uint32(Self.quantizationVersion)))
        }
        pairs.append((MergeRecord.metadataKey, .string(completeRecord.metadataText)))
        return pairs
    }

    func report(of outputs: [Output], in file: String) throws -> MergeReport {
        var changes: NameTable<TensorOutcome> = [:]
        var encodings: [String] = []
        var roundings: [TensorRounding] = []
        var swallowed: [Output] = []
        for output in outputs {
            guard let (tensor, merged) = output.change else { continue }
            let sums = merged.tally.sums
            let rounding = sums.rounding(of: output.entry.name, in: "\(merged.encoding)")
            changes[tensor.target] = TensorOutcome(
                changedCount: sums.changedCount, largestChange: sums.largestChange, unusableCount: sums.unusableCount)
            encodings.append(rounding.encoding)
            roundings.append(rounding)
            if rounding.isSwallowed { swallowed.append(output) }
        }
        var report = report(changes, files: [file], dtypes: encodings, dropped: [])
        report.roundings = roundings
        if !swallowed.isEmpty {
            report.advice = RoundingAdvice(
                tensors: swallowed.map(\.entry.name),
                encodings: NameSet(swallowed.map { "\($0.entry.encoding)" }).sorted(),
                dtype: try dtype(keeping: swallowed).map { "\($0)".lowercased() })
        }
        return report
    }

    /// The smallest type that keeps what rounding to their own swallowed, as tried on rows of each tensor.
    private func dtype(keeping tensors: [Output]) throws -> TensorEncoding? {
        let least = tensors.map(\.entry.encoding.bitsPerElement).max() ?? 0
        func keeps(_ encoding: TensorEncoding, _ tensor: Output) throws -> Bool {
            guard Self.fits(encoding, tensor.source), let merged = tensor.change?.merged else { return false }
            do {
                return try merged.stored(as: encoding).sample().keepsUpdate
            } catch is TransformError {
                // A weight that this type cannot hold.
                return false
            }
        }
        return try TensorEncoding.writable.first { encoding in
            try encoding.bitsPerElement > least && tensors.allSatisfy { try keeps(encoding, $0) }
        }
    }
}
