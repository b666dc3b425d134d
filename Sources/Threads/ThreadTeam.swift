import CKernels

/// The threads that loops and products are shared out to.
package struct ThreadTeam: Sendable {
    /// How many there are, at least 1.
    package let count: Int

    /// A team of at most `count` threads, fewer where libgomp is limited; oneDNN takes as many from then on.
    package init(_ count: Int) {
        self.count = Int(tspeft_set_threads(Int32(clamping: count)))
    }

    /// Threads that libgomp would use now: the processors that this process may run on, or what OMP_NUM_THREADS says.
    package static var available: Int { Int(tspeft_available_threads()) }

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

    private func onThreads(_ threads: Int, _ body: (_ thread: Int, _ threads: Int) -> Void) {
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
