import Glibc

/// Lets one run of this program at a time change several names of a directory; others wait for it. Owned by whoever
/// changes them; it goes when the process ends, however that happens.
package final class FolderLock {
    private let descriptor: Int32

    /// Looks again after so many microseconds, so many times: ten seconds, for what takes milliseconds.
    private static let (interval, attempts): (UInt32, Int) = (20_000, 500)

    /// Waits for the directory that `output` is in. Nothing is locked where the file system has no locks. Throws
    /// `writeFailed` for `output` where the directory cannot be opened, as it must be to sync it, and `cannotCreate`
    /// where somebody keeps it locked.
    package init(besides output: String) throws(CheckpointError) {
        let path = parentDirectory(of: output)
        descriptor = retryingOnInterrupt { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw .writeFailed(path: output, code: errno) }
        let descriptor = descriptor
        for _ in 0..<Self.attempts {
            guard flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK || errno == EINTR else { return }
            usleep(Self.interval)
        }
        throw .cannotCreate(path: output, reason: "another program keeps its directory locked")
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }
}
