import CKernels
import Synchronization

/// Threads that a loop is shared out to: the calling one and others of libgomp's pool, which oneDNN runs on too.
///
/// Belongs to one thread of control at a time: libgomp keeps a pool for every thread that calls it. A loop allocates
/// nothing for each of its items.
package struct ThreadTeam: Sendable {
    /// How many there are at most, at least 1.
    package let count: Int

    /// A team of at most `count` threads.
    package init(_ count: Int) { self.count = max(1, count) }

    /// A team of at most `count` threads, fewer where libgomp is limited; oneDNN takes as many from then on.
    package static func limitingPool(to count: Int) -> ThreadTeam {
        ThreadTeam(Int(tspeft_set_threads(Int32(clamping: count))))
    }

    /// Threads that libgomp would use now: the processors that this process may run on, or what OMP_NUM_THREADS says.
    package static var available: Int { max(1, Int(tspeft_available_threads())) }

    /// Runs `body`, in which libgomp and oneDNN use at most `count` threads; all that there are where it is nil.
    package static func withPool<Result, Failure: Error>(
        of count: Int?, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let whole = tspeft_available_threads()
        guard let count, count < whole else { return try body() }
        _ = tspeft_set_threads(Int32(clamping: count))
        defer { _ = tspeft_set_threads(whole) }
        return try body()
    }

    /// As many threads as are available.
    package static var whole: ThreadTeam { ThreadTeam(available) }

    /// Runs `body` over 0..<count cut into one contiguous part a thread, parts of at least `grain` elements. The cut
    /// depends on the count, the grain and the thread count alone, so results are the same in every run.
    package func parallel(_ count: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) {
        let parts = min(self.count, max(1, count / max(1, grain)))
        if parts <= 1 {
            if count > 0 { body(0..<count) }
            return
        }
        // libgomp may give fewer threads than asked for (OMP_THREAD_LIMIT, OMP_DYNAMIC): each takes its share of the
        // parts.
        onThreads(parts) { thread, threads in
            for part in stride(from: thread, to: parts, by: threads) {
                let begin = count * part / parts
                let end = count * (part + 1) / parts
                if begin < end { body(begin..<end) }
            }
        }
    }

    /// Runs `body(item, thread)` for each item, thread t taking items t, t + threads, ...: for items of unequal cost
    /// that write to places of their own. `thread` is below `count` of the team.
    package func parallelItems(_ count: Int, _ body: (_ item: Int, _ thread: Int) -> Void) {
        let threads = min(self.count, count)
        if threads <= 1 {
            for item in 0..<count { body(item, 0) }
            return
        }
        onThreads(threads) { thread, threads in
            for item in stride(from: thread, to: count, by: threads) { body(item, thread) }
        }
    }

    /// Runs `body(item, thread)` once for each item, each thread taking the next that nobody has: for items whose costs
    /// nobody knows, or that can fail. Those that cost most should come first. `thread` is below `count` of the team.
    ///
    /// Throws the first error of an item; then no thread takes another item, so not every item has run.
    package func takeItems<Failure: Error>(
        _ count: Int, _ body: (_ item: Int, _ thread: Int) throws(Failure) -> Void
    ) throws(Failure) {
        let threads = min(self.count, count)
        if threads <= 1 {
            for item in 0..<count { try body(item, 0) }
            return
        }
        let queue = ItemQueue<Failure>(count: count)
        onThreads(threads) { thread, _ in
            while let item = queue.next() {
                do throws(Failure) { try body(item, thread) } catch { queue.stop(error) }
            }
        }
        if let failure = queue.failure { throw failure }
    }

    /// What `body` makes of each of 0..<count, in their order, `grain` of them at a time by one thread.
    ///
    /// Throws the error of the first in their order that has one, whichever thread came to one first.
    package func map<Value, Failure: Error>(
        _ count: Int, grain: Int = 1, _ body: (_ item: Int) throws(Failure) -> Value
    ) throws(Failure) -> [Value] {
        let parts = (count + grain - 1) / grain
        // Parts behind one that failed are not begun.
        let failed = Atomic(parts)
        let results = ResultSlots.collect(parts, Result<[Value], Failure>.success([])) { slots in
            takeItems(parts) { (part, _) throws(Never) in
                guard part < failed.load(ordering: .relaxed) else { return }
                let result = Result { () throws(Failure) in
                    var values: [Value] = []
                    values.reserveCapacity(grain)
                    for item in part * grain..<min(count, (part + 1) * grain) { values.append(try body(item)) }
                    return values
                }
                if case .failure = result { failed.min(part, ordering: .relaxed) }
                slots.put(result, at: part)
            }
        }
        var values: [Value] = []
        values.reserveCapacity(count)
        for result in results { values += try result.get() }
        return values
    }

    /// Does two things at once where there are two threads, else one after the other.
    package func both<First, Second>(
        _ first: () -> First, _ second: () -> Second
    ) -> (First, Second) {
        var (left, right): (First?, Second?) = (nil, nil)
        withUnsafeMutablePointer(to: &left) { left in
            withUnsafeMutablePointer(to: &right) { right in
                takeItems(2) { (item, _) throws(Never) in
                    if item == 0 { left.pointee = first() } else { right.pointee = second() }
                }
            }
        }
        guard let left, let right else { preconditionFailure("each item runs once") }
        return (left, right)
    }

    private func onThreads(_ threads: Int, _ body: (_ thread: Int, _ threads: Int) -> Void) {
        WaitingThreads.shared.look()
        withoutActuallyEscaping(body) { body in
            var region = Region(body: body)
            withUnsafeMutablePointer(to: &region) { pointer in
                tspeft_parallel(
                    { context, thread, threads in
                        context!.assumingMemoryBound(to: Region.self).pointee.body(Int(thread), Int(threads))
                    }, pointer, Int32(threads))
            }
        }
    }
}

/// A closure behind a C pointer; it does not outlive the call that made it.
private struct Region {
    let body: (Int, Int) -> Void
}

/// The next item, and what went wrong, for all threads of a loop.
private final class ItemQueue<Failure: Error>: Sendable {
    private let taken = Atomic(0)
    private let count: Int
    private let firstFailure = Mutex<Failure?>(nil)

    init(count: Int) { self.count = count }

    var failure: Failure? { firstFailure.withLock { $0 } }

    func next() -> Int? {
        let item = taken.add(1, ordering: .relaxed).oldValue
        return item < count ? item : nil
    }

    /// Keeps the first error and lets no thread take another item.
    func stop(_ error: Failure) {
        firstFailure.withLock { if $0 == nil { $0 = error } }
        taken.store(count, ordering: .relaxed)
    }
}
