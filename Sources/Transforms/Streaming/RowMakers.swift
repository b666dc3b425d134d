import Synchronization

/// What makes the rows of several tensors for several threads: each maker is prepared by the first thread that needs
/// it, while others wait, and released with the last of its pieces.
final class RowMakers: Sendable {
    private final class Maker: Sendable {
        private let prepared = Mutex<Result<TensorStream.RowMaker, any Error>?>(nil)

        func get(_ begin: () throws -> TensorStream.RowMaker) throws -> TensorStream.RowMaker {
            let result = prepared.withLock { prepared in
                let result = prepared ?? Result(catching: begin)
                prepared = result
                return result
            }
            return try result.get()
        }
    }

    private struct State {
        /// Pieces of each item that are not done.
        var remaining: [Int]
        var makers: [Int: Maker] = [:]
    }

    private let state: Mutex<State>

    /// For items of so many pieces.
    init(pieceCounts: [Int]) { state = Mutex(State(remaining: pieceCounts)) }

    /// The maker of an item's rows; throws what `begin` throws, for every piece.
    func get(_ item: Int, _ begin: () throws -> TensorStream.RowMaker) throws -> TensorStream.RowMaker {
        let maker = state.withLock { state in
            let maker = state.makers[item] ?? Maker()
            state.makers[item] = maker
            return maker
        }
        return try maker.get(begin)
    }

    /// Says that a piece of an item is done.
    func finishPiece(of item: Int) {
        state.withLock { state in
            state.remaining[item] -= 1
            if state.remaining[item] == 0 { state.makers[item] = nil }
        }
    }
}
