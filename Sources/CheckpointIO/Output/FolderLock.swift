import Glibc

/// Lets one run of this program at a time change several names of a directory; others wait for it. Owned by whoever
/// changes them; it goes when the process ends, however that happens.
package final class FolderLock {
    private let descriptor: Int32

    /// Waits for the directory that `output` is in. Nothing is locked where the file system has no locks. Throws
    /// `writeFailed` for `output` where the directory cannot be opened, as it must be to sync it.
    package init(besides output: String) throws(CheckpointError) {
        let path = parentDirectory(of: output)
        descriptor = retryingOnInterrupt { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw .writeFailed(path: output, code: errno) }
        let descriptor = descriptor
        _ = retryingOnInterrupt { flock(descriptor, LOCK_EX) }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }
}
