import Testing

@testable import Adapters

/// A generator that gives the same numbers in every run.
private struct Numbers: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state >> 16 ^ state << 40
    }
}

@Suite struct PatternTableTests {
    private static let words = [
        "layers", "mlp", "experts", "up_proj", "a-b", "0", "1", "12", "q", "qq", ".*_proj", "[ab]",
    ]

    private static func path(_ numbers: inout Numbers, among words: ArraySlice<String>) -> String {
        (0..<Int.random(in: 1...4, using: &numbers)).map { _ in words.randomElement(using: &numbers)! }
            .joined(separator: [".", ".", ".", "_"].randomElement(using: &numbers)!)
    }

    /// What the definition says: the first entry whose expression matches the whole path.
    private static func first(_ entries: [PatternEntry<Int>], _ path: String) throws -> Int? {
        try entries.first { try $0.expression.matchesWhole(path) }?.value
    }

    @Test(arguments: 0..<40) func lookingUpFindsTheFirstThatMatches(seed: Int) throws {
        var numbers = Numbers(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1)
        let entries = (0..<Int.random(in: 0...12, using: &numbers)).map {
            PatternEntry(Self.path(&numbers, among: Self.words[...]), $0)
        }
        let table = PatternTable(entries)
        for _ in 0..<40 {
            let path = Self.path(&numbers, among: Self.words.prefix(10)) + (Bool.random(using: &numbers) ? "" : "é")
            #expect(table.first(matching: path) == (try Self.first(entries, path)), "\(entries) \(path)")
        }
    }

    @Test func dotsOfAPlainPatternMatchAnyCharacter() {
        let table = PatternTable([PatternEntry("q.proj", 1), PatternEntry("q_proj", 2)])
        #expect(table.first(matching: "layers.0.q_proj") == 1)
        #expect(table.first(matching: "layers.0.xq_proj") == nil)
    }

    /// 20,000 entries and as many modules: a search of one among the others would take minutes.
    @Test(.timeLimit(.minutes(1))) func anEntryForEachOfManyModulesIsLookedUp() throws {
        let paths = (0..<20_000).map { "model.layers.\($0 / 400).mlp.experts.\($0 % 400).up_proj" }
        let entries = paths.enumerated().map { PatternEntry($1, $0) }
        try entries.check()
        let table = PatternTable(entries)
        let wrong = paths.enumerated().first { table.first(matching: $1) != $0 }?.element
        #expect(wrong == nil)
        #expect(table.first(matching: "model.layers.50.mlp.experts.0.up_proj") == nil)
    }
}

@Suite struct PathOrderTests {
    @Test func numbersAreComparedAsNumbersAndAllElseAsText() {
        let paths = ["b.2.x", "b.10.x", "b.2", "a.10", "a.9.z", "a.b", "b.2.w.1", "b.2.w.0"]
        #expect(
            PathOrder.sorted(paths.reversed()) == [
                "a.9.z", "a.10", "a.b", "b.2", "b.2.w.0", "b.2.w.1", "b.2.x", "b.10.x",
            ])
    }
}
