import Glibc

/// A directory that is written under a temporary name beside its target and renamed when all of it is on the disk. Owns
/// the temporary directory, which is removed with all that is in it unless `commit` succeeds.
package final class AtomicDirectory {
    /// The path that the directory will have.
    package let path: String
    /// Where files are to be written until `commit`; see `writer(_:)`.
    package let temporaryPath: String
    private let isReplacing: Bool
    /// Where it is given, nothing is written.
    package let rehearsal: OutputRehearsal?
    private var isOpen = true

    /// Files that only an adapter, a training's checkpoint or a merged checkpoint has.
    private static let marks: Set<String> = ["adapter_config.json", "training_state.json", "tspeft_merge.json"]

    /// Whether a directory with these names is an output of this program or one like it, so that it may be replaced:
    /// nobody who types a wrong name and asks to replace it should lose a project, which often has a `config.json` too.
    private static func mayBeReplaced(_ names: [String]) -> Bool {
        names.isEmpty || !marks.isDisjoint(with: names)
            || names.contains("config.json") && names.contains { $0.hasSuffix(".safetensors") }
    }

    /// Begins a directory at a target.
    ///
    /// What is replaced must be an empty directory or one that holds a model or an adapter; it is replaced as a whole
    /// at the end. Otherwise anything there is an error, now and at the end. Throws `outputExists` or `cannotCreate`.
    package convenience init(_ output: OutputTarget) throws(CheckpointError) {
        let target = try Self.checkedTarget(output)
        try self.init(output.at(target), temporarily: temporarySibling(of: target))
    }

    /// Begins a directory at `path`, where nothing may be.
    package convenience init(_ path: String) throws(CheckpointError) { try self.init(OutputTarget(path)) }

    /// A hidden directory inside `directory` for files that are to be moved there one by one; it is never committed.
    package static func staging(in directory: String) throws(CheckpointError) -> AtomicDirectory {
        try AtomicDirectory(
            OutputTarget(directory), temporarily: temporarySibling(of: joinedPath(directory, "staging")))
    }

    private init(_ output: OutputTarget, temporarily temporaryPath: String) throws(CheckpointError) {
        path = output.path
        isReplacing = output.isReplacing
        self.temporaryPath = temporaryPath
        rehearsal = output.rehearsal
        if let rehearsal {
            try rehearsal.checkPlace(path)
            return
        }
        TemporaryOutputs.add(temporaryPath)
        guard mkdir(temporaryPath, 0o777) == 0 else {
            let code = errno
            TemporaryOutputs.remove(temporaryPath)
            throw creationFailure(path, code)
        }
    }

    deinit { abandon() }

    private static func checkedTarget(_ output: OutputTarget) throws(CheckpointError) -> String {
        let path = output.path
        guard !path.isEmpty else { throw .cannotCreate(path: path, reason: "the name is empty") }
        var target = trimmingTrailingSlashes(path)
        var status = stat()
        guard lstat(target, &status) == 0 else {
            let last = lastPathComponent(target)
            guard last != ".", last != ".." else { throw .cannotCreate(path: path, reason: systemMessage(ENOENT)) }
            return target
        }
        guard output.isReplacing else { throw .outputExists(path: path) }
        guard let resolved = realpath(target, nil) else {
            throw .cannotCreate(path: path, reason: "it is a symbolic link to nothing")
        }
        defer { free(resolved) }
        target = String(cString: resolved)
        guard pathKind(target) == .directory else {
            throw .cannotCreate(path: path, reason: "something that is not a directory is there")
        }
        try checkReplaceable(target, named: path)
        return target
    }

    private static func checkReplaceable(_ directory: String, named path: String) throws(CheckpointError) {
        let names: [String]
        do {
            names = try readDirectory(directory)
        } catch .unreadable(_, let code) {
            // What cannot be looked into is not replaced either.
            throw creationFailure(path, code)
        }
        guard mayBeReplaced(names) else {
            throw .cannotCreate(
                path: path,
                reason:
                    "the directory there holds neither a model nor an adapter, so it is not replaced; remove it first")
        }
    }

    /// The place of the file `name` until `commit`.
    package func temporaryPath(of name: String) -> String {
        joinedPath(temporaryPath, name)
    }

    /// Begins the file `name` in the directory; call its `commit` when it is complete.
    package func writer(_ name: String) throws(CheckpointError) -> AtomicFileWriter {
        precondition(isOpen, "the directory has ended")
        return try AtomicFileWriter(
            OutputTarget(temporaryPath(of: name), rehearsal: rehearsal), finally: joinedPath(path, name))
    }

    /// Writes the file `name` with `contents`.
    package func write(_ name: String, _ contents: [UInt8]) throws(CheckpointError) {
        let file = try writer(name)
        try file.write(contents)
        try file.commit()
    }

    /// Writes the text file `name` in UTF-8.
    package func write(_ name: String, text: String) throws(CheckpointError) {
        try write(name, Array(text.utf8))
    }

    /// Copies the file at `source` byte for byte to the file `name`.
    package func copyFile(from source: String, to name: String) throws(CheckpointError) {
        let mapping = try MappedFile.open(source)
        let file = try writer(name)
        try file.copy(0..<mapping.byteCount, of: mapping)
        try file.commit(rechecking: [mapping])
    }

    /// Makes an empty directory inside this one.
    package func makeDirectory(_ name: String) throws(CheckpointError) {
        guard rehearsal == nil else { return }
        let path = temporaryPath(of: name)
        guard mkdir(path, 0o777) == 0 else { throw creationFailure(joinedPath(self.path, name), errno) }
    }

    /// Syncs the directory, gives it its name, and removes the one that it replaces. Throws `writeFailed`,
    /// `inputChanged` where one of `inputs`, mapped files that the contents come from, has changed, or `outputExists`
    /// if something took the name meanwhile; then nothing is left behind and what was there is untouched.
    package func commit(rechecking inputs: [MappedFile] = []) throws(CheckpointError) {
        precondition(isOpen, "the directory has ended")
        guard rehearsal == nil else { return abandon() }
        do {
            try syncDirectory(temporaryPath, naming: path)
            for input in inputs { try input.checkUnchanged() }
            try TemporaryOutputs.undisturbed { () throws(CheckpointError) in try takeName() }
        } catch {
            abandon()
            throw error
        }
        isOpen = false
        // What is replaced goes when the new directory's name is on the disk, not before.
        let sync = Result { () throws(CheckpointError) in try syncDirectory(parentDirectory(of: path), naming: path) }
        removeTree(temporaryPath)
        TemporaryOutputs.remove(temporaryPath)
        try sync.get()
    }

    /// How often another program may make or remove the output at the very moment when this one names its own.
    private static let attempts = 8

    /// Gives the directory its name; where it replaces another, the temporary name is that one's afterwards.
    private func takeName() throws(CheckpointError) {
        for _ in 0..<Self.attempts {
            let isThere = isReplacing && pathKind(path) == .directory
            // Something else may have come to the place since the start.
            if isThere { try Self.checkReplaceable(path, named: path) }
            do {
                return try renameOutput(temporaryPath, to: path, isThere ? .exchanging : .exclusive)
            } catch .writeFailed(_, ENOENT) where isThere {
                continue
            } catch .outputExists where isReplacing {
                continue
            }
        }
        throw .outputExists(path: path)
    }

    /// Gives the directory up and removes all that was written; harmless after `commit`.
    package func abandon() {
        guard isOpen else { return }
        isOpen = false
        guard rehearsal == nil else { return }
        removeTree(temporaryPath)
        TemporaryOutputs.remove(temporaryPath)
    }
}
