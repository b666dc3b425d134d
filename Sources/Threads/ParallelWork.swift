import CKernels
import Synchronization

/// Threads that libgomp would use now, at least one: for callers who leave it to the machine.
package func usualThreadCount() -> Int { max(1, Int(tspeft_available_threads())) }

/// Independent pieces of work of unequal cost, taken by threads one after another.
package enum ParallelWork {
    /// Runs `body(item, thread)` once for each item on at most `threadCount` threads; each thread takes the next item
    /// that nobody has, so items that cost most should come first. `thread` is below `threadCount`. Throws the first
    /// error of an item; then not every item has run.
    package static func run<Failure: Error>(
        _ count: Int, threadCount: Int, _ body: (_ item: Int, _ thread: Int) throws(Failure) -> Void
    ) throws(Failure) {
        let threads = min(threadCount, count)
        guard threads > 1 else {
            for item in 0..<count { try body(item, 0) }
            return
        }
        let queue = Queue<Failure>(count: count)
        withoutActuallyEscaping(body) { body in
            // A C function cannot be generic, so the error's type stays in here.
            var region = Region { thread in
                while let item = queue.next() {
                    do throws(Failure) { try body(item, thread) } catch { queue.stop(error) }
                }
            }
            withUnsafeMutablePointer(to: &region) { pointer in
                tspeft_parallel(
                    { context, thread, _ in
                        context!.assumingMemoryBound(to: Region.self).pointee.work(Int(thread))
                    }, pointer, Int32(threads))
            }
        }
        if let failure = queue.failure { throw failure }
    }

    /// The next item, and what went wrong, for all threads.
    private final class Queue<Failure: Error>: Sendable {
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

    /// What the threads share, behind a C pointer; it does not outlive the call that made it.
    private struct Region {
        let work: (Int) -> Void
    }
}

/// Places that threads write results to, each its own.
package struct ResultSlots<Value> {
    private let slots: UnsafeMutableBufferPointer<Value>

    /// Runs `body` with `count` places that hold `value`, and gives what they hold afterwards.
    package static func collect(_ count: Int, _ value: Value, _ body: (ResultSlots) throws -> Void) rethrows -> [Value]
    {
        try [Value](unsafeUninitializedCapacity: count) { buffer, filled in
            buffer.initialize(repeating: value)
            filled = count
            try body(ResultSlots(slots: UnsafeMutableBufferPointer(rebasing: buffer[..<count])))
        }
    }

    /// Puts a result at a place; no two threads may do so at one place at a time.
    package func put(_ value: Value, at place: Int) { slots[place] = value }
}
