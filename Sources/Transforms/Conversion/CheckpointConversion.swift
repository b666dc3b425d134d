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
        let draft: Draft
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
        try self.init(draft, checkpoint, to: format, at: output, shardByteLimit: shardByteLimit)
    }

    /// Plans the conversion of what is not written yet, within its family or to GGUF; as `init(_:to:at:type:)` of the
    /// files that it would have.
    init(
        _ unwritten: UnwrittenCheckpoint, to format: Format, at output: OutputTarget, type: QuantizationMix?
    ) throws {
        let checkpoint = unwritten.checkpoint
        var draft: Draft
        switch (checkpoint.layout, format) {
        case (.huggingFace(let directory), .gguf):
            draft = try Draft(huggingFace: checkpoint, directory: directory, toGGUF: type, unwritten)
        case (.huggingFace(let directory), _):
            draft = try Draft(safetensors: checkpoint, directory: directory, to: format, type: type)
            draft.takeConfiguration(unwritten.changedConfiguration)
        case (.gguf, _):
            precondition(format == .gguf, "a GGUF base becomes a directory in its merge")
            draft = try Draft(gguf: checkpoint, metadata: unwritten.metadata, type: type)
        }
        draft.take(unwritten.made)
        draft.rewrittenFiles = unwritten.rewrittenFiles
        try self.init(draft, checkpoint, to: format, at: output, shardByteLimit: nil)
    }

    /// Lays the files of a draft out.
    private init(
        _ draft: Draft, _ checkpoint: Checkpoint, to format: Format, at output: OutputTarget, shardByteLimit: Int?
    ) throws {
        var draft = draft
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
        /// Files of the input that are not written yet, whose headers cannot be taken from those that are there.
        var rewrittenFiles: Set<Int> = []
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
            guard let record = tensor.input?.record else { continue }
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
            let unchanged = unchangedFile(tensors, checkpoint)
            let isNew = unchanged.map { draft.rewrittenFiles.contains($0[0].fileIndex) } ?? false
            if let unchanged, !isNew {
                return File(path: path, tensors: group, layout: try layout(of: unchanged, checkpoint))
            }
            let entries = tensors.compactMap { tensor in
                tensor.encoding.plainType.map { SafetensorsEntry(name: tensor.name, dtype: $0, shape: tensor.shape) }
            }
            precondition(entries.count == tensors.count, "blocks on their way to safetensors")
            let metadata =
                unchanged.map { checkpoint.headerMetadata[$0[0].fileIndex] } ?? draft.headerPairs
            let layout = try SafetensorsWriter.layout(entries, metadata: metadata, file: path)
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
            guard let (record, isAsStored) = tensor.input, isAsStored, record.name.hasSameBytes(as: tensor.name),
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
        // Tensors that are yet to be made will lie where others lie now, one behind the other as all are.
        var end = file.byteCount - records.reduce(0) { $0 + $1.byteCount }
        let header = try file.withBytes(in: 0..<end) { Array($0) }
        let ranges = records.map { record in
            defer { end += record.byteCount }
            return end..<end + record.byteCount
        }
        return TensorFileLayout(header: header, ranges: ranges, byteCount: file.byteCount)
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

    /// Whether a tensor that a merge makes gets another encoding after it.
    package var changesMerged: Bool {
        tensors.contains { tensor in
            if case .made(let record, _, _) = tensor.source { record.encoding != tensor.encoding } else { false }
        }
    }

    /// How many tensors change their encoding.
    package var changedCount: Int { tensors.count { $0.changedEncoding != nil } }
}
