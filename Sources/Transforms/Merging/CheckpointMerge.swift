import Adapters
import CheckpointIO
import Compute
import Models
import TensorCore

/// Merging an adapter into its base: W0 + scaling c B A for every module, written as a checkpoint.
///
/// The checks come with `init`, so that a caller can show the plan before anything is written; `write` does the work.
package struct CheckpointMerge {
    /// Weights of tensors written so far, and of all.
    package typealias Progress = (_ done: Int, _ total: Int) -> Void

    /// The base.
    package let base: ModelCheckpoint
    /// The adapter, its modules in the base's order.
    package let adapter: AdapterDirectory
    /// What becomes of the gates.
    package let gates: MergeGates
    /// What is done to which module.
    package let plan: MergePlan

    private let wholeTensors: [(module: WholeModule, tensor: AdapterTensor)]
    let baseFingerprint: BaseFingerprint
    let digest: String
    let record: MergeRecord

    /// Checks that the adapter belongs to the base and can be merged, and plans it.
    ///
    /// Throws `AdapterError.wrongBase`, `.unknownModule`, `.wrongShape` or `.missingStatistics`; what
    /// `AdapterDirectory.wholeModules(of:)` throws;
    /// `TransformError.nothingToMerge`, also for a base that has this adapter in it already; `.unusableTensor` for a
    /// weight stored in a type that cannot be computed with.
    package init(base: ModelCheckpoint, adapter: AdapterDirectory, gates: MergeGates = .scale) throws {
        let path = base.checkpoint.path
        let fingerprint = base.fingerprint()
        digest = adapter.digest
        record = try Self.record(of: base)
        if record.contains(digest: digest) {
            throw TransformError.nothingToMerge(
                adapter: adapter.displayName,
                reason: "\(path) has this adapter in it already (\(MergeRecord.fileName)); merge into the original base"
            )
        }
        try adapter.check(base: fingerprint, basePath: path)
        let checked = try adapter.validated(against: Self.modules(of: base))
        self.base = base
        self.adapter = checked
        self.gates = gates
        wholeTensors = try checked.wholeModules(of: base)
        plan = try MergePlan(
            checked, gates: gates, wholeModules: wholeTensors.map(\.module),
            embeddingsAreTied: base.configuration.tiedEmbeddings)
        baseFingerprint = fingerprint
        for module in plan.modules {
            guard let encoding = base.record(of: module.source)?.encoding, encoding.holdsReals else {
                throw TransformError.unusableTensor(
                    base: path, tensor: module.source, reason: "cannot be computed with as it is stored")
            }
        }
    }

    /// The linear modules of the base, with the output head also where it is the embedding: a merge can give it a
    /// weight of its own.
    private static func modules(of base: ModelCheckpoint) -> [LinearModule] {
        let modules = base.linearModules
        let configuration = base.configuration
        guard configuration.tiedEmbeddings else { return modules }
        let head = LinearModule(
            path: CheckpointNames.outputHeadModule, outputSize: configuration.vocabularySize,
            inputSize: configuration.hiddenSize)
        return modules + [head]
    }

    private static func record(of base: ModelCheckpoint) throws -> MergeRecord {
        guard case .huggingFace(let directory) = base.checkpoint.layout else { return MergeRecord(merges: []) }
        return try MergeRecord.read(inDirectory: directory)
    }

    /// Writes the merged checkpoint to a new directory at `output`, which appears complete or not at all.
    ///
    /// A Hugging Face base keeps its shards, tensor order, types and side files; a GGUF base becomes a Hugging Face
    /// directory in BF16. With `replacing`, a checkpoint at `output` is replaced at the end.
    ///
    /// Throws `TransformError.outputIsInput`; `.nothingToMerge` where rounding took every change away (nothing is left
    /// behind then); `CheckpointError` for files, `outputExists` among them.
    package func write(
        to output: String, replacing: Bool = false, threadCount: Int = ComputeContext.availableThreads,
        progress: Progress = { _, _ in }
    ) throws -> MergeReport {
        for input in [base.checkpoint.path] + base.checkpoint.files + [adapter.path].compactMap({ $0 }) {
            if wouldReplace(output, input: input) { throw TransformError.outputIsInput(path: output) }
        }
        let directory = try AtomicDirectory(output, replacing: replacing)
        let context = ComputeContext(dtype: .f32, threadCount: threadCount)
        let report: MergeReport
        switch base.checkpoint.layout {
        case .huggingFace(let source):
            report = try writeShards(from: source, into: directory, context, progress)
        case .gguf:
            report = try writeConverted(into: directory, context, progress)
        }
        guard report.changedCount > 0 else {
            directory.abandon()
            throw TransformError.nothingToMerge(
                adapter: adapter.displayName,
                reason: "every change is smaller than the rounding of \(report.dtypes.joined(separator: ", "))")
        }
        var record = record
        record.add(
            adapter, digest: digest, basePath: base.checkpoint.path, baseDigest: baseFingerprint.digest, report: report)
        try directory.write(MergeRecord.fileName, text: record.text)
        try directory.commit()
        return report
    }

    /// The update of a module; the plan's modules all have one, a head that is only copied has none.
    func update(of module: MergePlan.Module) -> WeightUpdate? {
        if module.isWhole {
            return wholeTensors.first { $0.module.path == module.module }.map { .replacement($0.tensor.values) }
        }
        return module.neverFires ? nil : LowRankUpdate(adapter, module).map { .lowRank($0) }
    }

    /// A merger whose buffers hold what every tensor in `names` needs.
    func merger(for names: [String], _ context: ComputeContext) -> WeightMerger {
        let shapes = names.compactMap { base.shape(of: $0) }
        return WeightMerger(
            base: base, context: context, elementLimit: shapes.map { $0.reduce(1, *) }.max() ?? 1,
            rowLimit: shapes.map { $0.dropFirst().reduce(1, *) }.max() ?? 1)
    }

    /// The report over measured changes by target tensor.
    func report(
        _ changes: [String: (changedCount: Int, largestChange: Float)], files: [String], dtypes: [DType]
    ) -> MergeReport {
        MergeReport(
            modules: plan.modules.map { module in
                let change = changes[module.target] ?? (0, 0)
                return MergeReport.Module(
                    plan: module, weightCount: base.shape(of: module.source)?.reduce(1, *) ?? 0,
                    changedCount: change.changedCount, largestChange: change.largestChange)
            },
            gates: adapter.configuration.isGated ? gates : nil, source: plan.source,
            checkpointWeightCount: base.checkpoint.tensors.reduce(0) { $0 + $1.elementCount }, tensorFiles: files,
            dtypes: Set(dtypes.map(\.rawValue)).sorted(),
            droppedTensors: base.checkpoint.layout == .gguf ? base.unknownTensors : [])
    }
}
