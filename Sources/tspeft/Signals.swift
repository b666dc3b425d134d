import CheckpointIO
@preconcurrency import Glibc
import Synchronization
import TensorCore

/// SIGINT, SIGTERM and SIGHUP (unless it is ignored, as under `nohup`): a command that can stop in good order asks
/// `stopRequested`; any other is ended, its temporary outputs removed. A later second signal ends the former too. In a
/// chat, the first SIGINT stops an answer alone.
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
                while sigwait(&set, &number) == 0 {
                    if number == SIGWINCH {
                        Terminal.redraw()
                        continue
                    }
                    if number == SIGINT, Signals.isInterruptOfChat() { continue }
                    Signals.receive(&first)
                }
                return nil
            }, nil)
    }

    private static func watched() -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGINT)
        sigaddset(&set, SIGTERM)
        // The terminal's width has changed.
        if Terminal.isInteractive { sigaddset(&set, SIGWINCH) }
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
        Terminal.leaveClean()
        TemporaryOutputs.removeAllAndExit(ExitStatus.interrupted.rawValue)
    }

    /// From now on the first signal, with those right after it, only sets `stopRequested`.
    static func stopInOrder() {
        stopsInOrder.store(true, ordering: .sequentiallyConsistent)
    }

    /// Whether a signal has come.
    static var stopRequested: Bool { requested.load(ordering: .sequentiallyConsistent) }

    // MARK: Chats

    /// What a chat does just now.
    private enum ChatState: UInt8, AtomicRepresentable {
        /// There is none.
        case none
        /// It waits for a line.
        case waiting
        /// It answers.
        case answering
        /// It answers, and is to stop.
        case stopping
    }

    private static let chat = Atomic<ChatState>(.none)
    /// What to do where Ctrl-C is pressed while a chat waits for a line; nil ends the program.
    private static let hint = Mutex<(@Sendable () -> Void)?>(nil)
    /// When the last SIGINT came, unless a line has been read since.
    private static let lastInterrupt = Mutex<ContinuousClock.Instant?>(nil)
    /// How long after one another counts as the same: nobody presses keys so fast.
    private static let chatEchoTime = Duration.milliseconds(100)

    /// From now on SIGINT stops the answer that is being made, and where none is it calls `hint`, from another thread, or
    /// ends the program without one. A second one, before another line is read, ends the program.
    static func stopAnswersOnly(hint newHint: (@Sendable () -> Void)?) {
        hint.withLock { $0 = newHint }
        chat.store(.waiting, ordering: .sequentiallyConsistent)
    }

    /// A line of the chat has come: what was interrupted before is forgotten.
    static func lineWasRead() { lastInterrupt.withLock { $0 = nil } }

    /// What `body` does while SIGINT makes `answerIsToStop` true.
    static func whileAnswering<Result>(_ body: () throws -> Result) rethrows -> Result {
        chat.store(.answering, ordering: .sequentiallyConsistent)
        defer { chat.store(.waiting, ordering: .sequentiallyConsistent) }
        return try body()
    }

    /// Whether SIGINT has come since the answer began.
    static var answerIsToStop: Bool { chat.load(ordering: .sequentiallyConsistent) == .stopping }

    /// Whether a SIGINT is dealt with here; if not, it ends the program.
    private static func isInterruptOfChat() -> Bool {
        let state = chat.load(ordering: .sequentiallyConsistent)
        guard state != .none else { return false }
        let now = ContinuousClock.now
        let previous = lastInterrupt.withLock { last in
            defer { last = last ?? now }
            return last
        }
        let hint = hint.withLock { $0 }
        if let previous {
            if now - previous < chatEchoTime { return true }
            // The shell's prompt begins a line.
            if state == .waiting, hint != nil { Terminal.plain("\n") }
            return false
        }
        if state == .answering {
            _ = chat.compareExchange(
                expected: .answering, desired: .stopping, ordering: .sequentiallyConsistent)
            return true
        }
        hint?()
        return hint != nil
    }
}
