import Testing

@testable import Tokenization

@Suite struct TextExpressionTests {
    private func matches(_ pattern: String, _ text: String) throws -> [String] {
        let bytes = Array(text.utf8)
        let expression = try #require(TextExpression(pattern), "\(pattern)")
        return expression.matches(in: bytes, 0..<bytes.count).map { String(decoding: bytes[$0], as: UTF8.self) }
    }

    @Test func repetitionsTakeWhatOnigurumaTakes() throws {
        #expect(try matches("a{2,3}", "aaaaa a") == ["aaa", "aa"])
        #expect(try matches("a+?b", "aab") == ["aab"])
        #expect(try matches("a++ab|b", "aab") == ["b"])
        #expect(try matches("(?>a+)b", "aab") == ["aab"])
        #expect(try matches(#"\p{N}{1,2}+x"#, "1234x") == ["1234x"])
        #expect(try matches("(?:ab|a)(?:c|bcd)", "abcd") == ["abc"])
        #expect(try matches(#"\s+(?!\S)|\s+"#, "a   b ") == ["  ", " ", " "])
    }

    @Test func classesAndCategoriesMatchCharacters() throws {
        #expect(try matches(#"[^\s\p{L}]+"#, "a!? b1") == ["!?", "1"])
        #expect(try matches(#"\P{L}"#, "a1") == ["1"])
        #expect(try matches(#"[a-c[x-z]\-]+"#, "abxq-z") == ["abx", "-z"])
        #expect(try matches(#"[\x41\u00e9\x{1F600}]"#, "A\u{E9}\u{1F600}B") == ["A", "\u{E9}", "\u{1F600}"])
        #expect(try matches("(?i:'s|k)", "'S'\u{17F} K\u{212A}") == ["'S", "'\u{17F}", "K", "\u{212A}"])
        // Marks of Unicode 17 have no category in the reference.
        #expect(try matches(#"\p{M}"#, "\u{301}\u{1ACF}") == ["\u{301}"])
    }

    @Test(arguments: [
        "", "a*", "(a", "a)", "[a", "a{2", #"\p{Foo}"#, #"\q"#, "(?<=a)b", "(?<!a)b", "(?P<n>a)", #"\1a"#, "a|",
        "a{3,2}", "a{99999}", "(?:(?:ab){1000}){1000}", "[z-a]", "[a&&b]", "[[:alpha:]]",
    ])
    func whatIsNotUnderstoodIsNoExpression(pattern: String) {
        #expect(TextExpression(pattern) == nil)
    }

    @Test func deepNestingIsRefusedAndNotFollowed() {
        #expect(TextExpression(String(repeating: "(", count: 100_000) + "a") == nil)
        #expect(TextExpression(String(repeating: "[", count: 100_000)) == nil)
    }
}
