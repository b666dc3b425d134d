import Glibc

/// A regular file mapped read-only into memory; owns the mapping and the file descriptor until it is released.
///
/// If another program shortens the file while it is mapped, touching the lost pages ends this program (SIGBUS); nothing
/// in a mapping can prevent that.
package final class MappedFile: Sendable {
    /// The path as it was given.
    package let path: String
    /// Bytes in the file when it was opened.
    package let byteCount: Int
    /// Open for reading as long as this object lives, for copies that the kernel makes.
    let descriptor: Int32
    // Sendable by hand: the pages are never written and live as long as this object.
    private nonisolated(unsafe) let start: UnsafeRawPointer?

    private init(path: String, byteCount: Int, descriptor: Int32, start: UnsafeRawPointer?) {
        self.path = path
        self.byteCount = byteCount
        self.descriptor = descriptor
        self.start = start
    }

    deinit {
        if let start { munmap(UnsafeMutableRawPointer(mutating: start), byteCount) }
        close(descriptor)
    }

    /// Opens and maps `path`. Throws `missing`, `unreadable` or `notRegularFile`.
    package static func open(_ path: String) throws(CheckpointError) -> MappedFile {
        let (descriptor, byteCount) = try openRegularFile(path)
        guard byteCount > 0 else {
            return MappedFile(path: path, byteCount: 0, descriptor: descriptor, start: nil)
        }
        guard let start = mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
            let code = errno
            close(descriptor)
            throw .unreadable(path: path, code: code)
        }
        return MappedFile(path: path, byteCount: byteCount, descriptor: descriptor, start: UnsafeRawPointer(start))
    }

    /// Lends the whole file's bytes to `body`; the pointer must not leave it.
    package func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try body(UnsafeRawBufferPointer(start: start, count: byteCount))
    }

    /// Tells the kernel that a range (bytes) will be read soon (`MADV_WILLNEED`) or is not needed for now
    /// (`MADV_DONTNEED`), and leaves it to it.
    package func advise(_ range: Range<Int>, willNeed: Bool) {
        guard let start else { return }
        let page = sysconf(Int32(_SC_PAGESIZE))
        let clamped = range.clamped(to: 0..<byteCount)
        let lower = clamped.lowerBound / page * page
        guard lower < clamped.upperBound else { return }
        madvise(
            UnsafeMutableRawPointer(mutating: start) + lower, clamped.upperBound - lower,
            willNeed ? MADV_WILLNEED : MADV_DONTNEED)
    }
}

/// Opens a regular file for reading without ever blocking on a pipe; the caller owns the descriptor.
func openRegularFile(_ path: String) throws(CheckpointError) -> (descriptor: Int32, byteCount: Int) {
    let descriptor = retryingOnInterrupt { Glibc.open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) }
    guard descriptor >= 0 else {
        let code = errno
        switch code {
        case ENOENT, ENOTDIR: throw .missing(path: path)
        case ENXIO: throw .notRegularFile(path: path)
        default: throw .unreadable(path: path, code: code)
        }
    }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
        let code = errno
        close(descriptor)
        throw .unreadable(path: path, code: code)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
        close(descriptor)
        throw .notRegularFile(path: path)
    }
    return (descriptor, Int(status.st_size))
}

/// Repeats a system call as long as a signal interrupts it.
func retryingOnInterrupt<I: SignedInteger>(_ call: () -> I) -> I {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}

/// The whole of a regular file. Throws `tooLarge` past `limit` bytes, and what `MappedFile.open` throws.
package func readSmallFile(_ path: String, limit: Int) throws(CheckpointError) -> [UInt8] {
    let (descriptor, byteCount) = try openRegularFile(path)
    defer { close(descriptor) }
    guard byteCount <= limit else { throw .tooLarge(path: path, limit: limit) }
    var failure: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
        while count < byteCount {
            let got = retryingOnInterrupt { read(descriptor, buffer.baseAddress! + count, byteCount - count) }
            if got < 0 { failure = errno }
            if got <= 0 { return }
            count += got
        }
    }
    if failure != 0 { throw .unreadable(path: path, code: failure) }
    return bytes
}

/// What stands at a path, links followed.
package enum PathKind: Sendable { case nothing, regularFile, directory, other }

/// What stands at `path`; a path that cannot be looked at counts as nothing.
package func pathKind(_ path: String) -> PathKind {
    var status = stat()
    guard stat(path, &status) == 0 else { return .nothing }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return .regularFile
    case S_IFDIR: return .directory
    default: return .other
    }
}
