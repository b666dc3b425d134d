import TensorCore
import Threads

extension ComputeContext {
    /// Threads that there would be now: the processors that this process may run on, or what OMP_NUM_THREADS says.
    package static var availableThreads: Int { ThreadTeam.available }

    /// Threads of parallel operations.
    package var threadCount: Int { threads.count }

    /// `ThreadTeam.parallel` of this context's threads.
    package func parallel(_ count: Int, grain: Int = 1, _ body: (Range<Int>) -> Void) {
        threads.parallel(count, grain: grain, body)
    }

    /// `ThreadTeam.parallelItems` of this context's threads.
    package func parallelItems(_ count: Int, _ body: (_ item: Int, _ thread: Int) -> Void) {
        threads.parallelItems(count, body)
    }

    /// `parallel` over the elements of tensors of one size, in runs that lie one behind the other in each of them:
    /// `body(row, column, count)` has the run from that element on. Shapes may differ where none has gaps.
    func parallelRuns(
        _ tensors: Tensor..., grain: Int, _ body: (_ row: Int, _ column: Int, _ count: Int) -> Void
    ) {
        let first = tensors[0]
        if tensors.allSatisfy(\.isContiguous) {
            parallel(first.count, grain: grain) { body(0, $0.lowerBound, $0.count) }
            return
        }
        precondition(tensors.allSatisfy { $0.rows == first.rows && $0.columns == first.columns })
        parallel(first.rows, grain: max(1, grain / max(1, first.columns))) { rows in
            for row in rows { body(row, 0, first.columns) }
        }
    }

    /// `parallel` over the rows of tensors, in runs of rows without gaps between them in each of the tensors:
    /// `body(row, count)` has `count` rows from `row` on.
    func parallelRows(_ tensors: Tensor..., grain: Int, _ body: (_ row: Int, _ count: Int) -> Void) {
        let hasGaps = !tensors.allSatisfy(\.isContiguous)
        parallel(tensors[0].rows, grain: grain) { rows in
            guard hasGaps else { return body(rows.lowerBound, rows.count) }
            for row in rows { body(row, 1) }
        }
    }
}
