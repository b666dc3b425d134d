import Glibc
import TensorCore

/// The tensors of a model, wherever they lie: a Hugging Face directory, one safetensors file, one GGUF file or the
/// parts of a split one. Owns the mappings; nothing is read before it is asked for.
package final class Checkpoint: TensorSource, Sendable {
    /// How a checkpoint's files are laid out.
    package enum Layout: Sendable, Equatable {
        /// safetensors files, with `config.json` and tokenizer files beside them in `directory`.
        case huggingFace(directory: String)
        /// One GGUF file, with everything in its metadata, or the parts of a split one, with everything in the first
        /// part's.
        case gguf
    }

    package let path: String
    /// How the files are laid out.
    package let layout: Layout
    /// The paths of the files that hold tensors, in shard order.
    package let files: [String]
    /// Every tensor: shards in order, each in its file's order (of bytes for safetensors, of entries for GGUF).
    package let tensors: [TensorRecord]
    /// `config.json`, where there is one.
    package let configuration: JSONValue?
    /// A GGUF file's metadata; of a split model the first part's.
    package let metadata: GGUFMetadata?
    /// The `__metadata__` of each safetensors file, as `files` lists them; none for GGUF.
    package let headerMetadata: [[(key: String, value: String)]]
    /// The path of the index that says which tensor lies in which file, where there is one.
    package let indexPath: String?
    /// The mapped tensor files, as `files` lists them; an output made from them rechecks them at its end
    /// (`MappedFile.checkUnchanged`).
    package let mappings: [MappedFile]
    private let index: NameTable<Int>

    private static let configurationByteLimit = 16 << 20

    /// Opens a Hugging Face directory (see `ModelFiles` for which files of it are read), a `.safetensors` or
    /// `.safetensors.zst` file, an index of several, or a GGUF file (of a split model any part), and checks all headers.
    ///
    /// Throws `missing` for a path where nothing is, `noModel` or `missingWeights` for a directory without a checkpoint,
    /// and the errors of the formats.
    package static func open(_ path: String) throws(CheckpointError) -> Checkpoint {
        switch try checkedPathKind(path) {
        case .nothing: throw .nothing(at: path)
        case .regularFile, .other: return try openFile(path)
        case .directory: return try openDirectory(path)
        }
    }

    /// What files say beside their tensors.
    private struct Description {
        var configuration: JSONValue?
        var metadata: GGUFMetadata?
        var headerMetadata: [[(key: String, value: String)]] = []
        var indexPath: String?
    }

    private init(
        path: String, layout: Layout, mappings: [MappedFile], tensors: [TensorRecord], description: Description
    ) {
        self.path = path
        self.layout = layout
        self.mappings = mappings
        self.tensors = tensors
        configuration = description.configuration
        metadata = description.metadata
        headerMetadata = description.headerMetadata
        indexPath = description.indexPath
        files = mappings.map(\.path)
        index = tensors.placesByName
    }

    /// The same files with other tensors and configuration, as what is made of them would be opened: a directory where it
    /// is no GGUF file. What `tensors` says of files is `base`'s; some may be unwritten.
    package init(_ base: Checkpoint, holding tensors: [TensorRecord], configuration: JSONValue?) {
        path = if case .huggingFace(let directory) = base.layout { directory } else { base.path }
        layout = base.layout
        mappings = base.mappings
        files = base.files
        self.tensors = tensors
        self.configuration = configuration
        metadata = base.metadata
        headerMetadata = base.headerMetadata
        indexPath = base.indexPath
        index = tensors.placesByName
    }

    private static func openFile(_ path: String) throws(CheckpointError) -> Checkpoint {
        let mapping = try MappedFile.open(path)
        let isGGUF = mapping.withBytes { $0.starts(with: "GGUF".utf8) }
        if isGGUF || path.hasSuffix(".gguf") {
            let model = try GGUFSplit.open(mapping)
            return Checkpoint(
                path: path, layout: .gguf, mappings: model.files, tensors: model.tensors,
                description: Description(metadata: model.metadata))
        }
        if path.hasSuffix(FilePack.suffix) {
            throw .noModel(directory: path, hint: "it is the pack of an adapter; pass it as \(.adapter)")
        }
        let directory = parentDirectory(of: path)
        if path.hasSuffix(ModelFiles.indexEnding) {
            let index = try ShardIndex(path: path)
            return try make(openShards(of: index, in: directory), index, in: directory, path: path)
        }
        guard path.hasSuffix(".safetensors") || path.hasSuffix(SafetensorsZstd.suffix) else {
            throw .malformed(file: path, problem: "is neither a .safetensors file nor a GGUF file")
        }
        return try make([SafetensorsFile.open(path)], nil, in: directory, path: path)
    }

    private static func openDirectory(_ path: String) throws(CheckpointError) -> Checkpoint {
        switch try ModelFiles.find(in: path) {
        case nil: throw failure(of: path)
        case .index(let name):
            let index = try ShardIndex(path: joinedPath(path, name))
            return try make(openShards(of: index, in: path), index, in: path, path: path)
        case .files(let names):
            try ModelFiles.checkNumbers(names, in: path)
            return try make(openFiles(names, in: path), nil, in: path, path: path)
        }
    }

    private static func make(
        _ files: [SafetensorsFile], _ index: ShardIndex?, in directory: String, path: String
    ) throws(CheckpointError) -> Checkpoint {
        Checkpoint(
            path: path, layout: .huggingFace(directory: directory), mappings: files.map(\.file),
            tensors: files.flatMap(\.tensors),
            description: Description(
                configuration: try readConfiguration(in: directory), headerMetadata: files.map(\.metadata),
                indexPath: index?.path))
    }

    /// Opens files each tensor of which is in one of them.
    private static func openFiles(_ names: [String], in directory: String) throws(CheckpointError) -> [SafetensorsFile]
    {
        var files: [SafetensorsFile] = []
        var fileOfTensor: NameTable<String> = [:]
        for (position, name) in names.enumerated() {
            let file = try SafetensorsFile.open(joinedPath(directory, name), fileIndex: position)
            files.append(file)
            guard names.count > 1 else { break }
            for tensor in file.tensors {
                guard let other = fileOfTensor.updateValue(name, forKey: tensor.name) else { continue }
                throw .badTensor(
                    file: directory, tensor: tensor.name,
                    expected: "without an index it may be in one only; name the file that is meant, or move the other "
                        + "away",
                    found: "is in two files, '\(other)' and '\(name)'")
            }
        }
        return files
    }

    private static func openShards(
        of index: ShardIndex, in directory: String
    ) throws(CheckpointError) -> [SafetensorsFile] {
        var files: [SafetensorsFile] = []
        var shardOfTensor: NameTable<String> = [:]
        for (position, shard) in index.shards.enumerated() {
            let path = joinedPath(directory, shard)
            guard pathKind(path) != .nothing else {
                let tensor = index.entries.first { $0.shard.hasSameBytes(as: shard) }!.tensor
                throw .malformed(
                    file: index.path, problem: "the shard '\(shard)' (with tensor '\(tensor)') is not there")
            }
            let file = try SafetensorsFile.open(path, fileIndex: position)
            for tensor in file.tensors {
                if let other = shardOfTensor.updateValue(shard, forKey: tensor.name) {
                    throw .badTensor(
                        file: index.path, tensor: tensor.name, expected: "it may be in one only",
                        found: "is in two shards, '\(other)' and '\(shard)'")
                }
            }
            files.append(file)
        }
        for (tensor, shard) in index.entries where !(shardOfTensor[tensor]?.hasSameBytes(as: shard) ?? false) {
            throw .badTensor(
                file: index.path, tensor: tensor, expected: "the index puts it into '\(shard)'",
                found: shardOfTensor[tensor].map { "is in '\($0)'" } ?? "is in no shard")
        }
        return files
    }

    private static func readConfiguration(in directory: String) throws(CheckpointError) -> JSONValue? {
        let path = joinedPath(directory, "config.json")
        guard pathKind(path) != .nothing else {
            // A link that leads nowhere, as in a download that was cut off, is no model without a configuration.
            var status = stat()
            guard lstat(path, &status) != 0 else { throw .missing(path: path) }
            return nil
        }
        let value: JSONValue
        do {
            value = try JSONValue.parse(try readSmallFile(path, limit: configurationByteLimit))
        } catch let error as CheckpointError {
            throw error
        } catch {
            throw .malformed(file: path, problem: "\(error)")
        }
        guard value.objectValue != nil else { throw .malformed(file: path, problem: "is not a JSON object") }
        return value
    }

    /// Why a directory without weights is no checkpoint.
    private static func failure(of directory: String) -> CheckpointError {
        let names = directoryEntries(directory)
        if let hint = hint(for: directory, having: names) { return .noModel(directory: directory, hint: hint) }
        guard names.contains("config.json") else {
            return .noModel(
                directory: directory,
                hint: "neither model.safetensors nor another safetensors file with a model's tensors is there")
        }
        let single = "model.safetensors"
        return .missingWeights(
            directory: directory,
            lookedFor: [single, single + ".zst", ShardIndex.fileName, "other safetensors files of a model"])
    }

    /// What a directory without a model may be instead.
    private static func hint(for directory: String, having names: [String]) -> Wording? {
        if let remedy = cacheFolderRemedy(directory) { return Wording(remedy) }
        if names.contains("adapter_config.json") {
            return "it is an adapter directory; name the base model and pass the adapter as \(.adapter)"
        }
        if let file = names.first(where: { $0.hasSuffix(".gguf") }) {
            return "name the GGUF file itself, such as '\(joinedPath(directory, file))'"
        }
        if let file = names.first(where: { $0.hasSuffix(".bin") || $0.hasSuffix(".pt") || $0.hasSuffix(".pth") }) {
            return "'\(file)' is a PyTorch pickle, which tspeft does not read; convert it to safetensors"
        }
        return nil
    }

    /// The names that a copy's tensor files have: those of this checkpoint's, unpacked. One of several that is copied
    /// alone is not numbered any more.
    package var copiedFileNames: [String] {
        let names = files.map { ModelFiles.unpacked(lastPathComponent($0)) }
        guard names.count == 1, ModelFiles.isNumbered(names[0]) else { return names }
        return [fileStem + ModelFiles.ending]
    }

    /// The name of a copy's index.
    package var copiedIndexName: String { indexPath.map(lastPathComponent) ?? ShardIndex.fileName }

    /// What the names of its tensor files begin with, for other files of the same tensors: `model`, or
    /// `diffusion_pytorch_model`.
    package var fileStem: String {
        if let indexPath { return String(lastPathComponent(indexPath).dropLast(ModelFiles.indexEnding.count)) }
        guard case .huggingFace = layout else { return "model" }
        let stems = NameSet(files.map { ModelFiles.stem(lastPathComponent($0)) })
        guard stems.count == 1, let stem = stems.first(where: { _ in true }) else { return "model" }
        return stem
    }

    package func record(_ name: String) -> TensorRecord? {
        index[name].map { tensors[$0] }
    }

    /// Tells the kernel that a tensor will be read soon, or is not needed for now.
    package func advise(_ record: TensorRecord, willNeed: Bool) {
        mappings[record.fileIndex].advise(record.byteRange, willNeed: willNeed)
    }

    package func mapping(of record: TensorRecord) -> MappedFile { mappings[record.fileIndex] }
}
