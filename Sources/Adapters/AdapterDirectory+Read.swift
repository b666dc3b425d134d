import CheckpointIO
import Models
import TensorCore
import Threads

extension AdapterDirectory {
    /// Bytes of a JSON file at most; an adapter of 10,000 modules stays far below.
    private static let textLimit = 32 << 20

    /// Reads an adapter directory, ours or peft's, or a pack of one, and checks it; tensors of any float type become
    /// F32.
    ///
    /// - Parameter takingExtras: whether what can be merged alone (`AdapterExtras`) is taken up. The values of such an
    ///   adapter stay in its file, unless that is packed, until they are asked for; see `checkUnchanged`.
    /// - Parameter takingAnyValues: whether numbers that are NaN or infinite are no error: to look at the adapter.
    ///
    /// Throws `AdapterError` for what is wrong with an adapter, `CheckpointError` for files that cannot be read.
    package static func read(
        _ path: String, takingExtras: Bool = false, takingAnyValues: Bool = false
    ) throws -> AdapterDirectory {
        let files = try AdapterFiles(path)
        var configuration = try configuration(in: files, takingExtras: takingExtras)
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
        let contents = try AdapterContents(tensorFile, configuration, takingExtras: takingExtras)
        let staysInFile = takingExtras && !tensorFile.file.isPacked || takingAnyValues
        let stored = StoredTensors(tensorFile)
        func tensor(_ name: String, _ place: Int) throws -> AdapterTensor {
            let record = tensorFile.tensors[place]
            if staysInFile {
                let stored = AdapterTensor(name, storedIn: stored, at: place)
                if !takingAnyValues { try checkFinite(stored: stored, file: tensorPath) }
                return stored
            }
            let values = AdapterTensor(name, record.shape, try tensorFile.floats(of: record))
            try checkFinite(values, file: tensorPath)
            return values
        }
        func extras() throws -> AdapterExtras {
            try contents.extras(configuration) { name, record in
                guard let place = tensorFile.place(of: record.name) else { preconditionFailure("it is the file's") }
                return try tensor(name, place)
            }
        }
        // The experts of packed parameters are modules of their own wherever their gates or their training matter.
        let expands = !configuration.targetParameters.isEmpty && (!takingExtras || configuration.isGated)
        var rest = AdapterExtras()
        var experts = ExpertUpdates()
        if expands {
            rest = try extras()
            let parameters = rest.takeParameters()
            try checkFactors(of: parameters, configuration, file: tensorPath)
            experts = ExpertUpdates(parameters, kept: record.map { NameSet($0.modules) })
            configuration.expertCounts = experts.counts
        }
        let recorded = record?.modules.filter { expands || configuration.expertPath(of: $0) == nil }
        var found = contents.modules
        for module in experts.modules { found.insert(module) }
        let modules = try ordered(found, by: recorded, file: tensorPath)
        // Before any value is read: a wrong file should not cost its size in memory.
        var shapes = contents.shapes
        for tensor in experts.tensors { shapes[tensor.name] = tensor.shape }
        for module in modules { _ = try checkedKeys(of: module, shapes, configuration, file: tensorPath) }
        let team = ThreadTeam(staysInFile ? ThreadTeam.available : 1)
        let tensors = try team.map(contents.tensors.count, grain: tensorsOfAPart) { place in
            try tensor(contents.tensors[place].name, contents.tensors[place].place)
        }
        var thresholds = try contents.thresholds.mapValues { try tensorFile.floats(of: $0)[0] }
        for entry in experts.thresholds { thresholds[entry.module] = entry.tau }
        let others = try expands ? rest : extras()
        tensorFile.file.giveBackPages()
        // From here on a tensor is in memory, or its file is looked at again at the end.
        try tensorFile.file.checkUnchanged()
        var origin = AdapterOrigin(
            base: record?.base, training: record?.training, history: record?.history ?? [], path: path,
            file: tensorPath, task: record?.task)
        origin.finiteness = takingAnyValues ? .waived : .checked
        var adapter = try AdapterDirectory(
            configuration: configuration, modules: modules, tensors: tensors + experts.tensors, extras: others,
            thresholds: thresholds,
            statistics: try record?.statistics(in: files), origin: origin)
        adapter.fileTensorCount = tensorFile.tensors.count
        if staysInFile { adapter.mapping = tensorFile.file }
        return adapter
    }

    /// Throws `.unsupportedTensor` where A and B of experts could be each other's: peft before 0.19 exchanged them, which
    /// only square matrices hide.
    private static func checkFactors(
        of updates: [MatrixUpdate], _ configuration: AdapterConfiguration, file: String
    ) throws(AdapterError) {
        guard configuration.expertFactors != .byModule, let square = updates.first(where: { $0.rowCount == $0.width })
        else { return }
        throw .unsupportedTensor(
            file: file, tensor: square.a.name,
            reason: "is of square matrices of experts, and peft exchanged A and B of those before 0.19; "
                + "'\(PEFTNames.versionField)' does not say that a later one wrote it")
    }

    /// Tensors that a thread checks at a time.
    private static let tensorsOfAPart = 64
    /// Throws `.notFinite` for a number of a tensor in a file that is none.
    private static func checkFinite(stored tensor: AdapterTensor, file: String) throws(AdapterError) {
        var start = 0
        var stranger: Int?
        tensor.forEachStrip { values in
            // Without a branch for each number, so that several are looked at at once.
            let strangers = values.reduce(into: UInt32(0)) { $0 |= $1.isFinite ? 0 : 1 }
            if strangers != 0, stranger == nil {
                stranger = values.firstIndex { !$0.isFinite }.map { start + $0 }
            }
            start += values.count
        }
        if let stranger { throw .notFinite(file: file, tensor: tensor.name, index: stranger) }
    }

    /// Throws `CheckpointError.inputChanged` where values stay in the file and it was written to since it was opened.
    package func checkUnchanged() throws(CheckpointError) { try mapping?.checkUnchanged() }

    /// What the adapter directory at `path` says that it holds, without its tensors; throws as `read`.
    package static func configuration(at path: String) throws -> AdapterConfiguration {
        try configuration(in: AdapterFiles(path))
    }

    private static func configuration(
        in files: AdapterFiles, takingExtras: Bool = false
    ) throws -> AdapterConfiguration {
        let file = files.place(of: PEFTNames.configurationFile)
        guard files.has(PEFTNames.configurationFile) else {
            throw AdapterError.missingFile(
                file,
                remedy: cacheFolderRemedy(files.path)
                    ?? "\(files.path) is not an adapter \(files.pack == nil ? "directory" : "pack")")
        }
        return try AdapterConfiguration(
            json: try json(PEFTNames.configurationFile, in: files), file: file, takingExtras: takingExtras)
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

    /// The modules in the recorded order, or by name with numbers compared as numbers.
    private static func ordered(
        _ found: NameSet, by recorded: [String]?, file: String
    ) throws(AdapterError) -> [String] {
        guard let recorded else { return PathOrder.sorted(Array(found)) }
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
}
