import CKernels
import Dispatch
import Foundation
import Synchronization

/// How threads that wait for the next loop do so: on a machine that has nothing else to do they spin for a while, since
/// waking one takes longer than most loops; where others compute too they sleep, since a thread that spins takes the
/// time that the other one needs to be done.
///
/// The kernel says how long each thread was ready and had no processor (`/proc/self/task/*/schedstat`), which is looked
/// at in passing. Results do not depend on it. Does nothing where libgomp was told otherwise when it was loaded (see
/// `environment`), or where the kernel does not say.
package final class WaitingThreads: Sendable {
    /// The process's own.
    static let shared = WaitingThreads()

    /// What libgomp, which reads it when it is loaded, must find for all this: threads sleep, but spin first while there
    /// are no more of them than processors. For a program that may start itself anew.
    package static let environment = [("OMP_WAIT_POLICY", "passive"), ("GOMP_SPINCOUNT", "20000")]

    /// Nanoseconds between two looks.
    private static let interval: UInt64 = 50_000_000

    private let isWanted: Bool
    private let nextLook = Atomic<UInt64>(0)
    private let state = Mutex((rule: WaitingRule(), time: UInt64(0), waited: UInt64(0)))

    private init() {
        isWanted = Self.environment.allSatisfy { name, value in getenv(name).map { String(cString: $0) } == value }
    }

    /// Looks at the machine where it is time to; costs some nanoseconds where it is not.
    func look() {
        guard isWanted else { return }
        let now = DispatchTime.now().uptimeNanoseconds
        let due = nextLook.load(ordering: .relaxed)
        guard now >= due else { return }
        let isOurs = nextLook.compareExchange(expected: due, desired: now + Self.interval, ordering: .relaxed).exchanged
        guard isOurs, let waited = Self.waitedForProcessors() else { return }
        state.withLock { state in
            let (elapsed, before) = (now - state.time, state.waited)
            let isFirst = state.time == 0
            (state.time, state.waited) = (now, waited)
            // A thread that ended takes its time along.
            if isFirst || waited < before { return }
            let sleeps = state.rule.sleeps
            state.rule.note(waited: Double(waited - before) / Double(elapsed))
            if state.rule.sleeps != sleeps { _ = tspeft_let_waiting_threads_sleep(state.rule.sleeps ? 1 : 0) }
        }
    }

    /// Nanoseconds that the process's threads have been ready without a processor, all together.
    private static func waitedForProcessors() -> UInt64? {
        guard let threads = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task") else { return nil }
        var total: UInt64 = 0
        for thread in threads {
            // One that has just ended has none.
            guard let text = try? String(contentsOfFile: "/proc/self/task/\(thread)/schedstat", encoding: .utf8) else {
                continue
            }
            let numbers = text.split(separator: " ")
            guard numbers.count > 1, let waited = UInt64(numbers[1]) else { return nil }
            total &+= waited
        }
        return total
    }
}

/// When waiting threads sleep.
struct WaitingRule {
    /// Whether they do.
    private(set) var sleeps = false

    /// Time that all threads together may have waited for a processor, in terms of the time between two looks.
    private static let tolerated = 0.1
    /// Looks in a row that find the machine quiet before threads spin again.
    private static let patience = (least: 4, most: 256)

    private var quietLooks = 0
    private var patience = Self.patience.least

    /// One look: how long threads waited for a processor since the last one, in terms of the time in between.
    mutating func note(waited: Double) {
        guard waited <= Self.tolerated else {
            // Spinning was begun too soon: be slower the next time.
            let wasTooSoon = !sleeps && quietLooks < patience
            if wasTooSoon { patience = min(2 * patience, Self.patience.most) }
            if !sleeps, !wasTooSoon { patience = Self.patience.least }
            (sleeps, quietLooks) = (true, 0)
            return
        }
        quietLooks += 1
        guard sleeps, quietLooks >= patience else { return }
        (sleeps, quietLooks) = (false, 0)
    }
}
