import CheckpointIO
@preconcurrency import Glibc
import Synchronization
import TensorCore

/// SIGINT, SIGTERM and SIGHUP (unless it is ignored, as under `nohup`): a command that can stop in good order asks
/// `stopRequested`; any other is ended, its temporary outputs removed. A later second signal ends the former too.
enum Signals {
    private static let requested = Atomic<Bool>(false)
    private static let stopsInOrder = Atomic<Bool>(false)

    /// How long further signals count as the first one: `timeout` and some shells send one to the program and one to
    /// its group.
    private static let echoTime = Duration.seconds(2)

    /// Starts the thread that receives the signals. Must come before any other thread: they inherit the mask.
    static func watch() {
        var set = watched()
        pthread_sigmask(SIG_BLOCK, &set, nil)
        // A closed pipe and a file beyond the allowed size are errors of a write, not the end of the program.
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { _ in
                var set = Signals.watched()
                var number: Int32 = 0
                var first: ContinuousClock.Instant?
                while sigwait(&set, &number) == 0 { Signals.receive(&first) }
                return nil
            }, nil)
    }

    private static func watched() -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGINT)
        sigaddset(&set, SIGTERM)
        var hangUp = sigaction()
        sigaction(SIGHUP, nil, &hangUp)
        // A blocked signal would come through although it is ignored.
        if hangUp.__sigaction_handler.sa_handler == nil { sigaddset(&set, SIGHUP) }
        return set
    }

    /// - Parameter first: when the first signal came, where one has.
    private static func receive(_ first: inout ContinuousClock.Instant?) {
        let now = ContinuousClock.now
        first = first ?? now
        requested.store(true, ordering: .sequentiallyConsistent)
        if stopsInOrder.load(ordering: .sequentiallyConsistent), now - first! < echoTime { return }
        TemporaryOutputs.removeAllAndExit(ExitStatus.interrupted.rawValue)
    }

    /// From now on the first signal, with those right after it, only sets `stopRequested`.
    static func stopInOrder() {
        stopsInOrder.store(true, ordering: .sequentiallyConsistent)
    }

    /// Whether a signal has come.
    static var stopRequested: Bool { requested.load(ordering: .sequentiallyConsistent) }
}
