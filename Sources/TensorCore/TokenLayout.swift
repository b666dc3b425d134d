/// How the rows of a batch hang together: each token's position, and which earlier tokens it sees.
package struct TokenLayout: Sendable, Equatable {
    /// One run of tokens that see, besides those before them in the run, all of an earlier run (a shared prompt, or a
    /// cache).
    package struct Segment: Sendable, Equatable {
        /// First row of the run in the batch.
        package var queryStart: Int
        /// Rows of the run.
        package var count: Int
        /// Row of the keys that belongs to the first row of the run.
        package var keyStart: Int
        /// First row of the earlier run among the keys.
        package var prefixStart: Int
        /// Rows of the earlier run; 0 for none.
        package var prefixCount: Int

        /// A run at `queryStart`, by itself unless a prefix is given.
        package init(queryStart: Int, count: Int, keyStart: Int? = nil, prefixStart: Int = 0, prefixCount: Int = 0) {
            self.queryStart = queryStart
            self.count = count
            self.keyStart = keyStart ?? queryStart
            self.prefixStart = prefixStart
            self.prefixCount = prefixCount
        }
    }

    /// The position of each row, from 0.
    package let positions: [Int32]
    /// Runs that cover the rows.
    package let segments: [Segment]
    /// The type of each row's token, which tells the two texts of a pair apart for a model that has types; nil where all
    /// are of type 0.
    package let types: [Int32]?

    /// A layout as given.
    package init(positions: [Int32], segments: [Segment], types: [Int32]? = nil) {
        precondition(types.map { $0.count == positions.count } ?? true, "a type for each row")
        self.positions = positions
        self.segments = segments
        self.types = types
    }

    /// Sequences of these lengths end to end, each by itself.
    package init(lengths: [Int], types: [Int32]? = nil) {
        var start = 0
        var runs: [Segment] = []
        var rows: [Int32] = []
        for length in lengths {
            runs.append(Segment(queryStart: start, count: length))
            rows += (0..<Int32(length))
            start += length
        }
        self.init(positions: rows, segments: runs, types: types)
    }

    /// Rows of the batch.
    package var rowCount: Int { positions.count }
}
