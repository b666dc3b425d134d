import CKernels
import Compute
import Synchronization

/// Independent pieces of work of unequal cost, taken by threads one after another.
enum ParallelWork {
    /// Runs `body(item, thread)` once for each item on as many threads as there are processors for; each thread takes the
    /// next item that nobody has, so items that cost most should come first. `thread` is below `threadCount`. Throws the
    /// first error of an item; then not every item has run.
    static func run(_ count: Int, _ body: (_ item: Int, _ thread: Int) throws -> Void) throws {
        let threads = min(threadCount, count)
        guard threads > 1 else {
            for item in 0..<count { try body(item, 0) }
            return
        }
        let queue = Queue(count: count)
        withoutActuallyEscaping(body) { body in
            var region = Region(queue: queue, body: body)
            withUnsafeMutablePointer(to: &region) { pointer in
                tspeft_parallel(
                    { context, thread, _ in
                        context!.assumingMemoryBound(to: Region.self).pointee.work(thread: Int(thread))
                    }, pointer, Int32(threads))
            }
        }
        if let failure = queue.failure { throw failure }
    }

    /// The threads of `run`.
    static var threadCount: Int { ComputeContext.availableThreads }

    /// The next item, and what went wrong, for all threads.
    private final class Queue: Sendable {
        private let taken = Atomic(0)
        private let count: Int
        private let firstFailure = Mutex<(any Error)?>(nil)

        init(count: Int) { self.count = count }

        var failure: (any Error)? { firstFailure.withLock { $0 } }

        func next() -> Int? {
            let item = taken.add(1, ordering: .relaxed).oldValue
            return item < count ? item : nil
        }

        /// Keeps the first error and lets no thread take another item.
        func stop(_ error: any Error) {
            firstFailure.withLock { if $0 == nil { $0 = error } }
            taken.store(count, ordering: .relaxed)
        }
    }

    /// What the threads share, behind a C pointer; it does not outlive the call that made it.
    private struct Region {
        let queue: Queue
        let body: (Int, Int) throws -> Void

        func work(thread: Int) {
            while let item = queue.next() {
                do { try body(item, thread) } catch { queue.stop(error) }
            }
        }
    }
}

/// Places that threads write results to, each its own.
struct ResultSlots<Value> {
    private let slots: UnsafeMutableBufferPointer<Value>

    /// Runs `body` with `count` places that hold `value`, and gives what they hold afterwards.
    static func collect(_ count: Int, _ value: Value, _ body: (ResultSlots) throws -> Void) rethrows -> [Value] {
        try [Value](unsafeUninitializedCapacity: count) { buffer, filled in
            buffer.initialize(repeating: value)
            filled = count
            try body(ResultSlots(slots: UnsafeMutableBufferPointer(rebasing: buffer[..<count])))
        }
    }

    /// Puts a result at a place; no two threads may do so at one place at a time.
    func put(_ value: Value, at place: Int) { slots[place] = value }
}
