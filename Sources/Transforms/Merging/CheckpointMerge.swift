import Adapters
import CheckpointIO
import Compute
import Models
import TensorCore

/// Merging adapters into their base, written as a checkpoint: W0 + w scaling c B A for every module, w the adapter's
/// weight and c its gate's factor, summed over the adapters; W0 + c ((m / n) (W0 + scaling B A) - W0) for DoRA.
///
/// The checks come with `init`, so that a caller can show the plan before anything is written; `write` does the work.
package struct CheckpointMerge: Sendable {
    /// Bytes of tensors written so far, and of all.
    package typealias Progress = (_ done: Int, _ total: Int) -> Void

    /// The base.
    package let base: ModelCheckpoint
    /// The adapters, the modules of each in the base's order.
    package let adapters: [WeightedAdapter]
    /// What is done to which module.
    package let plan: MergePlan

    let baseFingerprint: BaseFingerprint
    let digests: [String]
    let record: MergeRecord

    /// Checks that the adapters, at least one, belong to the base and can be merged, and plans it.
    ///
    /// Throws `AdapterError.wrongBase`, `.unknownModule`, `.wrongShape` or `.missingStatistics`; `TransformError.unplaced`
    /// for what has no place in the base, or more than one; `TransformError.nothingToMerge`, also for a base that has one of
    /// the adapters in it already; `.repeatedAdapter`; `.unsupported` for an update that is no change of a weight, or
    /// not one beside others; `.unusableTensor` for a weight stored in a type that cannot be computed with.
    package init(base: ModelCheckpoint, adapters: [WeightedAdapter], gates: MergeGates = .scale) throws {
        precondition(!adapters.isEmpty, "something to merge")
        _ = try base.fingerprint()
        let record = try MergeRecord.read(of: base.checkpoint)
        let digests = adapters.map(\.adapter.digest)
        for (index, adapter) in adapters.map(\.adapter).enumerated() {
            if record.contains(adapter, digest: digests[index]) {
                throw TransformError.nothingToMerge(
                    adapter: adapter.displayName,
                    reason: "\(base.checkpoint.path) has this adapter in it already "
                        + "(\(base.checkpoint.layout == .gguf ? MergeRecord.metadataKey : MergeRecord.fileName)); merge "
                        + "into the original base")
            }
            if let first = digests[..<index].firstIndex(of: digests[index]) {
                throw TransformError.repeatedAdapter(
                    adapter.displayName, first: adapters[first].adapter.displayName)
            }
        }
        let dense = try adapters.map {
            WeightedAdapter(try $0.adapter.replacingExpertGates(by: gates), weight: $0.weight)
        }
        try self.init(PlacedAdapters(dense, in: base), record: record, digests: digests, gates: gates)
    }

    /// Plans what has its places already, and checks it. Throws as the other.
    init(_ placed: PlacedAdapters, record: MergeRecord, digests: [String], gates: MergeGates) throws {
        base = placed.base
        adapters = placed.adapters
        self.record = record
        self.digests = digests
        baseFingerprint = try base.fingerprint()
        plan = try MergePlan(
            adapters, placements: placed.placements, base: base, names: placed.names, gates: gates)
        for tensor in plan.tensors { try check(tensor) }
        try checkVocabulary()
        try placed.checkOriginals()
    }

    /// Throws `TransformError.unusableTensor` where embedding and output head would be of different vocabularies.
    private func checkVocabulary() throws {
        let names = [base.specifications.embedding, base.specifications.outputHead].compactMap { $0 }
        let rows = names.compactMap { specification -> (name: String, count: Int)? in
            let shape = plan.tensor(specification.name).map(outputShape) ?? base.shape(of: specification.name)
            return shape?.first.map { (specification.name, $0) }
        }
        guard newVocabularySize != nil, let first = rows.first,
            let other = rows.first(where: { $0.count != first.count })
        else { return }
        throw TransformError.unusableTensor(
            base: base.checkpoint.path, tensor: other.name,
            reason: "would have \(other.count) tokens and '\(first.name)' \(first.count)")
    }

    /// Throws `TransformError.unusableTensor` for a tensor that cannot be computed with as it is stored, and for values
    /// of another shape that are not those of another vocabulary.
    private func check(_ tensor: MergePlan.Tensor) throws {
        let path = base.checkpoint.path
        guard let source = tensor.source else { return }
        if let integers = tensor.integers { return try check(integers.tensor, in: source) }
        guard let record = base.record(of: source), record.encoding.holdsReals else {
            throw TransformError.unusableTensor(
                base: path, tensor: source,
                reason: "cannot be computed with as it is stored"
                    + (base.record(of: source).map { " (\($0.encoding))" } ?? ""))
        }
        if let scale = base.scale(of: source) {
            throw TransformError.unusableTensor(
                base: path, tensor: source,
                reason: "is quantized (\(record.encoding), with the scale '\(scale)'), so nothing can be added to it")
        }
        if let value = tensor.value, value.tensor.shape != record.shape {
            let isVocabulary = record.shape.count == 2 && value.tensor.shape.dropFirst() == record.shape.dropFirst()
            guard isVocabulary, base.vocabularySize == record.shape[0], base.checkpoint.layout != .gguf else {
                throw AdapterError.wrongShape(
                    file: plan.parts[0].name, tensor: value.tensor.name, expected: record.shape,
                    found: value.tensor.shape)
            }
        }
        if let rows = tensor.rows?.rows { try check(rows, of: record) }
    }

    /// Throws for whole numbers that do not fit the base's tensor, or come into a GGUF file, which has none.
    private func check(_ integers: AdapterIntegers, in source: String) throws {
        let record = base.record(of: source)
        guard base.checkpoint.layout != .gguf, let type = record?.encoding.plainType, type.isInteger else {
            throw TransformError.unusableTensor(
                base: base.checkpoint.path, tensor: source,
                reason: "cannot take whole numbers as it is stored" + (record.map { " (\($0.encoding))" } ?? ""))
        }
        guard integers.shape == record?.shape else {
            throw AdapterError.wrongShape(
                file: plan.parts[0].name, tensor: integers.name, expected: record?.shape ?? [], found: integers.shape)
        }
        guard integers.bytes(as: type) != nil else {
            throw TransformError.unusableTensor(
                base: base.checkpoint.path, tensor: source,
                reason: "(\(type.rawValue)) cannot hold a number of the adapter's '\(integers.name)'")
        }
    }

    /// Throws `AdapterError.wrongShape` and `.noSuchToken` for rows that a tensor does not have.
    private func check(_ rows: AdapterExtras.TokenRows, of record: TensorRecord) throws(AdapterError) {
        let name = plan.parts[0].name
        guard !record.shape.isEmpty, rows.values.shape.dropFirst() == record.shape.dropFirst() else {
            throw .wrongShape(
                file: name, tensor: rows.values.name, expected: [rows.tokens.count] + record.shape.dropFirst(),
                found: rows.values.shape)
        }
        if let token = rows.tokens.first(where: { $0 < 0 || $0 >= record.shape[0] }) {
            throw .noSuchToken(file: name, tensor: rows.values.name, token: token, count: record.shape[0])
        }
    }

    /// The same for one adapter as a whole.
    package init(base: ModelCheckpoint, adapter: AdapterDirectory, gates: MergeGates = .scale) throws {
        try self.init(base: base, adapters: [WeightedAdapter(adapter)], gates: gates)
    }

    /// What ends the name of an output that is a GGUF file.
    static let ggufEnding = ".gguf"

    /// What an output must not take the place of.
    var inputs: [String] { [base.checkpoint.path] + base.checkpoint.files + adapters.compactMap(\.adapter.path) }

    /// Writes the merged checkpoint, which appears complete or not at all: a GGUF file where the name of `output` ends
    /// in `.gguf`, which needs a base in that format, and otherwise a directory.
    ///
    /// A Hugging Face base keeps its shards, tensor order, types and side files. A GGUF base keeps tensor order, types
    /// and metadata in a GGUF file, where parts of a split model are joined, and becomes a Hugging Face directory in
    /// BF16 otherwise.
    ///
    /// - Parameter type: what changed weights are stored as in place of the base's types (biases keep theirs); all
    ///   tensors where a GGUF base becomes a directory. A directory takes F32, F16 and BF16.
    ///
    /// Throws `TransformError.outputIsInput`; `.unsupported` for a type that is not known to the format or cannot be
    /// encoded, and for a Hugging Face base and a GGUF output; `.nothingToMerge` where rounding took every change away
    /// (nothing is left behind then); `CheckpointError` for files, `outputExists` among them. In a rehearsal nothing is
    /// computed, and the report is of no use.
    package func write(
        to output: OutputTarget, as type: TensorEncoding? = nil, threadCount: Int = ComputeContext.availableThreads,
        progress: Progress = { _, _ in }
    ) throws -> MergeReport {
        let path = output.path
        try checkOutput(path, keeps: inputs)
        if path.hasSuffix(Self.ggufEnding) {
            guard base.checkpoint.layout == .gguf else {
                throw TransformError.unsupported(
                    path: path,
                    reason: "a merge into a Hugging Face base is a directory; 'tspeft convert' makes a GGUF file of it")
            }
            return try writeGGUF(to: output, as: type, threadCount, progress)
        }
        if let ending = [".safetensors", SafetensorsZstd.suffix].first(where: path.hasSuffix) {
            throw TransformError.unsupported(
                path: path,
                reason: "a merge writes a directory or a .gguf file; 'tspeft convert' makes a \(ending) file of it")
        }
        let dtype = try type.map(Self.directoryType)
        let directory = try AtomicDirectory(output)
        let report: MergeReport
        switch base.checkpoint.layout {
        case .huggingFace(let source):
            report = try writeShards(from: source, into: directory, as: dtype, threadCount, progress)
        case .gguf:
            report = try writeConverted(into: directory, as: dtype, threadCount, progress)
        }
        guard report.changedCount > 0 || output.rehearsal != nil else {
            directory.abandon()
            throw nothingChanged(report)
        }
        try writeRecord(of: report, into: directory, output)
        try checkAdaptersUnchanged()
        try directory.commit(rechecking: base.checkpoint.mappings)
        return report
    }

    /// Writes down which adapters are in a directory, and what came of them.
    func writeRecord(of report: MergeReport, into directory: AtomicDirectory, _ output: OutputTarget) throws {
        var record = record
        for (part, digest) in zip(report.parts, digests) {
            record.add(
                part.plan, report: part, digest: digest, basePath: base.checkpoint.path,
                baseDigest: baseFingerprint.digest)
        }
        // It tells how many weights have changed.
        output.rehearsal?.estimates(joinedPath(directory.path, MergeRecord.fileName))
        try directory.write(MergeRecord.fileName, text: record.text)
    }

    /// The record with this merge, as far as it is known before anything is computed.
    var completeRecord: MergeRecord {
        var record = record
        for (part, digest) in zip(plan.parts, digests) {
            record.add(part, digest: digest, basePath: base.checkpoint.path, baseDigest: baseFingerprint.digest)
        }
        return record
    }

    /// Throws `CheckpointError.inputChanged` where an adapter whose values stay in its file was written to.
    func checkAdaptersUnchanged() throws {
        for weighted in adapters { try weighted.adapter.checkUnchanged() }
    }

    /// The error of a merge whose every change was lost.
    func nothingChanged(_ report: MergeReport) -> TransformError {
        let remedy: Wording = report.advice?.dtype.map { "; \(.mergedType, $0) would keep the updates" } ?? ""
        return .nothingToMerge(
            adapter: plan.parts.map(\.name).joined(separator: ", "),
            reason: "every change is smaller than the rounding of \(report.dtypes.joined(separator: ", "))\(remedy)")
    }

    static func directoryType(_ type: TensorEncoding) throws -> DType {
        guard let dtype = type.plainType, [.f32, .f16, .bf16].contains(dtype) else {
            throw TransformError.unsuitableValue(
                .mergedType, "\(type)",
                reason:
                    "the weights of a Hugging Face checkpoint are F32, F16 or BF16; a GGUF base whose output's name ends "
                    + "in \(ggufEnding) can have this type")
        }
        return dtype
    }

    /// Weights of the output that the base's files lack: rows of new tokens, and a head that was the embedding.
    private var grownCount: Int {
        plan.tensors.reduce(0) { sum, tensor in
            let known = base.record(of: tensor.target)?.elementCount ?? 0
            return sum + max(0, outputShape(of: tensor).reduce(1, *) - known)
        }
    }

    /// The report over measured changes by target tensor.
    func report(
        _ changes: NameTable<TensorOutcome>, files: [String], dtypes: [String],
        dropped: [String]
    ) -> MergeReport {
        func outcome(_ target: String) -> MergeReport.Outcome {
            let change = changes[target] ?? TensorOutcome()
            let count = plan.tensor(target).map(outputShape)?.reduce(1, *) ?? 0
            return MergeReport.Outcome(
                weightCount: count, changedCount: change.changedCount, largestChange: change.largestChange)
        }
        return MergeReport(
            parts: plan.parts.map { part in
                MergeReport.Part(
                    plan: part,
                    modules: part.modules.map { module in
                        let targets = module.tensors.map(\.target) + [module.bias].compactMap { $0 }
                        let total = targets.reduce(into: MergeReport.Outcome()) { $0.add(outcome($1)) }
                        return MergeReport.Module(plan: module, outcome: total)
                    })
            },
            total: plan.tensors.reduce(into: MergeReport.Outcome()) {
                if $1.role != .copied { $0.add(outcome($1.target)) }
            },
            checkpointWeightCount: base.checkpoint.tensors.reduce(grownCount) { $0 + $1.elementCount },
            tensorFiles: files,
            dtypes: NameSet(dtypes).sorted(), droppedTensors: dropped, account: account,
            notFinite: plan.tensors.compactMap { tensor in
                let count = changes[tensor.target]?.unusableCount ?? 0
                return count > 0 ? MergeReport.NotFinite(tensor: tensor.target, count: count) : nil
            },
            heads: adapters.compactMap { MergeReport.Head($0.adapter, in: base) })
    }
}
