import Adapters
import CheckpointIO

extension AdapterDirectory {
    /// Writes the adapter to `path`.
    package func write(
        to path: String, replacing: Bool = false, addingFiles: (AtomicDirectory) throws -> Void = { _ in }
    ) throws {
        try write(to: OutputTarget(path, replacing: replacing), addingFiles: addingFiles)
    }
}
