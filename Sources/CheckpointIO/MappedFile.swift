import CKernels
import Glibc
import Synchronization

/// A regular file mapped read-only into memory; owns the mapping and the file descriptor until it is released.
///
/// If another program shortens the file while it is mapped, touching the lost pages raises SIGBUS; see `MappingFaults`.
/// One that writes into it changes what is read: `checkUnchanged` tells afterwards. A file that is replaced by another
/// of its name does no harm, since the mapping keeps the old one.
package final class MappedFile: Sendable {
    /// The path as it was given.
    package let path: String
    /// Bytes in the file when it was opened.
    package let byteCount: Int
    /// Open for reading as long as this object lives, for copies that the kernel makes.
    let descriptor: Int32
    private let identity: FileIdentity
    // Sendable by hand: the pages are never written and live as long as this object.
    private nonisolated(unsafe) let start: UnsafeRawPointer?
    /// The mapping's place in the table of `MappingFaults`, or -1.
    private let slot: Int32
    /// What fills the mapping, of memory then; nil for a file on the disk.
    private let content: UnpackedContent?
    /// Bytes that were read, about, since pages were given back.
    private let readByteCount = Atomic(0)

    private init(path: String, descriptor: Int32, identity: FileIdentity, start: UnsafeRawPointer?) {
        content = nil
        self.path = path
        byteCount = identity.byteCount
        self.descriptor = descriptor
        self.identity = identity
        self.start = start
        slot = start.map { tspeft_map_register($0, identity.byteCount, path) } ?? -1
    }

    /// The content of a Zstandard file in `range` as a file in memory called `path`, which is unpacked where it is
    /// held. Throws `unreadable` without memory for it, and `malformed`.
    static func unpacking(
        _ file: SeekableZstdFile, _ range: Range<Int>, path: String
    ) throws(CheckpointError) -> MappedFile {
        let descriptor = tspeft_memory_file("tspeft")
        guard descriptor >= 0 else { throw .unreadable(path: path, code: errno) }
        do {
            return try MappedFile(file, range, path: path, descriptor: descriptor)
        } catch {
            close(descriptor)
            throw error
        }
    }

    /// Whether its bytes are unpacked where they are read.
    package var isPacked: Bool { content != nil }

    /// The Zstandard file whose content this is; nil for a file on the disk.
    var packedFile: SeekableZstdFile? { content?.file }

    /// Cuts a range (bytes) of what is packed where frames end, into pieces of at most `byteLimit` bytes, or of one
    /// frame, that `withUnpackedBytes` takes; nil for a file on the disk.
    package func framePieces(of range: Range<Int>, byteLimit: Int) -> [Range<Int>]? {
        content?.pieces(of: range, byteLimit: byteLimit)
    }

    /// Unpacks a range (bytes) of what is packed to memory from `scratch`, which makes as many bytes as it is asked
    /// for, and lends them to `body`; nil, and nothing is done, for a file on the disk and where the range is no whole
    /// number of frames. Throws `malformed` and what `body` throws.
    func withUnpackedBytes<R>(
        in range: Range<Int>, scratch: (_ byteCount: Int) -> UnsafeMutableRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) throws(CheckpointError) -> R
    ) throws(CheckpointError) -> R? {
        guard let content else { return nil }
        let bytes = scratch(range.count)
        guard try content.unpackWhole(range, into: bytes) else { return nil }
        defer { content.drop(range) }
        return try body(UnsafeRawBufferPointer(bytes))
    }

    private init(
        _ file: SeekableZstdFile, _ range: Range<Int>, path: String, descriptor: Int32
    ) throws(CheckpointError) {
        guard ftruncate(descriptor, range.count) == 0, let identity = FileIdentity(descriptor) else {
            throw .unreadable(path: path, code: errno)
        }
        var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        if range.count > 0 {
            guard let start = mmap(nil, range.count, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
                start != MAP_FAILED
            else { throw .unreadable(path: path, code: errno) }
            memory = UnsafeMutableRawBufferPointer(start: start, count: range.count)
        }
        do {
            content = try UnpackedContent(file, range, memory: memory)
        } catch {
            if let start = memory.baseAddress { munmap(start, memory.count) }
            throw error
        }
        self.path = path
        byteCount = range.count
        self.descriptor = descriptor
        self.identity = identity
        start = UnsafeRawPointer(memory.baseAddress)
        slot = -1
    }

    deinit {
        tspeft_map_unregister(slot)
        if let start { munmap(UnsafeMutableRawPointer(mutating: start), byteCount) }
        close(descriptor)
    }

    /// Opens and maps `path`. Throws `missing`, `unreadable` or `notRegularFile`.
    package static func open(_ path: String) throws(CheckpointError) -> MappedFile {
        let (descriptor, identity) = try openRegularFile(path)
        guard identity.byteCount > 0 else {
            return MappedFile(path: path, descriptor: descriptor, identity: identity, start: nil)
        }
        guard let start = mmap(nil, identity.byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED
        else {
            let code = errno
            close(descriptor)
            throw .unreadable(path: path, code: code)
        }
        return MappedFile(path: path, descriptor: descriptor, identity: identity, start: UnsafeRawPointer(start))
    }

    /// Throws `inputChanged` where the file's size or time of change is another than at `open`, so that what was read
    /// may be a mixture of old and new.
    ///
    /// Whoever writes an output from mapped inputs asks this of each just before the output gets its name: give them to
    /// `commit(rechecking:)` of `AtomicDirectory` or `AtomicFileWriter` (or to a writer's `finish(rechecking:)`), which
    /// does it. What can't be seen: a write within the same tick of the file system's clock (some milliseconds) as the
    /// last one before `open`, and one whose author sets the time back.
    package func checkUnchanged() throws(CheckpointError) {
        if let content { return try content.file.source.checkUnchanged() }
        guard let now = FileIdentity(descriptor) else { throw .unreadable(path: path, code: errno) }
        if now.byteCount != byteCount {
            throw .inputChanged(path: path, change: "it had \(byteCount) bytes and has \(now.byteCount) now")
        }
        if now != identity { throw .inputChanged(path: path, change: "something wrote to it") }
    }

    /// Lends a range of the file's bytes to `body`; the pointer must not leave it. Throws what `hold` and `body` throw.
    package func withBytes<R>(in range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
        try hold(range)
        defer { release(range) }
        return try body(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(start: start, count: byteCount)[range]))
    }

    /// Sees to it that the bytes of `range` can be read until `release` is called for the same range: unpacks what is
    /// packed. Throws `malformed` where that fails. Nothing needs to be done for a file that lies on the disk as it is.
    func hold(_ range: Range<Int>) throws(CheckpointError) { try content?.hold(range) }

    /// The end of a `hold`.
    func release(_ range: Range<Int>) { content?.release(part: range) }

    /// The end of a `hold` for a copy: what was unpacked for it is given back.
    func releaseCopied(_ range: Range<Int>) {
        content?.release(part: range)
        content?.drop(range)
    }

    /// Lends the whole file's bytes to `body`; the pointer must not leave it. Of a file that is unpacked, only what is
    /// held may be read.
    package func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try body(UnsafeRawBufferPointer(start: start, count: byteCount))
    }

    /// Copies a range (bytes) of a file on the disk, which must not be packed, to `target` of as many bytes. The
    /// mapping's pages are left alone: those that it had none of stay out of memory.
    ///
    /// Throws `unreadable`, and `inputLost` where the file has become shorter.
    package func read(_ range: Range<Int>, into target: UnsafeMutableRawBufferPointer) throws(CheckpointError) {
        precondition(!isPacked && range.count == target.count, "a copy of as many bytes from a file on the disk")
        var done = 0
        while done < range.count {
            let got = retryingOnInterrupt {
                pread(descriptor, target.baseAddress! + done, range.count - done, off_t(range.lowerBound + done))
            }
            if got < 0 { throw .unreadable(path: path, code: errno) }
            if got == 0 { throw .inputLost(path: path) }
            done += got
        }
    }

    /// Has the kernel map a range (bytes) at once, read from the disk where need be: cheaper than a fault for each few
    /// pages. Nothing comes of it where the kernel cannot or the file has become shorter.
    package func populate(_ range: Range<Int>) {
        advise(range, MADV_POPULATE_READ)
    }

    /// Tells the kernel that a range (bytes) will be read soon (`MADV_WILLNEED`) or is not needed for now
    /// (`MADV_DONTNEED`), and leaves it to it.
    package func advise(_ range: Range<Int>, willNeed: Bool) {
        advise(range, willNeed ? MADV_WILLNEED : MADV_DONTNEED)
    }

    /// Bytes of a file that are read before its pages are given back.
    private static let residentByteCount = 16 << 20
    /// Bytes that the kernel maps at a fault, at most, on both sides of what was touched.
    private static let faultByteCount = 1 << 16

    /// Says that a range (bytes) was read and is not needed for now: pages are given back now and then, all of the file
    /// at once, since a fault maps those around it too and a call for each small range costs more than reading it.
    /// Whatever is still read there is mapped again. What was unpacked is dropped at once.
    package func finish(_ range: Range<Int>) {
        if let content { return content.drop(range.clamped(to: 0..<byteCount)) }
        let part = max(range.count, Self.faultByteCount)
        if readByteCount.add(part, ordering: .relaxed).newValue >= Self.residentByteCount { giveBackPages() }
    }

    /// Gives back the pages of a file on the disk, at the end of a pass over it.
    package func giveBackPages() {
        guard content == nil else { return }
        readByteCount.store(0, ordering: .relaxed)
        advise(0..<byteCount, MADV_DONTNEED)
    }

    private func advise(_ range: Range<Int>, _ advice: Int32) {
        guard let start else { return }
        let page = sysconf(Int32(_SC_PAGESIZE))
        let clamped = range.clamped(to: 0..<byteCount)
        if let content {
            if advice == MADV_DONTNEED { content.drop(clamped) }
            return
        }
        let lower = clamped.lowerBound / page * page
        guard lower < clamped.upperBound else { return }
        madvise(UnsafeMutableRawPointer(mutating: start) + lower, clamped.upperBound - lower, advice)
    }
}

/// Which file a descriptor stands for, and as of when.
struct FileIdentity: Equatable, Sendable {
    let isDirectory: Bool
    let device: UInt
    let inode: UInt
    /// Bytes in the file.
    let byteCount: Int
    /// When its contents changed last, in seconds and nanoseconds.
    let changeSeconds: Int
    let changeNanoseconds: Int

    /// What the system says now; nil with errno set where it says nothing.
    init?(_ descriptor: Int32) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { return nil }
        self.init(status)
    }

    /// The file at `path`, links followed; nil where nothing is.
    init?(path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    init(_ status: stat) {
        isDirectory = status.st_mode & S_IFMT == S_IFDIR
        device = UInt(status.st_dev)
        inode = UInt(status.st_ino)
        byteCount = Int(status.st_size)
        changeSeconds = status.st_mtim.tv_sec
        changeNanoseconds = status.st_mtim.tv_nsec
    }

    /// Whether both are one file, whenever.
    func isSameFile(as other: FileIdentity) -> Bool {
        device == other.device && inode == other.inode
    }
}

/// Opens a regular file for reading without ever blocking on a pipe; the caller owns the descriptor.
func openRegularFile(_ path: String) throws(CheckpointError) -> (descriptor: Int32, identity: FileIdentity) {
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
    if let size = pointedSize(descriptor, byteCount: Int(status.st_size)) {
        close(descriptor)
        throw .largeFilePointer(path: path, size: size)
    }
    return (descriptor, FileIdentity(status))
}

/// What a pointer of Git LFS says of the size of the file that it stands for, a text such as "4400216480 bytes"; nil
/// for any other file.
private func pointedSize(_ descriptor: Int32, byteCount: Int) -> String? {
    // The specification: a pointer has less than 1024 bytes, and this is its first line.
    guard byteCount > 0, byteCount < 1024 else { return nil }
    var bytes = [UInt8](repeating: 0, count: byteCount)
    guard retryingOnInterrupt({ pread(descriptor, &bytes, byteCount, 0) }) == byteCount,
        bytes.starts(with: Array("version https://git-lfs.github.com/spec/".utf8))
    else { return nil }
    let lines = bytes.split(separator: UInt8(ascii: "\n"))
    let size = lines.first { $0.starts(with: Array("size ".utf8)) }?.dropFirst(5)
    return size.map { String(decoding: $0.prefix(20), as: UTF8.self) + " bytes" } ?? "unknown size"
}

/// Repeats a system call as long as a signal interrupts it.
package func retryingOnInterrupt<I: SignedInteger>(_ call: () -> I) -> I {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}

/// The whole of a regular file. Throws `tooLarge` past `limit` bytes, `inputChanged` where it is written to meanwhile,
/// and what `MappedFile.open` throws.
package func readSmallFile(_ path: String, limit: Int) throws(CheckpointError) -> [UInt8] {
    let (descriptor, identity) = try openRegularFile(path)
    defer { close(descriptor) }
    let byteCount = identity.byteCount
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
    guard let now = FileIdentity(descriptor) else { throw .unreadable(path: path, code: errno) }
    guard bytes.count == byteCount, now == identity else {
        throw .inputChanged(path: path, change: "something wrote to it")
    }
    return bytes
}

/// What stands at a path, links followed.
package enum PathKind: Sendable { case nothing, regularFile, directory, other }

/// What stands at `path`; what cannot be looked at (a loop of links, for one) is `other`, so that opening it tells why.
package func pathKind(_ path: String) -> PathKind { (try? checkedPathKind(path)) ?? .other }

/// The same for those who pass over what is no file or no directory: throws `unreadable` where a disk that fails keeps
/// the system from looking, so that nothing is passed over in silence.
package func checkedPathKind(_ path: String) throws(CheckpointError) -> PathKind {
    var status = stat()
    guard stat(path, &status) == 0 else {
        switch errno {
        case ENOENT, ENOTDIR: return .nothing
        case ELOOP, EACCES: return .other
        default: throw .unreadable(path: path, code: errno)
        }
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return .regularFile
    case S_IFDIR: return .directory
    default: return .other
    }
}
