import Adapters
import Models
import Transforms

/// What `merge` is asked to do.
package struct MergeRequest: Sendable {
    /// The base checkpoint.
    package var basePath: String
    /// The adapter.
    package var adapterPath: String
    /// Where the merged checkpoint goes.
    package var outputPath: String
    /// What becomes of the gates.
    package var gates = MergeGates.scale
    /// Whether an existing output is replaced.
    package var replaces = false
    /// How to compute; the arithmetic is F32 whatever its precision.
    package var compute = ComputeOptions()

    /// A request with the program's defaults.
    package init(basePath: String, adapterPath: String, outputPath: String) {
        self.basePath = basePath
        self.adapterPath = adapterPath
        self.outputPath = outputPath
    }
}

/// Writes the base with the adapter in its weights.
///
/// - Parameter progress: is told weights written so far, and of all.
///
/// Throws what reading base and adapter throws, and what `CheckpointMerge` does.
package func mergeAdapter(
    _ request: MergeRequest, progress: CheckpointMerge.Progress = { _, _ in }
) throws -> MergeReport {
    let context = try request.compute.makeContext()
    let base = try ModelCheckpoint.open(request.basePath)
    let adapter = try AdapterDirectory.read(request.adapterPath)
    let merge = try CheckpointMerge(base: base, adapter: adapter, gates: request.gates)
    return try merge.write(
        to: request.outputPath, replacing: request.replaces, threadCount: context.threadCount, progress: progress)
}
