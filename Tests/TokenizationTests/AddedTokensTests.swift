import Testing

@testable import Tokenization

@Suite struct AddedTokenMatcherTests {
    private static func matcher(_ tokens: [AddedToken]) -> AddedTokenMatcher {
        AddedTokenMatcher(tokens.map { ($0.content, $0) })
    }

    private static func token(_ id: Int32, _ content: String) -> AddedToken {
        AddedToken(id: id, content: Array(content.utf8), isSpecial: false)
    }

    @Test func theLongestOfSeveralMatchesWins() {
        let matcher = Self.matcher([Self.token(1, "<a"), Self.token(2, "<a>"), Self.token(3, "a>")])
        let stretches = matcher.stretches(in: Array("x<a><ab".utf8))
        #expect(stretches.map(\.token) == [nil, 2, 1, nil])
        #expect(stretches.map(\.range) == [0..<1, 1..<4, 4..<6, 6..<7])
    }

    @Test func spaceIsTakenOnceBetweenGreedyNeighbours() {
        var left = Self.token(1, "<l>")
        left.stripsLeft = true
        var right = Self.token(2, "<r>")
        right.stripsRight = true
        var space = Self.token(3, " ")
        space.stripsLeft = true
        let stretches = Self.matcher([left, right, space]).stretches(in: Array("<r>  <l>".utf8))
        // The spaces are matches of their own too, after the first token has taken them.
        #expect(stretches.map(\.token) == [2, 3, 3, 1])
        #expect(stretches.last?.range == 5..<8)
    }

    @Test func singleWordsAreNotFoundInsideWords() {
        var word = Self.token(1, "in")
        word.isSingleWord = true
        let matcher = Self.matcher([word])
        #expect(matcher.stretches(in: Array("in inn kin in-in é\u{301}in".utf8)).compactMap(\.token).count == 3)
    }
}
