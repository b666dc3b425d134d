import CKernels

/// Runs `body(item)` for each of `count` items on `threadCount` threads, in no order, and returns when all are done. For
/// items of about equal cost.
func forEachInParallel(_ count: Int, threadCount: Int, _ body: (_ item: Int) -> Void) {
    let threads = min(threadCount, count)
    guard threads > 1 else { return (0..<count).forEach(body) }
    withoutActuallyEscaping(body) { body in
        var region = Region { thread, threads in
            for item in stride(from: thread, to: count, by: threads) { body(item) }
        }
        withUnsafeMutablePointer(to: &region) { pointer in
            tspeft_parallel(
                { context, thread, threads in
                    context!.assumingMemoryBound(to: Region.self).pointee.body(Int(thread), Int(threads))
                }, pointer, Int32(threads))
        }
    }
}

/// Threads that libgomp would use now, at least one: for callers who leave it to the machine.
package func usualThreadCount() -> Int { max(1, Int(tspeft_available_threads())) }

/// A closure behind a C pointer; it does not outlive the call that made it.
private struct Region {
    let body: (Int, Int) -> Void
}
