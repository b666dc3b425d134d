import Adapters
import CheckpointIO
import Models
import TensorCore
import Transforms

/// What `merge` is asked to do.
public struct MergeRequest: Sendable {
    /// An adapter to be merged.
    public struct Adapter: Sendable, Equatable {
        /// The adapter's directory.
        public let path: String
        /// The factor on its updates.
        public let weight: Double

        /// An adapter; `weight` must be finite and not 0.
        public init(_ path: String, weight: Double = 1) {
            self.path = path
            self.weight = weight
        }
    }

    /// The base checkpoint.
    public var basePath: String
    /// The adapters, at least one.
    public var adapters: [Adapter]
    /// Where the merged checkpoint goes: a directory, or a GGUF file where the name ends in `.gguf`.
    public var outputPath: String
    /// What becomes of the gates.
    public var gates = Gates.scale
    /// The name of the type of changed weights, in letters of any case; nil keeps the base's. Of a mix such as `q4_k_m`
    /// it is the type that most matrices have in it.
    public var dtype: String?
    /// The type of all tensors by name, such as `q4_k_m`, as a conversion of the merged checkpoint would have it; nil
    /// keeps each one's.
    public var type: String?
    /// Whether an existing output is replaced.
    public var replaces = false
    /// How to compute; the arithmetic is F32 whatever its precision.
    public var compute = ComputeOptions()

    /// A request with the program's defaults.
    public init(basePath: String, adapters: [Adapter], outputPath: String) {
        self.basePath = basePath
        self.adapters = adapters
        self.outputPath = outputPath
    }
}

/// Writes the base with the adapters in its weights.
///
/// - Parameter progress: is told weights written so far, and of all.
///
/// Throws what reading base and adapters throws, and what `CheckpointMerge` does.
package func mergeAdapter(
    _ request: MergeRequest, progress: CheckpointMerge.Progress = { _, _ in }
) throws -> MergeReport {
    try mergeAdapter(request, to: request.output(), progress: progress)
}

func mergeAdapter(
    _ request: MergeRequest, to output: OutputTarget, progress: CheckpointMerge.Progress = { _, _ in }
) throws -> MergeReport {
    try request.check()
    let context = try request.compute.makeContext()
    try refuseOtherEnding(of: request.outputPath, files: ".gguf")
    let mix = try request.type.map { try namedType($0, for: .tensorType) }
    let type = try request.dtype.map { try namedType($0, for: .mergedType).base }
    // Neither needs the other; what is wrong with the base is told first.
    let (base, adapters) = context.threads.both {
        Result {
            let base = try ModelCheckpoint.open(request.basePath, as: request.compute.architecture)
            _ = try base.fingerprint()
            return base
        }
    } _: {
        Result {
            try request.adapters.map {
                WeightedAdapter(try AdapterDirectory.read($0.path, takingExtras: true), weight: $0.weight)
            }
        }
    }
    let form = try request.form(for: base.get(), changedType: type, mix)
    let merge = try CheckpointMerge(base: base.get(), adapters: adapters.get(), gates: request.gates.rule)
    guard let form else {
        return try merge.write(to: output, as: type ?? mix?.base, threadCount: context.threadCount, progress: progress)
    }
    return try merge.write(
        to: output, as: type, in: form, threadCount: context.threadCount, progress: progress)
}

extension MergeRequest {
    /// How the merged checkpoint is written where it is more than a merge; nil where the merge itself does: without a
    /// type in the base's own form, and of a GGUF base that becomes a directory, all of whose tensors have one type anyway.
    fileprivate func form(
        for base: ModelCheckpoint, changedType: TensorEncoding?, _ mix: QuantizationMix?
    ) throws(WorkflowError) -> CheckpointMerge.Form? {
        let isGGUF = outputPath.hasSuffix(".gguf")
        if base.checkpoint.layout == .gguf {
            if isGGUF { return mix.map { CheckpointMerge.Form(.gguf, $0) } }
            if let mix, mix.isQuantized {
                throw .unsupported(
                    "\(.tensorType, mix.name.lowercased()): a Hugging Face directory holds no blocks; give f32, f16 or "
                        + "bf16, or an output that ends in .gguf")
            }
            if let mix, changedType != nil {
                throw .conflict(
                    "a GGUF base becomes a directory in one type; give \(.tensorType, mix.name.lowercased()) without "
                        + "\(.mergedType)")
            }
            return nil
        }
        if isGGUF { return CheckpointMerge.Form(.gguf, mix) }
        // One file of safetensors, which a merge refuses.
        let isFile = outputPath.hasSuffix(".safetensors") || outputPath.hasSuffix(SafetensorsZstd.suffix)
        return isFile ? nil : mix.map { CheckpointMerge.Form(.huggingFace, $0) }
    }
}

/// Where the tensors of the adapter at `path` go in a base, without merging. Throws what reading the two throws, and what
/// `MergeAccount.init(of:in:)` does.
///
/// With it, the task of an adapter that is for another than the base's.
package func placeAdapter(
    _ path: String, in basePath: String
) throws -> (account: MergeAccount, head: MergeReport.Head?) {
    let base = try ModelCheckpoint.open(basePath)
    let adapter = try AdapterDirectory.read(path, takingExtras: true)
    return (try MergeAccount(of: adapter, in: base), MergeReport.Head(adapter, in: base))
}
