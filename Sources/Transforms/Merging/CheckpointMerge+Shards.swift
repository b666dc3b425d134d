import CheckpointIO
import Models
import TensorCore

/// Writing a Hugging Face base back in its own layout.
extension CheckpointMerge {
    /// Endings of files that hold weights, or list where weights lie: never copied, because they would be stale.
    private static let weightEndings = [
        ".safetensors", SafetensorsZstd.suffix, ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx",
        ".safetensors.index.json", ".bin.index.json",
    ]

    /// Files that would say something untrue beside a merged checkpoint: transformers loads an adapter that lies there.
    private static let staleFiles: Set<String> = [
        MergeRecord.fileName, "adapter_config.json", "tspeft.json",
    ]

    /// Every tensor file with changed tensors in place of the base's, changed weights in `dtype` where one is given,
    /// then the side files.
    func writeShards(
        from source: String, into directory: AtomicDirectory, as dtype: DType?, _ threadCount: Int,
        _ progress: Progress
    ) throws -> MergeReport {
        let checkpoint = base.checkpoint
        var changing: [String: MergePlan.Tensor] = [:]
        var added: MergePlan.Tensor?
        for tensor in plan.tensors {
            if checkpoint.record(tensor.target) == nil { added = tensor } else { changing[tensor.target] = tensor }
        }
        func type(of tensor: MergePlan.Tensor) -> DType? {
            let own = base.record(of: tensor.source)?.encoding.plainType
            return tensor.role == .weight || tensor.role == .replaced ? dtype ?? own : own
        }
        var names: [String] = []
        var tallies: [String: ChangeTally] = [:]
        var dtypes: [String] = []
        var sizeChange = 0
        var files: [OutputTensorFile] = []
        var items: [TensorStream.Item] = []

        func content(_ tensor: MergePlan.Tensor, as dtype: DType) -> TensorStream.Content {
            let merged = merged(tensor, as: dtype)
            if tensor.role != .copied {
                tallies[tensor.target] = merged.tally
                dtypes.append(dtype.rawValue)
            }
            return .made(merged.rows())
        }

        for (index, path) in checkpoint.files.enumerated() {
            let name = fileName(of: path)
            names.append(name)
            let mapping = checkpoint.mappings[index]
            let records = checkpoint.tensors.filter { $0.fileIndex == index }
            let extra = index == checkpoint.files.count - 1 ? added : nil
            let extraType = extra.flatMap(type)
            let types = records.map { record in
                changing[record.name].flatMap(type) ?? record.encoding.plainType
            }
            let writer = try directory.writer(name)
            let file: OutputTensorFile
            if extra != nil || zip(records, types).contains(where: { $0.encoding.plainType != $1 }) {
                var entries = zip(records, types).compactMap { record, type in
                    type.map { SafetensorsEntry(name: record.name, dtype: $0, shape: record.shape) }
                }
                if let extra, let extraType {
                    entries.append(
                        SafetensorsEntry(
                            name: extra.target, dtype: extraType, shape: base.shape(of: extra.source) ?? []))
                }
                sizeChange += entries.reduce(0) { $0 + $1.byteCount } - records.reduce(0) { $0 + $1.byteCount }
                file = try OutputTensorFile(
                    writer,
                    layout: try SafetensorsWriter.layout(
                        entries, metadata: try SafetensorsFile.open(path).metadata, file: writer.path))
                if let extra, let extraType {
                    items.append(file.item(records.count, content(extra, as: extraType)))
                }
            } else {
                file = try OutputTensorFile(writer, like: mapping, tensors: records)
            }
            files.append(file)
            for (place, record) in records.enumerated() {
                if let tensor = changing[record.name], let type = types[place] {
                    items.append(file.item(place, content(tensor, as: type)))
                } else if !file.isClone {
                    items.append(file.item(place, .stored(mapping, record.byteRange)))
                }
            }
        }
        try TensorStream(items).write(
            threadCount: threadCount, rehearsal: directory.rehearsal, progress: progress)
        for file in files { try file.commit() }
        try copySideFiles(from: source, into: directory, unties: plan.untiedHead != nil)
        if checkpoint.files.count > 1 {
            try writeIndex(from: source, into: directory, adding: added, in: names.last, sizeChange: sizeChange)
        }
        return report(tallies.mapValues(\.outcome), files: names, dtypes: dtypes, dropped: [])
    }

    /// The name of a tensor file in the output: its own, unpacked, but a single file has the name that loaders look
    /// for.
    private func fileName(of path: String) -> String {
        base.checkpoint.files.count == 1 ? "model.safetensors" : unpackedName(lastPathComponent(path))
    }

    private func unpackedName(_ name: String) -> String {
        name.hasSuffix(SafetensorsZstd.suffix) ? String(name.dropLast(".zst".count)) : name
    }

    private func copySideFiles(from source: String, into directory: AtomicDirectory, unties: Bool) throws {
        for name in try readDirectory(source) {
            let path = joinedPath(source, name)
            guard try checkedPathKind(path) == .regularFile, !Self.staleFiles.contains(name),
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
        from source: String, into directory: AtomicDirectory, adding extra: MergePlan.Tensor?, in shard: String?,
        sizeChange: Int
    ) throws {
        let path = joinedPath(source, ShardIndex.fileName)
        let isPacked = base.checkpoint.files.contains { $0.hasSuffix(SafetensorsZstd.suffix) }
        guard extra != nil || isPacked || sizeChange != 0 else {
            return try directory.copyFile(from: path, to: ShardIndex.fileName)
        }
        guard case .object(var index) = try JSONValue.parse(readSmallFile(path, limit: 1 << 28)),
            case .object(var map) = index["weight_map"]
        else { throw CheckpointError.malformed(file: path, problem: "has no weight_map") }
        for (tensor, file) in map.members {
            if let name = file.stringValue { map[tensor] = .string(unpackedName(name)) }
        }
        if let extra, let shard { map[extra.target] = .string(shard) }
        index["weight_map"] = .object(map)
        if sizeChange != 0, case .object(var metadata) = index["metadata"],
            let size = metadata["total_size"]?.intValue
        {
            metadata["total_size"] = .integer(size + sizeChange)
            index["metadata"] = .object(metadata)
        }
        try directory.write(ShardIndex.fileName, text: JSONValue.object(index).text(indent: 2) + "\n")
    }
}

extension TensorEncoding {
    /// The element type, where this is a plain encoding.
    var plainType: DType? { if case .plain(let type) = self { type } else { nil } }
}
