import TensorCore
import Testing

@testable import Data

struct BatchTests {
    @Test func sequencesLieEndToEndWithPositionsOfTheirOwn() {
        let batch = Batch.packing([
            Example(tokens: [5, 6, 7, 8], scored: [false, false, true, true]),
            Example(tokens: [9, 10], scored: [false, true]),
        ])
        #expect(batch.tokens == [5, 6, 7, 8, 9, 10])
        #expect(batch.layout == TokenLayout(lengths: [4, 2]))
        #expect(batch.layout.positions == [0, 1, 2, 3, 0, 1])
        #expect(batch.labels == Labels(rows: [1, 2, 4], .ids([7, 8, 10])))
        #expect(batch.scoredCount == 3)
    }

    @Test func lastTokenOfASequenceNeverPredictsTheNextSequence() {
        let examples = (0..<3).map { Example(tokens: [Int32($0), 1], scored: [true, true]) }
        let batch = Batch.packing(examples)
        #expect(batch.labels == Labels(rows: [0, 2, 4], .ids([1, 1, 1])))
    }

    @Test func scoredTokensOfExamplesAreTheLabelsOfTheBatch() {
        let examples = [3, 1, 6].map { count in
            Example(tokens: (0..<Int32(count)).map { $0 }, scored: (0..<count).map { $0 % 2 == 1 })
        }
        let batch = Batch.packing(examples)
        #expect(batch.scoredCount == examples.reduce(0) { $0 + $1.scoredCount })
        #expect(batch.tokens.count == batch.layout.rowCount)
    }

    @Test func emptyExamplesTakeNoRows() {
        let batch = Batch.packing([
            Example(tokens: [], scored: []), Example(tokens: [4, 5], scored: [false, true]),
        ])
        #expect(batch.layout.segments.map(\.count) == [2])
        #expect(Batch.packing([]).tokens.isEmpty)
    }

    @Test func firstTokenIsNeverScored() {
        #expect(Example(tokens: [1, 2], scored: [true, true]).scored == [false, true])
        #expect(Example(tokens: [1, 2], scored: [true, true]).scoredCount == 1)
    }
}
