import CKernels
import Glibc

/// Writes a file under a temporary name beside its target and renames it when all is on the disk: a reader sees the old
/// file or the whole new one, never a part. Owns the temporary file, which is removed unless `commit` succeeds.
package final class AtomicFileWriter {
    /// The path that the file will have.
    package let path: String
    /// Bytes written so far.
    package private(set) var byteCount = 0
    /// Where it is renamed to: `path`, but for a file of a directory that has no name yet.
    private let target: String
    private let temporaryPath: String
    private let isReplacing: Bool
    private let rehearsal: OutputRehearsal?
    /// Open for writing until `commit` or `abandon`, then -1.
    package private(set) var descriptor: Int32

    /// Begins a file at a target.
    ///
    /// What is replaced must be a regular file (a symbolic link's target, if the path is one); it is replaced at the
    /// end. Otherwise anything there is an error now, and at the end too. Throws `outputExists` or `cannotCreate`.
    package convenience init(_ output: OutputTarget) throws(CheckpointError) {
        try output.rehearsal?.checkPlace(output.path)
        try self.init(output, finally: nil)
    }

    /// Begins a file at `path`, where nothing may be.
    package convenience init(_ path: String) throws(CheckpointError) { try self.init(OutputTarget(path)) }

    /// - Parameter finalPath: the path that the file will have when the directory that it lies in has its name; for
    ///   errors.
    init(_ output: OutputTarget, finally finalPath: String?) throws(CheckpointError) {
        target = try Self.resolvedTarget(output)
        path = finalPath ?? target
        isReplacing = output.isReplacing
        rehearsal = output.rehearsal
        guard rehearsal == nil else {
            // A device that takes everything, so that writers at places need not know of rehearsals.
            temporaryPath = "/dev/null"
            descriptor = open("/dev/null", O_WRONLY | O_CLOEXEC)
            guard descriptor >= 0 else { throw creationFailure(path, errno) }
            return
        }
        temporaryPath = temporarySibling(of: target)
        TemporaryOutputs.add(temporaryPath)
        let temporary = temporaryPath
        descriptor = retryingOnInterrupt { open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666) }
        guard descriptor >= 0 else {
            let code = errno
            TemporaryOutputs.remove(temporary)
            throw creationFailure(path, code)
        }
    }

    deinit { abandon() }

    private static func resolvedTarget(_ output: OutputTarget) throws(CheckpointError) -> String {
        let path = output.path
        guard !path.isEmpty, !path.hasSuffix("/") else {
            throw .cannotCreate(path: path, reason: "it is not the name of a file")
        }
        var status = stat()
        guard lstat(path, &status) == 0 else { return path }
        guard output.isReplacing else { throw .outputExists(path: path) }
        var target = path
        if status.st_mode & S_IFMT == S_IFLNK {
            guard let resolved = realpath(path, nil) else {
                throw .cannotCreate(path: path, reason: "it is a symbolic link to nothing")
            }
            defer { free(resolved) }
            target = String(cString: resolved)
        }
        guard pathKind(target) == .regularFile else {
            throw .cannotCreate(path: path, reason: "something that is not a regular file is there")
        }
        return target
    }

    /// Appends bytes; a disk that is full or fails throws `writeFailed` and abandons the file.
    package func write(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        try append(bytes.count) { (places) throws(CheckpointError) in try places.write(bytes, at: byteCount) }
    }

    /// Has `write` put `count` bytes at the end of the file; where that fails, the file is abandoned.
    private func append(
        _ count: Int, _ write: (OutputPlaces) throws(CheckpointError) -> Void
    ) throws(CheckpointError) {
        do {
            try write(places)
        } catch {
            abandon()
            throw error
        }
        byteCount += count
    }

    /// Appends bytes; see the variant for raw buffers.
    package func write(_ bytes: [UInt8]) throws(CheckpointError) {
        let outcome = bytes.withUnsafeBytes { buffer in
            Result { () throws(CheckpointError) in try write(buffer) }
        }
        try outcome.get()
    }

    /// Appends a range (bytes) of a mapped file, moved by the kernel where the file systems can. Throws as
    /// `OutputPlaces.copy` and abandons the file then.
    package func copy(_ range: Range<Int>, of source: MappedFile) throws(CheckpointError) {
        guard rehearsal == nil else {
            byteCount += range.count
            return
        }
        try append(range.count) { (places) throws(CheckpointError) in
            try places.copy(range, of: source, to: byteCount)
        }
    }

    /// Throws `writeFailed` and abandons the file where the disk clearly has no room for `byteCount` bytes in all.
    /// Another program may take the room all the same.
    package func checkRoom(for byteCount: Int) throws(CheckpointError) {
        guard rehearsal == nil, let space = DiskSpace(of: descriptor) else { return }
        if byteCount > self.byteCount, byteCount - self.byteCount > space.available { throw failed(ENOSPC) }
    }

    /// Gives the file, which is empty so far, its final size and takes the disk space for it, so that a full disk shows
    /// before any work is done. Bytes that are not written later are zeros. Throws `writeFailed` and abandons the file.
    package func reserve(_ byteCount: Int) throws(CheckpointError) {
        precondition(descriptor >= 0 && self.byteCount == 0, "room is made first")
        guard byteCount > 0 else { return }
        if rehearsal != nil {
            self.byteCount = byteCount
            return
        }
        if retryingOnInterrupt({ tspeft_reserve(descriptor, Int64(byteCount)) }) != 0 {
            let code = errno
            // Not every file system can reserve; writing tells then.
            guard code == EOPNOTSUPP || code == ENOSYS else { throw failed(code) }
            guard retryingOnInterrupt({ ftruncate(descriptor, byteCount) }) == 0 else { throw failed(errno) }
        }
        self.byteCount = byteCount
    }

    /// Makes the file, which is empty so far, a copy of `source` that shares its blocks, where the file system has
    /// that; false, with nothing done, where it has not.
    package func clone(_ source: MappedFile) -> Bool {
        precondition(descriptor >= 0 && byteCount == 0, "a clone comes first")
        guard rehearsal == nil, tspeft_clone(source.descriptor, descriptor) == 0 else { return false }
        byteCount = source.byteCount
        return true
    }

    /// The file's places, for writers that fill it in any order; to be used until `commit` or `abandon`.
    package var places: OutputPlaces {
        precondition(descriptor >= 0, "the file has ended")
        return OutputPlaces(path: path, descriptor: descriptor)
    }

    /// Syncs the file, gives it its name and syncs the directory. Throws `writeFailed`, `inputChanged` where one of
    /// `inputs`, mapped files that the contents come from, has changed, or `outputExists` if something took the name
    /// meanwhile and may not be replaced; then nothing is left behind.
    ///
    /// With `provisionally`, the file is one of several that are worth something together only: `TemporaryOutputs`
    /// takes its name away again until `release` is told of `path`, and where the directory cannot be synced.
    package func commit(
        rechecking inputs: [MappedFile] = [], provisionally: Bool = false
    ) throws(CheckpointError) {
        precondition(descriptor >= 0, "the file has ended")
        if let rehearsal {
            rehearsal.add(path, byteCount: byteCount)
            return abandon()
        }
        guard retryingOnInterrupt({ fsync(descriptor) }) == 0 else { throw failed(errno) }
        let closing = descriptor
        descriptor = -1
        // A file whose closing a signal interrupts is closed all the same, and on the disk since the sync.
        guard close(closing) == 0 || errno == EINTR else { throw failed(errno) }
        do {
            for input in inputs { try input.checkUnchanged() }
            try TemporaryOutputs.undisturbed(provisionally: provisionally ? target : nil) {
                () throws(CheckpointError) in
                try renameOutput(temporaryPath, to: target, isReplacing ? .replacing : .exclusive, naming: path)
            }
        } catch {
            abandon()
            throw error
        }
        TemporaryOutputs.remove(temporaryPath)
        try syncDirectory(parentDirectory(of: target), naming: path)
    }

    /// Gives the file up and removes what was written; harmless after `commit`.
    package func abandon() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        guard rehearsal == nil else { return }
        unlink(temporaryPath)
        TemporaryOutputs.remove(temporaryPath)
    }

    private func failed(_ code: Int32) -> CheckpointError {
        abandon()
        return .writeFailed(path: path, code: code)
    }
}
