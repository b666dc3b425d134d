import Glibc
import Synchronization
import TensorCore

/// Notes what an output would be made of while nothing is written.
///
/// Handed in an `OutputTarget` to `AtomicDirectory` or `AtomicFileWriter`, it has them check whatever they would, count the bytes that they
/// are given, and leave the disk as it is; so a dry run goes the way of the real one, and its sizes are those that the
/// real run writes. Whoever makes tensors for an output may leave that out in a rehearsal, once the room for them is
/// taken.
package final class OutputRehearsal: Sendable {
    /// A file that would be written.
    package struct File: Sendable, Equatable {
        /// The path that it would have.
        package let path: String
        /// Its bytes.
        package let byteCount: Int
        /// Whether the real run may write some bytes more or less, as the contents depend on its results.
        package let isEstimate: Bool
    }

    /// Memory that the real run would take.
    package struct Memory: Sendable, Equatable {
        /// What for.
        package let purpose: String
        /// Bytes, about.
        package let byteCount: Int
    }

    private struct State {
        var files: [File] = []
        var memory: [Memory] = []
        var estimates: NameSet = []
    }

    private let state = Mutex(State())

    /// A rehearsal of nothing so far.
    package init() {}

    /// The files that would be written, in the order of their ends.
    package var files: [File] {
        state.withLock { state in
            state.files.map {
                File(path: $0.path, byteCount: $0.byteCount, isEstimate: state.estimates.contains($0.path))
            }
        }
    }

    /// What the real run would take of memory, as far as it was noted.
    package var memory: [Memory] { state.withLock { $0.memory } }

    /// Adds a file that would be written.
    package func add(_ path: String, byteCount: Int) {
        state.withLock { $0.files.append(File(path: path, byteCount: byteCount, isEstimate: false)) }
    }

    /// Says that the size of a file depends on the real run's results.
    package func estimates(_ path: String) { _ = state.withLock { $0.estimates.insert(path) } }

    /// Adds memory that the real run would take for some purpose.
    package func addMemory(_ purpose: String, byteCount: Int) {
        state.withLock { $0.memory.append(Memory(purpose: purpose, byteCount: byteCount)) }
    }

    /// Throws `cannotCreate` where the directory that an output at `path` would lie in does not take it.
    func checkPlace(_ path: String) throws(CheckpointError) {
        guard access(parentDirectory(of: path), W_OK | X_OK) == 0 else { throw creationFailure(path, errno) }
    }
}

/// The room on a file system.
package struct DiskSpace: Sendable, Equatable {
    /// Bytes that this user may still write.
    package let available: Int
    /// Files take whole multiples of this many bytes.
    package let blockSize: Int

    /// The room where something at `path`, there or not yet, lies; nil where the system does not tell.
    package init?(at path: String) {
        let place = pathKind(path) == .directory ? path : parentDirectory(of: path)
        var status = statvfs()
        guard statvfs(place, &status) == 0 else { return nil }
        self.init(status)
    }

    /// The room for an open file; nil where the system does not tell.
    init?(of descriptor: Int32) {
        var status = statvfs()
        guard fstatvfs(descriptor, &status) == 0 else { return nil }
        self.init(status)
    }

    /// Room as it is told; see the properties.
    package init(available: Int, blockSize: Int) {
        self.available = available
        self.blockSize = blockSize
    }

    private init?(_ status: statvfs) {
        let size = Int(clamping: status.f_frsize)
        // Some file systems tell nothing by zeros.
        guard status.f_blocks > 0, size > 0 else { return nil }
        let (bytes, overflow) = Int(clamping: status.f_bavail).multipliedReportingOverflow(by: size)
        self.init(available: overflow ? .max : bytes, blockSize: size)
    }

    /// What a file of so many bytes takes.
    package func taken(by byteCount: Int) -> Int {
        let (blocks, rest) = byteCount.quotientAndRemainder(dividingBy: blockSize)
        let (bytes, overflow) = (blocks + (rest > 0 ? 1 : 0)).multipliedReportingOverflow(by: blockSize)
        return overflow ? .max : bytes
    }
}
