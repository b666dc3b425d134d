import Compute
import TensorCore
import TestSupport
import Testing

@Suite struct ParallelLoopTests {
    private static let counts = [0, 1, 2, 3, 7, 8, 13, 64, 101]

    /// How often `loop` named each index. Each thread counts where no other one should, so a loop that covers its
    /// indices once has no race.
    private func visits(_ count: Int, _ loop: ((Int) -> Void) -> Void) -> [Int] {
        var visits = [Int](repeating: 0, count: count)
        visits.withUnsafeMutableBufferPointer { visits in
            loop { visits[$0] += 1 }
        }
        return visits
    }

    @Test(arguments: [1, 2, 3, 5]) func everyIndexIsVisitedOnce(threads: Int) {
        let context = ComputeContext(dtype: .f32, threadCount: threads)
        for count in Self.counts {
            for grain in [1, 3, 16, 1000] {
                let seen = visits(count) { visit in
                    context.parallel(count, grain: grain) { range in range.forEach(visit) }
                }
                #expect(seen == [Int](repeating: 1, count: count), "\(count) by \(grain)")
            }
            let seen = visits(count) { visit in context.parallelItems(count) { item, _ in visit(item) } }
            #expect(seen == [Int](repeating: 1, count: count), "\(count) items")
        }
    }

    @Test func itemsGoRoundTheThreads() {
        let context = ComputeContext(dtype: .f32, threadCount: 3)
        var threads = [Int](repeating: -1, count: 8)
        threads.withUnsafeMutableBufferPointer { threads in
            context.parallelItems(8) { item, thread in threads[item] = thread }
        }
        #expect(threads == [0, 1, 2, 0, 1, 2, 0, 1])
    }

    @Test func partsAreNoSmallerThanTheGrain() {
        let context = ComputeContext(dtype: .f32, threadCount: 4)
        var sizes = [Int](repeating: 0, count: 100)
        sizes.withUnsafeMutableBufferPointer { sizes in
            context.parallel(100, grain: 40) { sizes[$0.lowerBound] = $0.count }
        }
        #expect(sizes.filter { $0 > 0 } == [50, 50])
    }

    @Test func contextHasAtLeastOneThread() {
        #expect(ComputeContext(dtype: .f32, threadCount: 0).threadCount == 1)
        #expect(ComputeContext.availableThreads >= 1)
    }
}
