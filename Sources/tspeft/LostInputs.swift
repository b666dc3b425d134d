import CheckpointIO
@preconcurrency import Glibc
import TensorCore

/// Files that are cut short while they are mapped: the program ends with a sentence instead of a crash, its temporary
/// outputs removed.
enum LostInputs {
    /// Starts the thread that learns of it. Where the system allows no handler, a lost page is a crash as before.
    static func watch() {
        guard MappingFaults.catchThem() else { return }
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { _ in
                let error = MappingFaults.next()
                Terminal.endProgress()
                Terminal.note("tspeft: \(OptionWords.text(error))")
                TemporaryOutputs.removeAllAndExit(error.exitStatus.rawValue)
            }, nil)
    }
}
