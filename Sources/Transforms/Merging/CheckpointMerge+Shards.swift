import CheckpointIO
import Models
import TensorCore
import Tokenization

/// Writing a Hugging Face base back in its own layout.
extension CheckpointMerge {
    /// Endings of files that hold weights, or list where weights lie: never copied, because they would be stale.
    private static let weightEndings = [
        ".safetensors", SafetensorsZstd.suffix, ".gguf", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx",
        ".safetensors.index.json", ".bin.index.json",
    ]

    /// Files that would say something untrue beside a merged checkpoint: transformers loads an adapter that lies there.
    private static let staleFiles: NameSet = [
        MergeRecord.fileName, "adapter_config.json", "tspeft.json",
    ]

    /// Every tensor file with changed tensors in place of the base's, changed weights in `dtype` where one is given,
    /// then the side files.
    func writeShards(
        from source: String, into directory: AtomicDirectory, as dtype: DType?, _ threadCount: Int,
        _ progress: Progress
    ) throws -> MergeReport {
        let checkpoint = base.checkpoint
        let added = plan.added(to: base)
        func type(of tensor: MergePlan.Tensor) -> DType? { storedType(of: tensor, as: dtype) }
        var names: [String] = []
        var tallies: NameTable<ChangeTally> = [:]
        var dtypes: [String] = []
        var sizeChange = 0
        var files: [OutputTensorFile] = []
        var items: [TensorStream.Item] = []

        func content(_ tensor: MergePlan.Tensor, as dtype: DType) -> TensorStream.Content {
            let made = made(tensor, as: dtype)
            if tensor.role != .copied {
                tallies[tensor.target] = made.tally
                dtypes.append(dtype.rawValue)
            }
            return .made(made.rows)
        }

        for (index, path) in checkpoint.files.enumerated() {
            let name = checkpoint.copiedFileNames[index]
            names.append(name)
            let mapping = checkpoint.mappings[index]
            let records = checkpoint.tensors.filter { $0.fileIndex == index }
            let extras = index == checkpoint.files.count - 1 ? added : []
            let types = records.map { record in
                plan.tensor(record.name).flatMap(type) ?? record.encoding.plainType
            }
            let shapes = records.map { record in plan.tensor(record.name).map(outputShape) ?? record.shape }
            let writer = try directory.writer(name)
            let file: OutputTensorFile
            let isAsBefore =
                extras.isEmpty && zip(records, types).allSatisfy { $0.encoding.plainType == $1 }
                && zip(records, shapes).allSatisfy { $0.shape == $1 }
            if !isAsBefore {
                var entries = records.indices.compactMap { place in
                    types[place].map { SafetensorsEntry(name: records[place].name, dtype: $0, shape: shapes[place]) }
                }
                entries += extras.map {
                    SafetensorsEntry(name: $0.target, dtype: type(of: $0) ?? .f32, shape: outputShape(of: $0))
                }
                sizeChange += entries.reduce(0) { $0 + $1.byteCount } - records.reduce(0) { $0 + $1.byteCount }
                file = try OutputTensorFile(
                    writer,
                    layout: try SafetensorsWriter.layout(
                        entries, metadata: try SafetensorsFile.open(path).metadata, file: writer.path))
                for (place, extra) in extras.enumerated() {
                    items.append(file.item(records.count + place, content(extra, as: type(of: extra) ?? .f32)))
                }
            } else {
                file = try OutputTensorFile(writer, like: mapping, tensors: records)
            }
            files.append(file)
            for (place, record) in records.enumerated() {
                if let tensor = plan.tensor(record.name), let type = types[place] {
                    items.append(file.item(place, content(tensor, as: type)))
                } else if !file.isClone {
                    items.append(file.item(place, .stored(mapping, record.byteRange)))
                }
            }
        }
        try TensorStream(items).write(
            threadCount: threadCount, rehearsal: directory.rehearsal, progress: progress)
        for file in files { try file.commit() }
        try copySideFiles(from: source, into: directory)
        if let index = checkpoint.indexPath {
            try writeIndex(
                from: index, into: directory, adding: added.map(\.target), in: names.last, sizeChange: sizeChange)
        }
        return report(tallies.mapValues(\.outcome), files: names, dtypes: dtypes, dropped: [])
    }

    private func unpackedName(_ name: String) -> String {
        name.hasSuffix(SafetensorsZstd.suffix) ? String(name.dropLast(".zst".count)) : name
    }

    private func copySideFiles(from source: String, into directory: AtomicDirectory) throws {
        let changed = changedConfiguration
        for name in try readDirectory(source) {
            let path = joinedPath(source, name)
            guard try checkedPathKind(path) == .regularFile, !Self.staleFiles.contains(name),
                !Self.weightEndings.contains(where: name.hasSuffix)
            else { continue }
            if name == "config.json", let changed {
                try directory.write(name, text: changed.text(indent: 2) + "\n")
            } else {
                try directory.copyFile(from: path, to: name)
            }
        }
        let templates = try ChatTemplateTexts.files(in: source)
        if !templates.isEmpty { try directory.makeDirectory(ChatTemplateTexts.folder) }
        for file in templates { try directory.copyFile(from: joinedPath(source, file), to: file) }
    }

    private func writeIndex(
        from path: String, into directory: AtomicDirectory, adding extras: [String], in shard: String?,
        sizeChange: Int
    ) throws {
        let name = lastPathComponent(path)
        let isPacked = base.checkpoint.files.contains { $0.hasSuffix(SafetensorsZstd.suffix) }
        guard !extras.isEmpty || isPacked || sizeChange != 0 else {
            return try directory.copyFile(from: path, to: name)
        }
        guard case .object(var index) = try JSONValue.parse(readSmallFile(path, limit: 1 << 28)),
            case .object(var map) = index["weight_map"]
        else { throw CheckpointError.malformed(file: path, problem: "has no weight_map") }
        for (tensor, file) in map.members {
            if let name = file.stringValue { map[tensor] = .string(unpackedName(name)) }
        }
        if let shard { for name in extras { map[name] = .string(shard) } }
        index["weight_map"] = .object(map)
        if sizeChange != 0, case .object(var metadata) = index["metadata"],
            let size = metadata["total_size"]?.integer(in: .byteCounts)
        {
            metadata["total_size"] = .integer(size + sizeChange)
            index["metadata"] = .object(metadata)
        }
        try directory.write(name, text: JSONValue.object(index).text(indent: 2) + "\n")
    }
}

extension CheckpointMerge {
    /// What a tensor is stored as in a directory; `dtype` is for changed weights.
    func storedType(of tensor: MergePlan.Tensor, as dtype: DType?) -> DType? {
        let own = tensor.source.flatMap(base.record)?.encoding.plainType
        guard tensor.role != .bias, tensor.role != .copied, tensor.integers == nil else { return own }
        return dtype ?? own ?? tensor.value?.tensor.storedType
    }

    /// `config.json` as loading the output needs it: with an output head of its own, and as many tokens as the embedding
    /// has; nil where it stays as it is.
    var changedConfiguration: JSONValue? {
        guard case .object(var members) = base.checkpoint.configuration else { return nil }
        var isChanged = false
        if plan.untiesHead {
            members["tie_word_embeddings"] = .bool(false)
            isChanged = true
        }
        if let old = base.vocabularySize, let count = newVocabularySize {
            members.setVocabulary(count, insteadOf: old)
            isChanged = true
        }
        if let head = newHead {
            members["architectures"] = .array([.string(head.className)])
            head.task.write(to: &members)
            isChanged = true
        }
        return isChanged ? .object(members) : nil
    }

    /// The head for sequences that an adapter brings to a base without one: its class in transformers, and what it is asked
    /// for; nil where there is none, or no such class is known.
    private var newHead: (className: String, task: SequenceTask)? {
        let configuration = base.checkpoint.configuration
        let type = configuration?["model_type"]?.stringValue
        let names = ArchitectureTable.all.first { $0.names.modelType == type }?.names
        guard let className = names?.classifierName,
            configuration?["architectures"]?.arrayValue?.first?.stringValue != className
        else { return nil }
        for adapter in adapters.map(\.adapter) {
            guard let found = adapter.task, found.type == "SEQ_CLS", let count = found.labelCount else { continue }
            let assumed = count == 1 ? SequenceTask.regression : SequenceTask(classCount: count)
            return (className, adapter.origin.task.flatMap { $0.labels.count == count ? $0 : nil } ?? assumed)
        }
        return nil
    }

    /// Tokens of the output, where they are others than the base's.
    var newVocabularySize: Int? {
        plan.tensors.lazy.compactMap { tensor -> Int? in
            guard let source = tensor.source, let value = tensor.value,
                value.tensor.shape != self.base.shape(of: source)
            else { return nil }
            return value.tensor.shape.first
        }.first
    }
}

extension ModelCheckpoint {
    /// Tokens, as `config.json` says, of the model or of its text model.
    var vocabularySize: Int? { textModelField("vocab_size") }

    /// A number of `config.json`, of the model or of its text model.
    func textModelField(_ name: String) -> Int? {
        let configuration = checkpoint.configuration
        return configuration?[name]?.integer(in: .sizes) ?? configuration?["text_config"]?[name]?.integer(in: .sizes)
    }
}

extension JSONObject {
    /// Puts another number of tokens wherever the old one stands, in the text model's part too.
    fileprivate mutating func setVocabulary(_ count: Int, insteadOf old: Int) {
        if self["vocab_size"]?.integer(in: .sizes) == old { self["vocab_size"] = .integer(count) }
        if case .object(var text) = self["text_config"] {
            text.setVocabulary(count, insteadOf: old)
            self["text_config"] = .object(text)
        }
    }
}

extension TensorEncoding {
    /// The element type, where this is a plain encoding.
    var plainType: DType? { if case .plain(let type) = self { type } else { nil } }
}
