import CheckpointIO
import Compute
import Models
import TensorCore

/// Writing a Hugging Face base back in its own layout.
extension CheckpointMerge {
    /// Endings of files that hold weights, or list where weights lie: never copied, because they would be stale.
    private static let weightEndings = [
        ".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx",
        ".safetensors.index.json", ".bin.index.json",
    ]

    /// Files that would say something untrue beside a merged checkpoint: transformers loads an adapter that lies there.
    private static let staleFiles: Set<String> = [
        MergeRecord.fileName, "adapter_config.json", "tspeft.json",
    ]

    /// Every tensor file with changed tensors in place of the base's, then the side files.
    func writeShards(
        from source: String, into directory: AtomicDirectory, _ context: ComputeContext, _ progress: Progress
    ) throws -> MergeReport {
        let checkpoint = base.checkpoint
        var changing: [String: MergePlan.Tensor] = [:]
        var added: MergePlan.Tensor?
        for tensor in plan.tensors {
            if checkpoint.record(tensor.target) == nil { added = tensor } else { changing[tensor.target] = tensor }
        }
        var names: [String] = []
        var changes: [String: (changedCount: Int, largestChange: Float)] = [:]
        var dtypes: [DType] = []
        let merger = merger(for: plan.tensors.map(\.source), context)
        let total = checkpoint.tensors.reduce(0) { $0 + $1.elementCount } + (added == nil ? 0 : headCount)
        var done = 0

        func merge(_ tensor: MergePlan.Tensor, _ file: AtomicFileWriter, as dtype: DType) throws {
            let outcome = try merger.merge(tensor.source, change: change(of: tensor), as: dtype) {
                try file.write($0)
            }
            if tensor.role != .copied {
                changes[tensor.target] = outcome
                dtypes.append(dtype)
            }
            // What is done with need not stay resident.
            if let record = base.record(of: tensor.source) { checkpoint.advise(record, willNeed: false) }
        }

        for (index, path) in checkpoint.files.enumerated() {
            let name = fileName(of: path)
            names.append(name)
            let mapping = try MappedFile.open(path)
            let records = checkpoint.tensors.filter { $0.fileIndex == index }
            let file = try directory.writer(name)
            let isLast = index == checkpoint.files.count - 1
            let extra = isLast ? added : nil
            let extraType = extra.flatMap { base.record(of: $0.source)?.encoding.plainType }
            var writer: SafetensorsWriter?
            if let extra, let extraType {
                writer = try beginFile(file, like: path, adding: extra, extraType)
            } else {
                try file.copy(0..<(records.map(\.offset).min() ?? mapping.byteCount), of: mapping)
            }
            for record in records {
                if let tensor = changing[record.name], let dtype = record.encoding.plainType {
                    try merge(tensor, file, as: dtype)
                } else {
                    try file.copy(record.byteRange, of: mapping)
                }
                done += record.elementCount
                progress(done, total)
            }
            if let extra, let extraType {
                try merge(extra, file, as: extraType)
                progress(total, total)
            }
            if let writer { try writer.finish() } else { try file.commit() }
        }
        try copySideFiles(from: source, into: directory, unties: plan.untiedHead != nil)
        if checkpoint.files.count > 1 { try writeIndex(from: source, into: directory, adding: added, in: names.last) }
        return report(changes, files: names, dtypes: dtypes)
    }

    private var headCount: Int { base.configuration.vocabularySize * base.configuration.hiddenSize }

    /// The name of a tensor file in the output: its own, but a single file has the name that loaders look for.
    private func fileName(of path: String) -> String {
        base.checkpoint.files.count == 1
            ? "model.safetensors" : String(path.split(separator: "/").last ?? "model.safetensors")
    }

    /// Writes the header of the file at `path` with one more tensor after its last.
    private func beginFile(
        _ output: AtomicFileWriter, like path: String, adding extra: MergePlan.Tensor, _ dtype: DType
    ) throws -> SafetensorsWriter {
        let file = try SafetensorsFile.open(path)
        var entries = file.tensors.compactMap { record in
            record.encoding.plainType.map { SafetensorsEntry(name: record.name, dtype: $0, shape: record.shape) }
        }
        entries.append(
            SafetensorsEntry(name: extra.target, dtype: dtype, shape: base.shape(of: extra.source) ?? []))
        return try SafetensorsWriter(output, entries: entries, metadata: file.metadata)
    }

    private func copySideFiles(from source: String, into directory: AtomicDirectory, unties: Bool) throws {
        for name in directoryEntries(source) {
            let path = joinedPath(source, name)
            guard pathKind(path) == .regularFile, !Self.staleFiles.contains(name),
                !Self.weightEndings.contains(where: name.hasSuffix)
            else { continue }
            if name == "config.json", unties, case .object(var members) = base.checkpoint.configuration {
                members["tie_word_embeddings"] = .bool(false)
                try directory.write(name, text: JSONValue.object(members).text(indent: 2) + "\n")
            } else {
                try directory.copyFile(from: path, to: name)
            }
        }
    }

    private func writeIndex(
        from source: String, into directory: AtomicDirectory, adding extra: MergePlan.Tensor?, in shard: String?
    ) throws {
        let path = joinedPath(source, ShardIndex.fileName)
        guard let extra, let shard else { return try directory.copyFile(from: path, to: ShardIndex.fileName) }
        guard case .object(var index) = try JSONValue.parse(readSmallFile(path, limit: 1 << 28)),
            case .object(var map) = index["weight_map"]
        else { throw CheckpointError.malformed(file: path, problem: "has no weight_map") }
        map[extra.target] = .string(shard)
        index["weight_map"] = .object(map)
        if case .object(var metadata) = index["metadata"], let size = metadata["total_size"]?.intValue {
            let width = base.record(of: extra.source)?.byteCount ?? 0
            metadata["total_size"] = .integer(size + width)
            index["metadata"] = .object(metadata)
        }
        try directory.write(ShardIndex.fileName, text: JSONValue.object(index).text(indent: 2) + "\n")
    }
}

extension TensorEncoding {
    /// The element type, where this is a plain encoding.
    var plainType: DType? { if case .plain(let type) = self { type } else { nil } }
}
