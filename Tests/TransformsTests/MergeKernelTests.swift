import CKernels
import TensorCore
import Testing

@Suite struct MergeKernelTests {
    func random(_ count: Int, _ stream: inout RandomStream) -> [Float] {
        (0..<count).map { _ in Float(stream.nextUniform() - 0.5) }
    }

    /// Sums of `rank` products in float: each step rounds by half a unit of at most the sum of magnitudes.
    @Test(arguments: [0, 1, 2], [(1, 1, 1), (4, 2, 64), (5, 3, 65), (7, 8, 15), (3, 1, 16), (9, 32, 131)])
    func everyLevelAgreesWithDoubles(_ level: Int, _ size: (rows: Int, rank: Int, width: Int)) {
        var stream = RandomStream(seed: 5)
        let w = random(size.rows * size.width, &stream)
        let a = random(size.rank * size.width, &stream)
        let b = random(size.rows * size.rank, &stream)
        var merged = w
        tspeft_merge_rows_at(Int32(level), &merged, b, a, 0.75, size.rows, size.rank, size.width)
        for row in 0..<size.rows {
            for column in 0..<size.width {
                var sum = 0.0
                var magnitude = 0.0
                for k in 0..<size.rank {
                    let product = Double(b[row * size.rank + k]) * Double(a[k * size.width + column])
                    sum += product
                    magnitude += abs(product)
                }
                let exact = Double(w[row * size.width + column]) + 0.75 * sum
                let bound = (magnitude * Double(size.rank + 2) + abs(exact)) * 0x1p-23
                #expect(abs(Double(merged[row * size.width + column]) - exact) <= bound)
            }
        }
    }

    @Test(arguments: [0, 1, 2]) func zeroUpdateKeepsEveryBit(_ level: Int) {
        let w: [Float] = (0..<70).map { $0 % 3 == 0 ? -0.0 : Float($0) }
        var merged = w
        let a = [Float](repeating: 1, count: 35 * 2)
        tspeft_merge_rows_at(Int32(level), &merged, [0, 0, 1, -1], a, 1, 2, 2, 35)
        #expect(merged.map(\.bitPattern) == w.map(\.bitPattern))
    }

    @Test func changesAreCountedByBitsAndMeasured() {
        let before: [Float] = [1, 2, -0.0, .nan, 5, 7]
        let after: [Float] = [1, 2.5, 0, .nan, 5, 6]
        let change = tspeft_changes(before, after, 6)
        #expect(change.changed == 3)
        #expect(change.largest == 1)
        #expect(tspeft_changes([1], [.infinity], 1).largest == .infinity)
        #expect(tspeft_changes([1], [.nan], 1).largest == .infinity)
        #expect(tspeft_changes([], [], 0).changed == 0)
    }

    @Test(arguments: [0, 1, 2], [1, 7, 16, 33, (1 << 16) + 5]) func changesAreTheSameAtEveryLevel(
        _ level: Int, _ count: Int
    ) {
        var stream = RandomStream(seed: UInt64(count))
        let before = random(count, &stream)
        let after = before.enumerated().map { $0 % 3 == 1 ? $1 + Float($0 % 5) * 0x1p-8 : $1 }
        let pairs = zip(before, after)
        let change = tspeft_changes_at(Int32(level), before, after, count)
        #expect(change.changed == UInt64(pairs.count { $0.bitPattern != $1.bitPattern }))
        #expect(change.largest == pairs.map { abs($1 - $0) }.max())
    }
}
