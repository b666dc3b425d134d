import CKernels
import Glibc
import Synchronization

/// The temporary files and directories that outputs are being written to now, and outputs that are worth nothing yet,
/// so that a program that is told to stop can remove them. The only state that the whole process shares: an interrupted
/// program has no other way to find them.
package enum TemporaryOutputs {
    /// Each path with that of what stood there before and was put aside, if anything was.
    private static let paths = Mutex<[String: String?]>([:])

    /// Registers a path that has no worth yet; on removal what was put aside at `aside` takes the place again.
    package static func add(_ path: String, aside: String? = nil) {
        paths.withLock { _ = $0.updateValue(aside, forKey: path) }
    }

    /// Lets go of a path: what is there is whole now, or gone.
    package static func remove(_ path: String) {
        paths.withLock { _ = $0.removeValue(forKey: path) }
    }

    /// Moves what stands at `path` to `aside`, where it outlasts whatever happens until `restore` or `release`; an
    /// interrupted program puts it back. False, with errno set, where that fails.
    package static func putAside(_ path: String, at aside: String) -> Bool {
        paths.withLock { paths in
            guard rename(path, aside) == 0 else { return false }
            paths[path] = .some(aside)
            return true
        }
    }

    /// Removes what was given each of `places` provisionally, and puts back what `putAside` moved away from there;
    /// others of them stay as they are. Throws `notPutBack` for the first that is still aside afterwards.
    package static func restore(_ places: [String]) throws(CheckpointError) {
        try paths.withLock { paths throws(CheckpointError) in
            var failure: CheckpointError?
            for path in places {
                guard let entry = paths.removeValue(forKey: path) else { continue }
                removeTree(path)
                guard let aside = entry, rename(aside, path) != 0 else { continue }
                if failure == nil { failure = .notPutBack(path: path, aside: aside, code: errno) }
            }
            if let failure { throw failure }
        }
    }

    /// Keeps what stands at each of `places` now, and removes what `putAside` moved away from there.
    package static func release(_ places: [String]) {
        paths.withLock { paths in
            for path in places {
                if let aside = paths.removeValue(forKey: path) ?? nil { unlink(aside) }
            }
        }
    }

    /// Runs `body`, which gives an output its name, so that no removal comes between: the name never stands for a part.
    ///
    /// - Parameter name: the name, if what has it is to go again unless it is released.
    static func undisturbed(
        provisionally name: String? = nil, _ body: () throws(CheckpointError) -> Void
    ) throws(CheckpointError) {
        try paths.withLock { paths throws(CheckpointError) in
            try body()
            if let name, paths[name] == nil { paths[name] = .some(nil) }
        }
    }

    /// How long one who has registered an output may still be about to create it, in microseconds.
    private static let creationTime: UInt32 = 2000

    /// Removes every temporary output and ends the process while others still write to them. Not safe inside a signal
    /// handler: call it from the thread that learns of the signal.
    package static func removeAllAndExit(_ status: Int32) -> Never {
        paths.withLock { paths in
            // Nobody begins an output while the lock is held, but one just begun may appear after the first look.
            for pass in 0..<3 {
                if pass > 0 { usleep(creationTime) }
                for path in paths.keys { removeTree(path) }
            }
            for case (let path, let aside?) in paths { rename(aside, path) }
            _exit(status)
        }
    }

    /// Removes every temporary output from the disk; for the moment before the process exits.
    package static func removeAll() {
        let all = paths.withLock { paths in
            defer { paths = [:] }
            return paths
        }
        for (path, aside) in all {
            removeTree(path)
            if let aside { rename(aside, path) }
        }
    }
}

/// Removes a file, or a directory with all that is in it, without following links; what is gone already is no failure.
/// False if something could not be removed.
@discardableResult
package func removeTree(_ path: String) -> Bool {
    removeEntry(path, of: AT_FDCWD)
}

/// Removes what is called `name`, which need not be text, in an open directory.
private func removeEntry(_ name: UnsafePointer<CChar>, of directory: Int32) -> Bool {
    var status = stat()
    guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return errno == ENOENT }
    guard status.st_mode & S_IFMT == S_IFDIR else { return unlinkat(directory, name, 0) == 0 }
    let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    let descriptor = retryingOnInterrupt { openat(directory, name, flags) }
    if descriptor >= 0 {
        // What cannot be listed may be empty.
        for entry in (try? entryNames(descriptor, path: "")) ?? [] { _ = removeEntry(entry, of: descriptor) }
        close(descriptor)
    }
    return unlinkat(directory, name, AT_REMOVEDIR) == 0
}

/// A path beside `target` (which has no trailing slash) that is very unlikely to exist.
func temporarySibling(of target: String, suffix: String = ".tmp") -> String {
    var generator = SystemRandomNumberGenerator()
    let tag = String(generator.next() as UInt64, radix: 36)
    return joinedPath(parentDirectory(of: target), ".tspeft-\(tag)\(suffix)")
}

/// Why an output could not be begun: a disk that is full or fails is no fault of the name.
package func creationFailure(_ path: String, _ code: Int32) -> CheckpointError {
    switch code {
    case ENOSPC, EDQUOT, EIO: .writeFailed(path: path, code: code)
    default: .cannotCreate(path: path, reason: systemMessage(code))
    }
}

/// `path` without slashes at its end; the root stays.
func trimmingTrailingSlashes(_ path: String) -> String {
    var trimmed = path[...]
    while trimmed.count > 1, trimmed.hasSuffix("/") { trimmed.removeLast() }
    return String(trimmed)
}

/// Makes the names in a directory durable. Throws `writeFailed` for `output`, whose name it is about, or the directory.
package func syncDirectory(_ path: String, naming output: String? = nil) throws(CheckpointError) {
    let descriptor = retryingOnInterrupt { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw .writeFailed(path: output ?? path, code: errno) }
    defer { close(descriptor) }
    // Some file systems cannot sync a directory; there is nothing more to do on them.
    if retryingOnInterrupt({ fsync(descriptor) }) != 0, errno != EINVAL {
        throw .writeFailed(path: output ?? path, code: errno)
    }
}

/// How a finished output takes its name.
package enum RenameMode: Sendable { case exclusive, replacing, exchanging }

/// Renames within one directory. `exclusive` fails with `outputExists` if the target is there; `exchanging` swaps the
/// two.
///
/// Where the file system has no such calls (NFS, for one), a file is linked to its name, which is as exclusive, and a
/// directory is renamed, which replaces at most an empty one. Two directories are then swapped in steps, so that a
/// program killed just between them leaves the old one beside as `.tspeft-….old`.
///
/// - Parameters:
///   - output: what errors call the target, where that lies in a directory that has no name yet.
///   - call: `tspeft_rename`, or a test's.
package func renameOutput(
    _ source: String, to target: String, _ mode: RenameMode, naming output: String? = nil,
    by call: (UnsafePointer<CChar>, UnsafePointer<CChar>, Int32) -> Int32 = tspeft_rename
) throws(CheckpointError) {
    let flag =
        switch mode {
        case .exclusive: TSPEFT_RENAME_NO_REPLACE
        case .replacing: TSPEFT_RENAME_REPLACE
        case .exchanging: TSPEFT_RENAME_EXCHANGE
        }
    if call(source, target, Int32(flag)) == 0 { return }
    let code = errno
    switch (mode, code) {
    case (.exclusive, EEXIST): throw .outputExists(path: output ?? target)
    case (.exclusive, EINVAL), (.exclusive, ENOSYS):
        try renameWithoutFlags(source, to: target, naming: output ?? target)
    case (.exchanging, EINVAL), (.exchanging, ENOSYS):
        let aside = temporarySibling(of: target, suffix: ".old")
        guard rename(target, aside) == 0 else { throw .writeFailed(path: target, code: errno) }
        guard rename(source, target) == 0 else {
            let code = errno
            rename(aside, target)
            throw .writeFailed(path: target, code: code)
        }
        guard rename(aside, source) == 0 else { throw .writeFailed(path: aside, code: errno) }
    default: throw .writeFailed(path: output ?? target, code: code)
    }
}

/// `exclusive` where the file system cannot.
private func renameWithoutFlags(
    _ source: String, to target: String, naming output: String
) throws(CheckpointError) {
    var status = stat()
    guard lstat(target, &status) != 0 else { throw .outputExists(path: output) }
    if pathKind(source) == .regularFile {
        if link(source, target) == 0 {
            unlink(source)
            return
        }
        if errno == EEXIST { throw .outputExists(path: output) }
        // No links either (FAT): a file made in the moment since the look is replaced.
    }
    guard rename(source, target) == 0 else {
        let code = errno
        let isTaken = code == EEXIST || code == ENOTEMPTY || code == ENOTDIR
        throw isTaken ? .outputExists(path: output) : .writeFailed(path: output, code: code)
    }
}
