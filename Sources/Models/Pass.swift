import Compute
import TensorCore

/// What a forward pass takes through a model besides values.
package struct Pass {
    /// Where operations are recorded.
    package let tape: Tape
    /// The source of dropout masks, of which each projection takes a stream of its own; nil outside training.
    package var dropout: RandomStream?
    /// Is told of what happens in the pass, and in the backward pass that belongs to it.
    package var observer: (any PassObserver)?
    /// Which rows are tokens.
    package var rows: RowRoles
    /// The pictures whose tokens the pass has, in their order: for each the values that the model's tower takes, see
    /// `ImageFacts`. Without any, tokens of pictures are tokens of text.
    package var images: [[Float]] = []

    /// A pass on `tape` over tokens, without dropout unless a source of masks is given.
    package init(
        _ tape: Tape, dropout: RandomStream? = nil, observer: (any PassObserver)? = nil, rows: RowRoles = .tokens
    ) {
        self.tape = tape
        self.dropout = dropout
        self.observer = observer
        self.rows = rows
    }

    /// The same pass for rows that are no tokens, such as relative positions that go through the projections of
    /// queries and keys: they pass the gates and are counted nowhere.
    package var auxiliary: Pass {
        var pass = self
        pass.rows = .auxiliary
        return pass
    }

    /// The same pass for some of its rows.
    func taking(_ rows: [Int32]) -> Pass {
        guard case .each(let flags) = self.rows else { return self }
        var pass = self
        pass.rows = .each(rows.map { flags[Int($0)] })
        return pass
    }
}

/// What the rows of a pass are.
package enum RowRoles: Sendable, Equatable {
    /// Tokens, all of them: the gates count them.
    case tokens
    /// No tokens, none of them: counted nowhere.
    case auxiliary
    /// For each row whether it counts as a token.
    case each([Bool])

    /// For each of `count` rows whether it counts; nil where all do.
    package func flags(_ count: Int) -> [Bool]? {
        switch self {
        case .tokens: return nil
        case .auxiliary: return [Bool](repeating: false, count: count)
        case .each(let flags):
            precondition(flags.count == count, "\(flags.count) roles for \(count) rows")
            return flags
        }
    }
}

/// Is told of what happens in a pass.
package protocol PassObserver: AnyObject {
    /// After a projection's forward pass.
    func observe(output: Tensor, of projection: any Projection)
}

extension PassObserver {
    package func observe(output: Tensor, of projection: any Projection) {}
}
