import Models
import Testing

/// The orders of rows in GGUF files.
@Suite struct RowOrderTests {
    /// Orders with a number of rows that fits each.
    static let orders: [(order: RowOrder, count: Int)] = [
        (.asInHuggingFace, 7),
        (.rotaryPairs(headSize: 2), 6), (.rotaryPairs(headSize: 8), 40), (.rotaryPairs(headSize: 6), 18),
        (.rotaryHalves(headSize: 8, rotarySize: 4), 24), (.rotaryHalves(headSize: 6, rotarySize: 6), 12),
        (.transposedGroups(first: 0, groupCount: 2, groupSize: 3, headSize: 1), 6),
        (.transposedGroups(first: 0, groupCount: 4, groupSize: 2, headSize: 5), 40),
        (.transposedGroups(first: 11, groupCount: 3, groupSize: 4, headSize: 2), 35),
        (.transposedGroups(first: 5, groupCount: 1, groupSize: 3, headSize: 2), 11),
    ]

    @Test(arguments: orders) func everyOrderIsABijectionWithAnInverse(order: RowOrder, count: Int) {
        #expect(Set((0..<count).map(order.gguf)) == Set(0..<count))
        for row in 0..<count {
            #expect(order.huggingFace(order.gguf(row)) == row && order.gguf(order.huggingFace(row)) == row)
        }
    }

    @Test func pairsOfAHeadLieTogether() {
        let order = RowOrder.rotaryPairs(headSize: 6)
        #expect((6..<12).map(order.huggingFace) == [6, 9, 7, 10, 8, 11])
    }

    @Test func firstOnesOfAllPairsComeFirst() {
        let order = RowOrder.rotaryHalves(headSize: 8, rotarySize: 6)
        #expect((8..<16).map(order.huggingFace) == [8, 10, 12, 9, 11, 13, 14, 15])
    }

    @Test func firstHeadsOfAllGroupsComeFirst() {
        // Two key heads with three value heads each, of two rows, behind one row that stays.
        let order = RowOrder.transposedGroups(first: 1, groupCount: 2, groupSize: 3, headSize: 2)
        #expect((0..<13).map(order.huggingFace) == [0, 1, 2, 7, 8, 3, 4, 9, 10, 5, 6, 11, 12])
    }
}
