import CheckpointIO
import Models
import TensorCore

/// A checkpoint on its way to another format, other types or other files; planned and checked before anything is
/// written.
///
/// Within one family of formats (safetensors in files and directories; GGUF whole and split) the model may be any: its
/// tensors keep their names and meanings. Between the families names, row order, configuration and tokenizer change, so
/// the architecture must be a known one.
package struct CheckpointConversion: Sendable {
    /// What is written.
    package enum Format: String, Sendable, CaseIterable {
        /// A directory with `config.json`, tokenizer and safetensors files.
        case huggingFace = "huggingface"
        /// One safetensors file: tensors alone.
        case safetensors
        /// One GGUF file, or its parts.
        case gguf
    }

    /// A tensor file of the output.
    package struct File: Sendable {
        /// Where it will be.
        package let path: String
        /// Which of the output's tensors it holds.
        let tensors: Range<Int>
        let layout: TensorFileLayout

        /// Its size in bytes.
        package var byteCount: Int { layout.byteCount }
        /// How many tensors it holds.
        package var tensorCount: Int { tensors.count }
    }

    /// A file beside the tensors in a directory.
    package struct SideFile: Sendable {
        enum Content: Sendable {
            /// The file at this path, byte for byte.
            case copy(String)
            case text(String)
        }

        /// Its name in the directory.
        package let name: String
        let content: Content
    }

    /// The input.
    package let checkpoint: Checkpoint
    /// What is written.
    package let format: Format
    /// Where it goes.
    package let outputPath: String
    /// The tensor files, in order.
    package let files: [File]
    /// What lies beside them.
    package let sideFiles: [SideFile]
    /// What a user should know of the result, a sentence each.
    package let notes: [String]
    let tensors: [ConvertedTensor]

    /// Plans a conversion.
    ///
    /// - Parameters:
    ///   - type: the type of the output; nil keeps each tensor's (see `keptEncodings` for blocks in GGUF on their way
    ///     to safetensors).
    ///   - shardByteLimit: bytes of tensors in one file at most; nil is what is usual for the format: the input's own
    ///     files for safetensors to safetensors, one file for GGUF.
    ///
    /// Throws `TransformError.unsupported` and `ModelError.unknownArchitecture` (exit 69) for what has no form in the
    /// format, `TransformError.outputIsInput`, and what reading model and tokenizer throws.
    package init(
        _ checkpoint: Checkpoint, to format: Format, at outputPath: String, type: QuantizationMix? = nil,
        shardByteLimit: Int? = nil
    ) throws {
        precondition(shardByteLimit ?? 1 > 0, "a limit that allows something")
        var draft: Draft
        switch (checkpoint.layout, format) {
        case (.huggingFace(let directory), .gguf):
            draft = try Draft(huggingFace: checkpoint, directory: directory, toGGUF: type)
        case (.huggingFace(let directory), _):
            draft = try Draft(safetensors: checkpoint, directory: directory, to: format, type: type)
        case (.gguf, .gguf):
            draft = try Draft(gguf: checkpoint, type: type)
        case (.gguf, _):
            draft = try Draft(gguf: checkpoint, to: format, type: type)
        }
        try Self.checkNames(draft.tensors, checkpoint)
        if case .huggingFace = checkpoint.layout, format == .huggingFace, shardByteLimit == nil {
            files = try Self.files(draft, format, outputPath, groups: Self.ownGroups(draft.tensors, checkpoint))
        } else {
            let limit = shardByteLimit ?? (format == .huggingFace ? ShardPlan.usualByteLimit : Int.max)
            if format == .safetensors, shardByteLimit != nil {
                throw TransformError.unsupported(
                    path: outputPath,
                    reason: "a single safetensors file has no shards; name a directory, or leave out --max-shard-size")
            }
            files = try Self.files(
                draft, format, outputPath, groups: ShardPlan.groups(draft.tensors.map(\.byteCount), limit: limit))
        }
        if format == .huggingFace, files.count > 1 {
            draft.sideFiles.append(
                SideFile(name: ShardIndex.fileName, content: .text(Self.index(files, draft.tensors))))
        }
        self.checkpoint = checkpoint
        self.format = format
        self.outputPath = outputPath
        sideFiles = draft.sideFiles
        notes = draft.notes
        tensors = draft.tensors
        for output in format == .huggingFace ? [outputPath] : files.map(\.path) {
            for input in [checkpoint.path] + checkpoint.files where wouldReplace(output, input: input) {
                throw TransformError.outputIsInput(path: output)
            }
        }
    }

    /// What a direction of conversion decides; files come after.
    struct Draft {
        var tensors: [ConvertedTensor] = []
        var sideFiles: [SideFile] = []
        /// A GGUF file's metadata.
        var metadata: [(key: String, value: GGUFEncodedValue)] = []
        /// What the header of each safetensors file says.
        var headerPairs = SafetensorsWriter.pyTorchMetadata
        var notes: [String] = []
    }

    /// A GGUF file may name a tensor as another one is called in safetensors' header.
    private static func checkNames(_ tensors: [ConvertedTensor], _ checkpoint: Checkpoint) throws {
        var seen: Set<String> = []
        for tensor in tensors where !seen.insert(tensor.name).inserted {
            throw TransformError.unusableTensor(
                base: checkpoint.path, tensor: tensor.name, reason: "would stand in the output twice")
        }
    }

    // MARK: Files

    /// Tensors in the files that they lie in now.
    private static func ownGroups(_ tensors: [ConvertedTensor], _ checkpoint: Checkpoint) -> [Range<Int>] {
        var groups: [Range<Int>] = []
        var start = 0
        var current: Int?
        for (index, tensor) in tensors.enumerated() {
            guard case .record(let record, _) = tensor.source else { continue }
            if let current, current != record.fileIndex {
                groups.append(start..<index)
                start = index
            }
            current = record.fileIndex
        }
        groups.append(start..<tensors.count)
        return groups
    }

    private static func files(
        _ draft: Draft, _ format: Format, _ outputPath: String, groups: [Range<Int>]
    ) throws -> [File] {
        try groups.enumerated().map { index, group in
            let tensors = draft.tensors[group]
            switch format {
            case .huggingFace, .safetensors:
                let name = ShardPlan.name("model", index, of: groups.count, ending: ".safetensors")
                let path = format == .safetensors ? outputPath : joinedPath(outputPath, name)
                let entries = tensors.compactMap { tensor in
                    tensor.encoding.plainType.map {
                        SafetensorsEntry(name: tensor.name, dtype: $0, shape: tensor.shape)
                    }
                }
                precondition(entries.count == tensors.count, "blocks on their way to safetensors")
                let layout = try SafetensorsWriter.layout(entries, metadata: draft.headerPairs, file: path)
                return File(path: path, tensors: group, layout: layout)
            case .gguf:
                var stem = outputPath
                if stem.hasSuffix(".gguf") { stem.removeLast(5) }
                let path =
                    groups.count == 1
                    ? outputPath : ShardPlan.name(stem, index, of: groups.count, ending: ".gguf")
                var metadata = index == 0 ? draft.metadata : draft.metadata.filter { $0.key == "general.alignment" }
                if groups.count > 1 {
                    guard let place = UInt16(exactly: index), let count = UInt16(exactly: groups.count) else {
                        throw TransformError.unsupported(
                            path: outputPath, reason: "\(groups.count) parts are more than GGUF can count")
                    }
                    metadata.append(("split.no", .uint16(place)))
                    metadata.append(("split.count", .uint16(count)))
                    metadata.append(("split.tensors.count", .int32(Int32(clamping: draft.tensors.count))))
                }
                let entries = tensors.map { GGUFEntry(name: $0.name, encoding: $0.encoding, shape: $0.shape) }
                let layout = try GGUFWriter.layout(entries, metadata: metadata, file: path)
                return File(path: path, tensors: group, layout: layout)
            }
        }
    }

    private static func index(_ files: [File], _ tensors: [ConvertedTensor]) -> String {
        var map = JSONObject()
        for file in files {
            for tensor in tensors[file.tensors] { map[tensor.name] = .string(lastPathComponent(file.path)) }
        }
        let size = tensors.reduce(0) { $0 + $1.byteCount }
        let index: JSONValue = .object([
            "metadata": .object(["total_size": .integer(size)]), "weight_map": .object(map),
        ])
        return index.text(indent: 2) + "\n"
    }
}

// MARK: Facts

extension CheckpointConversion {
    /// Bytes of all tensor files.
    package var byteCount: Int { files.reduce(0) { $0 + $1.byteCount } }

    /// How many tensors the output has.
    package var tensorCount: Int { tensors.count }

    /// Tensors and bytes of each encoding in the output, the largest share first.
    package var encodings: [(encoding: TensorEncoding, tensorCount: Int, byteCount: Int)] {
        var totals: [String: (encoding: TensorEncoding, tensorCount: Int, byteCount: Int)] = [:]
        for tensor in tensors {
            var total = totals[tensor.encoding.description] ?? (tensor.encoding, 0, 0)
            total.tensorCount += 1
            total.byteCount += tensor.byteCount
            totals[tensor.encoding.description] = total
        }
        return totals.values.sorted {
            ($1.byteCount, $0.encoding.description) < ($0.byteCount, $1.encoding.description)
        }
    }

    /// How many tensors change their encoding.
    package var changedCount: Int { tensors.count { $0.changedEncoding != nil } }
}
