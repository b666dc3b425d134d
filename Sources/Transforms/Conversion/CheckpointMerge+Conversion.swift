import CheckpointIO
import Models
import TensorCore

/// Writing a GGUF base as a Hugging Face directory in BF16.
extension CheckpointMerge {
    /// The type of every tensor of a converted checkpoint.
    private static let convertedType = DType.bf16
    /// Bytes of one tensor file at most, unless one tensor has more: what Hugging Face's libraries took for long.
    private static let shardByteLimit = 5_000_000_000

    /// Every tensor of the model by its Hugging Face name, merged or converted, then configuration and tokenizer.
    func writeConverted(
        into directory: AtomicDirectory, _ threadCount: Int, _ progress: Progress
    ) throws -> MergeReport {
        guard let metadata = base.checkpoint.metadata else {
            throw TransformError.unsupported(path: base.checkpoint.path, reason: "it has no metadata")
        }
        let type = Self.convertedType
        let merging = Dictionary(plan.tensors.map { ($0.target, $0) }, uniquingKeysWith: { first, _ in first })
        let unties = plan.untiedHead != nil
        let names = base.tensorNames + [plan.untiedHead].compactMap { $0?.target }
        func shape(_ name: String) -> [Int] { base.shape(of: merging[name]?.source ?? name) ?? [] }

        // Small and likely to fail comes first.
        let paddingTokenID = metadata["tokenizer.ggml.padding_token_id"]?.intValue
        let configuration = try HuggingFaceConfiguration.config(
            of: base.configuration, dtype: type, tiedEmbeddings: base.configuration.tiedEmbeddings && !unties,
            paddingTokenID: paddingTokenID, file: base.checkpoint.path)
        try directory.write("config.json", text: configuration.text(indent: 2) + "\n")
        let generation = HuggingFaceConfiguration.generation(of: base.configuration, paddingTokenID: paddingTokenID)
        try directory.write("generation_config.json", text: generation.text(indent: 2) + "\n")
        let tokenizer = try GGUFTokenizerExport(metadata, file: base.checkpoint.path)
        try directory.write("tokenizer.json", text: try tokenizer.tokenizer().text(indent: 2) + "\n")
        try directory.write("tokenizer_config.json", text: tokenizer.configuration.text(indent: 2) + "\n")

        var tallies: [String: ChangeTally] = [:]
        var files: [OutputTensorFile] = []
        var items: [TensorStream.Item] = []
        let shards = Self.shards(names.map { SafetensorsEntry(name: $0, dtype: type, shape: shape($0)) })
        for shard in shards {
            let writer = try directory.writer(shard.name)
            let file = try OutputTensorFile(
                writer, layout: try SafetensorsWriter.layout(shard.entries, file: writer.path))
            files.append(file)
            for (place, entry) in shard.entries.enumerated() {
                let tensor = merging[entry.name]
                let merged =
                    tensor.map { self.merged($0, as: type) }
                    ?? MergedTensor(
                        base: base, name: entry.name, dtype: type, makeChange: { nil }, tally: ChangeTally())
                items.append(file.item(place, .made(merged.rows())))
                if let tensor, tensor.role != .copied { tallies[entry.name] = merged.tally }
            }
        }
        try TensorStream(items).write(threadCount: threadCount, progress: progress)
        for file in files { try file.commit() }
        if shards.count > 1 { try writeIndex(shards, into: directory) }
        return report(tallies, files: shards.map(\.name), dtypes: [type])
    }

    private typealias Shard = (name: String, entries: [SafetensorsEntry])

    /// The entries in files of at most `shardByteLimit` bytes.
    private static func shards(_ entries: [SafetensorsEntry]) -> [Shard] {
        var groups: [[SafetensorsEntry]] = [[]]
        var bytes = 0
        for entry in entries {
            if bytes > 0, bytes + entry.byteCount > shardByteLimit {
                groups.append([])
                bytes = 0
            }
            groups[groups.count - 1].append(entry)
            bytes += entry.byteCount
        }
        guard groups.count > 1 else { return [("model.safetensors", entries)] }
        return groups.enumerated().map { index, group in
            ("model-\(fiveDigits(index + 1))-of-\(fiveDigits(groups.count)).safetensors", group)
        }
    }

    private static func fiveDigits(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }

    private func writeIndex(_ shards: [Shard], into directory: AtomicDirectory) throws {
        var map = JSONObject()
        for shard in shards { for entry in shard.entries { map[entry.name] = .string(shard.name) } }
        let size = shards.reduce(0) { $0 + $1.entries.reduce(0) { $0 + $1.byteCount } }
        let index: JSONValue = .object([
            "metadata": .object(["total_size": .integer(size)]), "weight_map": .object(map),
        ])
        try directory.write(ShardIndex.fileName, text: index.text(indent: 2) + "\n")
    }
}
