import CheckpointIO
import Compute

@testable import Transforms

extension CheckpointMerge {
    /// Writes the merged checkpoint to `path`.
    @discardableResult
    func write(
        to path: String, as type: TensorEncoding? = nil, replacing: Bool = false,
        threadCount: Int = ComputeContext.availableThreads, progress: Progress = { _, _ in }
    ) throws -> MergeReport {
        try write(
            to: OutputTarget(path, replacing: replacing), as: type, threadCount: threadCount, progress: progress)
    }
}

extension AdapterExport {
    /// Writes the export to `path`, where nothing may be.
    func write(to path: String) throws -> ExportReport { try write(to: OutputTarget(path)) }
}

extension ModuleSelection {
    /// Writes the selection to `path`.
    func write(to path: String, replacing: Bool = false) throws(CheckpointError) {
        try write(to: OutputTarget(path, replacing: replacing))
    }
}

extension CheckpointConversion {
    /// Plans a conversion to `path`, where nothing may be.
    init(
        _ checkpoint: Checkpoint, to format: Format, at path: String, type: QuantizationMix? = nil,
        shardByteLimit: Int? = nil
    ) throws {
        try self.init(checkpoint, to: format, at: OutputTarget(path), type: type, shardByteLimit: shardByteLimit)
    }
}
