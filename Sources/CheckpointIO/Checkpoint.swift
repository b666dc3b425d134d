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
    /// The mapped tensor files, as `files` lists them; an output made from them rechecks them at its end
    /// (`MappedFile.checkUnchanged`).
    package let mappings: [MappedFile]
    private let index: [String: Int]

    private static let configurationByteLimit = 16 << 20

    /// Opens a Hugging Face directory, a `.safetensors` or `.safetensors.zst` file or a GGUF file (of a split model any
    /// part), and checks all headers.
    ///
    /// Throws `missing` for a path where nothing is, `noModel` or `missingWeights` for a directory without a
    /// checkpoint, and the errors of
    /// the formats.
    package static func open(_ path: String) throws(CheckpointError) -> Checkpoint {
        switch try checkedPathKind(path) {
        case .nothing, .regularFile, .other: return try openFile(path)
        case .directory: return try openDirectory(path)
        }
    }

    private init(
        path: String, layout: Layout, mappings: [MappedFile], tensors: [TensorRecord], configuration: JSONValue?,
        metadata: GGUFMetadata?, headerMetadata: [[(key: String, value: String)]] = []
    ) {
        self.path = path
        self.layout = layout
        self.mappings = mappings
        self.tensors = tensors
        self.configuration = configuration
        self.metadata = metadata
        self.headerMetadata = headerMetadata
        files = mappings.map(\.path)
        index = tensors.placesByName
    }

    private static func openFile(_ path: String) throws(CheckpointError) -> Checkpoint {
        let mapping = try MappedFile.open(path)
        let isGGUF = mapping.withBytes { $0.starts(with: "GGUF".utf8) }
        if isGGUF || path.hasSuffix(".gguf") {
            let model = try GGUFSplit.open(mapping)
            return Checkpoint(
                path: path, layout: .gguf, mappings: model.files, tensors: model.tensors, configuration: nil,
                metadata: model.metadata)
        }
        if path.hasSuffix(FilePack.suffix) {
            throw .noModel(directory: path, hint: "it is the pack of an adapter; pass it with --adapter")
        }
        guard path.hasSuffix(".safetensors") || path.hasSuffix(SafetensorsZstd.suffix) else {
            throw .malformed(file: path, problem: "is neither a .safetensors file nor a GGUF file")
        }
        let directory = parentDirectory(of: path)
        let file = try SafetensorsFile.open(path)
        return Checkpoint(
            path: path, layout: .huggingFace(directory: directory), mappings: [file.file], tensors: file.tensors,
            configuration: try readConfiguration(in: directory), metadata: nil, headerMetadata: [file.metadata])
    }

    private static func openDirectory(_ path: String) throws(CheckpointError) -> Checkpoint {
        var single = joinedPath(path, "model.safetensors")
        if pathKind(single) == .nothing, pathKind(single + ".zst") != .nothing { single += ".zst" }
        let indexPath = joinedPath(path, ShardIndex.fileName)
        let files: [SafetensorsFile]
        if pathKind(single) != .nothing {
            files = [try SafetensorsFile.open(single)]
        } else if pathKind(indexPath) != .nothing {
            files = try openShards(of: ShardIndex(path: indexPath), in: path)
        } else {
            throw failure(of: path)
        }
        return Checkpoint(
            path: path, layout: .huggingFace(directory: path), mappings: files.map(\.file),
            tensors: files.flatMap(\.tensors), configuration: try readConfiguration(in: path), metadata: nil,
            headerMetadata: files.map(\.metadata))
    }

    private static func openShards(
        of index: ShardIndex, in directory: String
    ) throws(CheckpointError) -> [SafetensorsFile] {
        var files: [SafetensorsFile] = []
        var shardOfTensor: [String: String] = [:]
        for (position, shard) in index.shards.enumerated() {
            let path = joinedPath(directory, shard)
            guard pathKind(path) != .nothing else {
                let tensor = index.entries.first { $0.shard == shard }!.tensor
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
        for (tensor, shard) in index.entries where shardOfTensor[tensor] != shard {
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
                directory: directory, hint: "neither model.safetensors nor \(ShardIndex.fileName) is there")
        }
        let single = "model.safetensors"
        return .missingWeights(
            directory: directory, lookedFor: [single, single + ".zst", ShardIndex.fileName])
    }

    /// What a directory without a model may be instead.
    private static func hint(for directory: String, having names: [String]) -> String? {
        if names.contains("adapter_config.json") {
            return "it is an adapter directory; name the base model and pass the adapter with --adapter"
        }
        if let file = names.first(where: { $0.hasSuffix(".gguf") }) {
            return "name the GGUF file itself, such as '\(joinedPath(directory, file))'"
        }
        if let file = names.first(where: { $0.hasSuffix(".bin") || $0.hasSuffix(".pt") || $0.hasSuffix(".pth") }) {
            return "'\(file)' is a PyTorch pickle, which tspeft does not read; convert it to safetensors"
        }
        return nil
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
