import TestSupport
import Testing

@testable import Tokenization

@Suite struct PairMergingTests {
    /// A few random merges over four letters: deep enough for ties, and for merges that undo others' chances.
    private static func randomTable(_ numbers: inout some RandomNumberGenerator) -> (MergeTable, letters: Int32) {
        let letters: Int32 = 4
        var table = MergeTable(capacity: 40)
        for id in letters..<letters + 40 {
            table.set(
                Int32.random(in: 0..<id, using: &numbers), Int32.random(in: 0..<id, using: &numbers),
                rank: UInt32(id), becomes: id)
        }
        return (table, letters)
    }

    @Test func heapAndScanMergeAlike() {
        var numbers = SplitMix(state: 1)
        for _ in 0..<200 {
            let (table, letters) = Self.randomTable(&numbers)
            let word = (0..<Int.random(in: 0...60, using: &numbers)).map { _ in
                Int32.random(in: 0..<letters, using: &numbers)
            }
            var results: [[Symbol]] = []
            for longestScan in [0, Int.max] {
                var merger = PairMerger()
                merger.longestScan = longestScan
                merger.symbols = word.enumerated().map { Symbol(id: $1, start: $0, end: $0 + 1) }
                merger.mergeAll(table, in: [])
                results.append(merger.symbols)
            }
            #expect(results[0].map(\.id) == results[1].map(\.id))
            #expect(results[0].map(\.end) == results[1].map(\.end))
            #expect(results[0].map(\.start) == [0].prefix(word.isEmpty ? 0 : 1) + results[0].dropLast().map(\.end))
        }
    }

    @Test func aMergerServesOneWordAfterAnother() {
        var table = MergeTable(capacity: 1)
        table.set(0, 1, rank: 0, becomes: 2)
        var merger = PairMerger()
        for length in [100, 2, 60, 1, 0] {
            merger.symbols = (0..<length).map { Symbol(id: Int32($0 % 2), start: $0, end: $0 + 1) }
            merger.mergeAll(table, in: [])
            #expect(merger.symbols.map(\.id) == [Int32](repeating: 2, count: length / 2) + (length % 2 == 1 ? [0] : []))
        }
    }

    @Test func tableTellsTextsApartByBytes() {
        var table = TokenTable()
        let inserted = (0..<Int32(1000)).map { table.insert("token\($0)".utf8, id: $0 * 2) }
        #expect(!inserted.contains(false))
        let again = [table.insert("token7".utf8, id: 5000), table.insert("new".utf8, id: 14)]
        #expect(again == [false, false])
        #expect(table.count == 1000)
        #expect(table.idBound == 1999)
        #expect(table.id(of: Array("token999".utf8)) == 1998)
        #expect(table.id(of: Array("token1000".utf8)) == nil)
        #expect(table[1998].map { Array($0) } == Array("token999".utf8))
        #expect(table[1997] == nil && table[-1] == nil && table[5000] == nil)
    }
}

/// SplitMix64, for tests that need the same numbers each time.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
