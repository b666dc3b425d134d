import CheckpointIO
import Models
import TensorCore

extension AdapterDirectory {
    /// Bytes of a JSON file at most; an adapter of 10,000 modules stays far below.
    private static let textLimit = 32 << 20

    /// Reads an adapter directory, ours or peft's, or a pack of one, and checks it; tensors of any float type become
    /// F32.
    ///
    /// Throws `AdapterError` for what is wrong with an adapter, `CheckpointError` for files that cannot be read.
    package static func read(_ path: String) throws -> AdapterDirectory {
        let files = try AdapterFiles(path)
        let configuration = try configuration(in: files)
        let record = try AdapterRecord.read(in: files)
        let tensorPath = files.place(of: PEFTNames.tensorFile)
        if !files.has(PEFTNames.tensorFile) {
            let hasPickle = files.has(PEFTNames.pickleFile)
            throw AdapterError.missingFile(
                tensorPath,
                remedy: hasPickle
                    ? "\(PEFTNames.pickleFile) is a Python pickle, which is never opened; save it with peft's "
                        + "safe_serialization=True" : nil)
        }
        let tensorFile = try files.tensors(PEFTNames.tensorFile)
        let (keyed, gates) = try sorted(tensorFile, configuration)
        let suffixes = configuration.tensorSuffixes
        let found = keyed.compactMap { PEFTNames.split($0.name, suffixes: suffixes)?.module }
        let modules = try ordered(Set(found), by: record?.modules, file: tensorPath)
        // Before any value is read: a wrong file should not cost its size in memory.
        let shapes = Dictionary(keyed.map { ($0.name, $0.record.shape) }, uniquingKeysWith: { first, _ in first })
        for module in modules { _ = try checkedKeys(of: module, shapes, configuration, file: tensorPath) }
        var tensors: [AdapterTensor] = []
        for (name, record) in keyed {
            tensors.append(AdapterTensor(name, record.shape, try tensorFile.floats(of: record)))
        }
        let thresholds = try gates.mapValues { try tensorFile.floats(of: $0)[0] }
        // From here on the adapter is in memory, and what becomes of the file is no concern of who writes from it.
        try tensorFile.file.checkUnchanged()
        return try AdapterDirectory(
            configuration: configuration, modules: modules, tensors: tensors, thresholds: thresholds,
            statistics: try record?.statistics(in: files), base: record?.base, training: record?.training,
            history: record?.history ?? [], path: path, file: tensorPath)
    }

    /// What the adapter directory at `path` says that it holds, without its tensors; throws as `read`.
    package static func configuration(at path: String) throws -> AdapterConfiguration {
        try configuration(in: AdapterFiles(path))
    }

    private static func configuration(in files: AdapterFiles) throws -> AdapterConfiguration {
        let file = files.place(of: PEFTNames.configurationFile)
        guard files.has(PEFTNames.configurationFile) else {
            throw AdapterError.missingFile(
                file, remedy: "\(files.path) is not an adapter \(files.pack == nil ? "directory" : "pack")")
        }
        return try AdapterConfiguration(json: try json(PEFTNames.configurationFile, in: files), file: file)
    }

    /// The JSON value in a file; throws `AdapterError.malformed` where it is none.
    static func json(_ name: String, in files: AdapterFiles) throws -> JSONValue {
        let bytes = try files.bytes(name, limit: textLimit)
        do {
            return try JSONValue.parse(bytes)
        } catch {
            throw AdapterError.malformed(
                file: files.place(of: name), what: "the content", expected: "JSON", found: "\(error)")
        }
    }

    /// The file's tensors by the keys that we write, and the thresholds by module; no values are read.
    private static func sorted(
        _ file: SafetensorsFile, _ configuration: AdapterConfiguration
    ) throws(AdapterError) -> (tensors: [(name: String, record: TensorRecord)], thresholds: [String: TensorRecord]) {
        let path = file.path
        let suffixes = configuration.tensorSuffixes
        let shared = Set(configuration.kind.method.sharedRoles.map(\.suffix))
        var tensors: [(name: String, record: TensorRecord)] = []
        var thresholds: [String: TensorRecord] = [:]
        var names: Set<String> = []
        for record in file.tensors {
            let key = PEFTNames.written(record.name, suffixes: suffixes, shared: shared)
            guard names.insert(key).inserted else {
                throw AdapterError.unknownTensor(
                    file: path, tensor: record.name, reason: "is there twice, the other time as '\(key)'")
            }
            if let (module, _) = PEFTNames.split(key, suffixes: [PEFTNames.tau]) {
                guard record.shape == [1] || record.shape.isEmpty else {
                    throw AdapterError.wrongShape(
                        file: path, tensor: record.name, expected: [1], found: record.shape)
                }
                thresholds[module] = record
            } else if PEFTNames.split(key, suffixes: suffixes) != nil || shared.contains(key)
                || configuration.savesModule(ofKey: key)
            {
                tensors.append((key, record))
            } else {
                let expected = suffixes.map { "'\(PEFTNames.prefix)<module>\($0)'" }.joined(separator: " or ")
                throw AdapterError.unsupportedTensor(
                    file: path, tensor: record.name,
                    reason: "is not a tensor of a \(configuration.kind) adapter, whose keys are \(expected)")
            }
        }
        return (tensors, thresholds)
    }

    /// The modules in the recorded order, or by name with numbers compared as numbers.
    private static func ordered(
        _ found: Set<String>, by recorded: [String]?, file: String
    ) throws(AdapterError) -> [String] {
        guard let recorded else { return found.sorted(by: comesBefore) }
        if let missing = recorded.first(where: { !found.contains($0) }) {
            throw .missingTensor(file: file, tensor: PEFTNames.key(missing, ".*"))
        }
        if recorded.count != found.count, let stray = found.subtracting(recorded).min() {
            throw .unknownTensor(
                file: file, tensor: PEFTNames.key(stray, ".*"),
                reason: "belongs to a module that \(PEFTNames.recordFile) does not list")
        }
        return recorded
    }

    private static func comesBefore(_ left: String, _ right: String) -> Bool {
        let (left, right) = (left.split(separator: "."), right.split(separator: "."))
        for (a, b) in zip(left, right) where a != b {
            if let a = Int(a), let b = Int(b) { return a < b }
            return a < b
        }
        return left.count < right.count
    }
}
