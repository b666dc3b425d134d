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
        /// The same, packed by Zstandard with a frame for each tensor.
        case safetensorsZstd = "safetensors.zst"
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

        /// Its size in bytes, unpacked.
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
    package let output: OutputTarget
    /// Its path.
    package var outputPath: String { output.path }
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
    ///     files, by their names, for safetensors to safetensors, one file for GGUF.
    ///
    /// Throws `TransformError.unsupported` and `ModelError.unknownArchitecture` (exit 69) for what has no form in the
    /// format, `TransformError.outputIsInput`, and what reading model and tokenizer throws.
    package init(
        _ checkpoint: Checkpoint, to format: Format, at output: OutputTarget, type: QuantizationMix? = nil,
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
        if format == .gguf {
            files = try Self.ggufFiles(draft, output.path, limit: shardByteLimit ?? Int.max)
        } else {
            files = try Self.safetensorsFiles(
                draft, format, output.path, Self.groups(draft.tensors, format, checkpoint, shardByteLimit), checkpoint)
        }
        if format == .huggingFace, files.count > 1 {
            draft.sideFiles.append(
                SideFile(name: Self.indexName(checkpoint), content: .text(Self.index(files, draft.tensors))))
        }
        self.checkpoint = checkpoint
        self.format = format
        self.output = output
        sideFiles = draft.sideFiles
        notes = draft.notes
        tensors = draft.tensors
        for path in format == .huggingFace ? [output.path] : files.map(\.path) {
            for input in [checkpoint.path] + checkpoint.files where wouldReplace(path, input: input) {
                throw TransformError.outputIsInput(path: path)
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
        var seen: NameSet = []
        for tensor in tensors where !seen.insert(tensor.name).inserted {
            throw TransformError.unusableTensor(
                base: checkpoint.path, tensor: tensor.name, reason: "would stand in the output twice")
        }
    }

    // MARK: Files

    /// How tensors are spread over safetensors files: over directories as the limit says, or else as the input has them
    /// if that is safetensors too.
    private static func groups(
        _ tensors: [ConvertedTensor], _ format: Format, _ checkpoint: Checkpoint, _ limit: Int?
    ) -> [(name: String, tensors: Range<Int>)] {
        guard format == .huggingFace else { return [("", 0..<tensors.count)] }
        if limit == nil, case .huggingFace = checkpoint.layout { return ownGroups(tensors, checkpoint) }
        let groups = ShardPlan.groups(tensors.map(\.byteCount), limit: limit ?? ShardPlan.usualByteLimit)
        return groups.enumerated().map { index, group in
            (ShardPlan.name(checkpoint.fileStem, index, of: groups.count, ending: ".safetensors"), group)
        }
    }

    /// The name of the index of several files.
    private static func indexName(_ checkpoint: Checkpoint) -> String {
        checkpoint.layout == .gguf ? ShardIndex.fileName : checkpoint.copiedIndexName
    }

    /// Tensors in the files that they lie in now, under their names.
    private static func ownGroups(
        _ tensors: [ConvertedTensor], _ checkpoint: Checkpoint
    ) -> [(name: String, tensors: Range<Int>)] {
        let names = checkpoint.copiedFileNames
        var groups: [(name: String, tensors: Range<Int>)] = []
        var start = 0
        var current: Int?
        for (index, tensor) in tensors.enumerated() {
            guard case .record(let record, _) = tensor.source else { continue }
            if let current, current != record.fileIndex {
                groups.append((names[current], start..<index))
                start = index
            }
            current = record.fileIndex
        }
        groups.append((names[current ?? 0], start..<tensors.count))
        return groups
    }

    private static func safetensorsFiles(
        _ draft: Draft, _ format: Format, _ outputPath: String, _ groups: [(name: String, tensors: Range<Int>)],
        _ checkpoint: Checkpoint
    ) throws -> [File] {
        try groups.map { name, group in
            let tensors = draft.tensors[group]
            let path = format == .huggingFace ? joinedPath(outputPath, name) : outputPath
            if let records = unchangedFile(tensors, checkpoint) {
                return File(path: path, tensors: group, layout: try layout(of: records, checkpoint))
            }
            let entries = tensors.compactMap { tensor in
                tensor.encoding.plainType.map { SafetensorsEntry(name: tensor.name, dtype: $0, shape: tensor.shape) }
            }
            precondition(entries.count == tensors.count, "blocks on their way to safetensors")
            let layout = try SafetensorsWriter.layout(entries, metadata: draft.headerPairs, file: path)
            return File(path: path, tensors: group, layout: layout)
        }
    }

    /// The records behind `tensors`, if they are all those of one safetensors file and nothing about them changes: then
    /// the new file is the same, to the byte.
    private static func unchangedFile(
        _ tensors: ArraySlice<ConvertedTensor>, _ checkpoint: Checkpoint
    ) -> [TensorRecord]? {
        guard case .huggingFace = checkpoint.layout else { return nil }
        let records = tensors.compactMap { tensor -> TensorRecord? in
            guard case .record(let record, .asStored) = tensor.source, record.name.hasSameBytes(as: tensor.name),
                record.encoding == tensor.encoding
            else { return nil }
            return record
        }
        guard let first = records.first, records.count == tensors.count,
            records == checkpoint.tensors.filter({ $0.fileIndex == first.fileIndex })
        else { return nil }
        return records
    }

    /// The layout of the file that holds `records`, in the order of their bytes, and no others.
    private static func layout(of records: [TensorRecord], _ checkpoint: Checkpoint) throws -> TensorFileLayout {
        let file = checkpoint.mapping(of: records[0])
        let header = try file.withBytes(in: 0..<records[0].offset) { Array($0) }
        return TensorFileLayout(header: header, ranges: records.map(\.byteRange), byteCount: file.byteCount)
    }

    private static func ggufFiles(_ draft: Draft, _ outputPath: String, limit: Int) throws -> [File] {
        let entries = draft.tensors.map { GGUFEntry(name: $0.name, encoding: $0.encoding, shape: $0.shape) }
        let alignment = draft.metadata.first { $0.key == GGUFModelMetadata.alignmentKey }?.value.uint32Value
        let parts = try GGUFSplit.parts(
            of: entries, byteLimit: limit, alignment: Int(alignment ?? 32), file: outputPath)
        guard parts.count > 1 else {
            let layout = try GGUFWriter.layout(
                entries, metadata: GGUFSplit.joined(draft.metadata), file: outputPath)
            return [File(path: outputPath, tensors: 0..<entries.count, layout: layout)]
        }
        var prefix = outputPath
        if prefix.hasSuffix(".gguf") { prefix.removeLast(5) }
        var start = 0
        return try parts.enumerated().map { index, part in
            let path = GGUFSplit.path(prefix: prefix, part: index, of: parts.count)
            let metadata = GGUFSplit.metadata(
                draft.metadata, part: index, of: parts.count, tensorCount: entries.count)
            defer { start += part.count }
            let layout = try GGUFWriter.layout(part, metadata: metadata, file: path)
            return File(path: path, tensors: start..<start + part.count, layout: layout)
        }
    }

    private static func index(_ files: [File], _ tensors: [ConvertedTensor]) -> String {
        ShardIndex.text(
            files: files.map { (lastPathComponent($0.path), tensors[$0.tensors].map(\.name)) },
            byteCount: tensors.reduce(0) { $0 + $1.byteCount })
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
        var totals: NameTable<(encoding: TensorEncoding, tensorCount: Int, byteCount: Int)> = [:]
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
