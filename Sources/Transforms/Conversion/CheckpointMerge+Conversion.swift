import CheckpointIO
import Models
import TensorCore

/// Writing a GGUF base as a Hugging Face directory.
extension CheckpointMerge {
    /// The type of every tensor of a converted checkpoint, unless another is asked for.
    private static let convertedType = DType.bf16

    /// Every tensor of the model by its Hugging Face name, merged or converted, then configuration and tokenizer.
    func writeConverted(
        into directory: AtomicDirectory, as dtype: DType?, _ threadCount: Int, _ progress: Progress
    ) throws -> MergeReport {
        let type = dtype ?? Self.convertedType
        let names = base.tensorNames + plan.added(to: base).map(\.target)
        func shape(_ name: String) -> [Int] {
            plan.tensor(name).map(outputShape) ?? base.shape(of: name) ?? []
        }

        // Small and likely to fail comes first.
        let texts = try HuggingFaceFiles.texts(
            ofGGUF: base, dtype: type, tiedEmbeddings: base.hasTiedHead && !plan.untiesHead)
        for (name, text) in texts { try directory.write(name, text: text) }

        var tallies: NameTable<ChangeTally> = [:]
        var files: [OutputTensorFile] = []
        var items: [TensorStream.Item] = []
        let shards = Self.shards(names.map { SafetensorsEntry(name: $0, dtype: type, shape: shape($0)) })
        for shard in shards {
            let writer = try directory.writer(shard.name)
            let file = try OutputTensorFile(
                writer, layout: try SafetensorsWriter.layout(shard.entries, file: writer.path))
            files.append(file)
            for (place, entry) in shard.entries.enumerated() {
                let tensor = plan.tensor(entry.name)
                let merged =
                    tensor.map { self.merged($0, as: type) }
                    ?? MergedTensor(converting: entry.name, of: base, as: type)
                items.append(file.item(place, .made(merged.rows())))
                if let tensor, tensor.role != .copied { tallies[entry.name] = merged.tally }
            }
        }
        try TensorStream(items).write(
            threadCount: threadCount, rehearsal: directory.rehearsal, progress: progress)
        for file in files { try file.commit() }
        if shards.count > 1 {
            let index = ShardIndex.text(
                files: shards.map { ($0.name, $0.entries.map(\.name)) },
                byteCount: shards.reduce(0) { $0 + $1.entries.reduce(0) { $0 + $1.byteCount } })
            try directory.write(ShardIndex.fileName, text: index)
        }
        return report(
            tallies.mapValues(\.outcome), files: shards.map(\.name), dtypes: [type.rawValue],
            dropped: base.unknownTensors)
    }

    private typealias Shard = (name: String, entries: [SafetensorsEntry])

    /// The entries in files of the usual size.
    private static func shards(_ entries: [SafetensorsEntry]) -> [Shard] {
        let groups = ShardPlan.groups(entries.map(\.byteCount), limit: ShardPlan.usualByteLimit)
        return groups.enumerated().map { index, group in
            (ShardPlan.name("model", index, of: groups.count, ending: ".safetensors"), Array(entries[group]))
        }
    }
}
