import Testing

@testable import Adapters

@Suite struct PathExpressionTests {
    @Test(arguments: [
        #".*\.layers\.\d+\.(self_attn|mlp)\.(q|k|v|up|down)_proj"#, #"^(?!.*vision).*language.*\.(q_proj|v_proj)$"#,
        #"model\.layers\.(1[0-9]|[0-9])\..*_proj"#, #"(?:.*?\.)?h\.[0-9]{1,2}\.attn"#, "q_proj|v_proj", "[)+*]+",
        #"a\)+"#,
        "(?<part>q|k)_proj", "(up|down)?_proj", #"(?:.*?(?:attn|mlp).*?(?:q|k|v).*?)_proj"#, "(abc)+",
    ])
    func ordinaryExpressionIsTaken(_ pattern: String) throws {
        try PathExpression.check(pattern)
    }

    /// Expressions that engines which try one way after another take for ever with, and a text for each.
    @Test(arguments: [
        "(a+)+b", "((a*)*)*b", "(?:a|a)*b", "(a|aa)+b", "(a?)*b", "([a-z]+[.]?)+X", "((x)|y|a)+b", "(a{2,9}){3,}b",
        ".*.*.*.*.*.*.*x", "a?a?a?a?a?a?a?a?a?a?a?aaaaaaaaaaax", "(?=(a+)+)b", "(a+)+?b", "(a+){2,}b",
        String(repeating: "(.|)", count: 40) + "x", String(repeating: ".*", count: 6) + "x",
        String(repeating: "a?", count: 200) + "b", "(?!(?:(?:a|aa)+)+b)(?:(?:a|aa)+)+c",
        "(((((((a{0,3}){0,3}){0,3}){0,3}){0,3}){0,3}){0,3}){0,3}b",
    ])
    func expressionThatOthersTakeForEverWithIsToldAtOnce(_ pattern: String) throws {
        let expression = try PathExpression(pattern)
        let path = String(repeating: "a", count: 300)
        let start = ContinuousClock().now
        #expect(try !expression.matchesWhole(path))
        let time = ContinuousClock().now - start
        #expect(time < .seconds(5), "\(time)")
    }

    @Test(arguments: [
        #"(a)\1"#, "(?P<x>a)(?P=x)", "(?P<x>a)?(?(x)b|c)", "(?>a+)b", "a++b", "(?<=a+)b", "a{2000}",
        "((a{99}){99}){99}", "(", ")", "a)", "[", "[b-a]", "*a", "a**", "(?", "(?<", "(?P<n>a)(?P<n>b)", "a{3,2}",
        #"\"#, #"\q"#, #"\x4"#, "(?i", "(?#", "a|(?i)b)", String(repeating: "(", count: 100_000),
        "a{99999999999999999999}",
    ])
    func whatIsNotTakenIsRefusedWithTheReason(_ pattern: String) throws {
        let error = try #require(throws: AdapterError.self) { try PathExpression.check(pattern) }
        #expect(error.description.contains("is not a valid regular expression: "), "\(error.description.prefix(300))")
    }

    /// What `re.fullmatch` of Python 3.11 says.
    @Test(arguments: [
        ("", "", true), ("", "a", false), ("a.c", "a\nc", false), ("(?s)a.c", "a\nc", true), ("[]a]+", "]a", true),
        ("[^]a]", "b", true), ("[a-]+", "-a", true), (#"[\d_]+"#, "1_٣", true), (#"\w+"#, "q_proj1é", true),
        (#"\w+"#, "a.b", false), (#"\bq\b.*"#, "q.k", true), (#"\bq\b.*"#, "qk", false), ("a$", "a", true),
        ("^a", "a", true), (#"\Aa\Z"#, "a", true), ("x{2}", "xx", true), ("x{,2}", "xx", true), ("x{,2}", "xxx", false),
        ("x{2,}", "xxxx", true), ("x{y}", "x{y}", true), ("{", "{", true), ("(?i)Q_Proj", "q_pROJ", true),
        ("(?i:q)_proj", "Q_proj", true), ("(?i:q)_proj", "Q_PROJ", false), ("a(?#comment)b", "ab", true),
        ("(?=.*down).*_proj", "a.down_proj", true), ("(?!.*down).*_proj", "a.down_proj", false),
        (#".*(?<!lm_head)\.weight"#, "lm_head.weight", false), (#".*(?<=_proj)\.weight"#, "q_proj.weight", true),
        (#"\x71\u005fproj"#, "q_proj", true), ("café", "cafe\u{301}", false), ("cafe\u{301}", "cafe\u{301}", true),
        ("a|b|", "", true), ("(?P<part>q|k)_proj", "k_proj", true), ("a??a", "a", true),
        ("(a|ab)(c|bcd)", "abcd", true),
        (#"model\.layers\.(?:[0-9]|1[0-5])\.mlp\.(?:up|down)_proj"#, "model.layers.15.mlp.up_proj", true),
        (#"model\.layers\.(?:[0-9]|1[0-5])\.mlp\.(?:up|down)_proj"#, "model.layers.16.mlp.up_proj", false),
    ])
    func matchIsPythons(_ pattern: String, _ path: String, _ expected: Bool) throws {
        #expect(try PathExpression(pattern).matchesWhole(path) == expected)
    }

    @Test func pathTooLongForAnExpressionIsSaid() throws {
        let expression = try PathExpression("(?:\(String(repeating: "a?", count: 1000)))+b")
        let error = try #require(throws: AdapterError.self) {
            _ = try expression.matchesWhole(String(repeating: "a", count: 1 << 20))
        }
        #expect(error.description.contains("too many for a path of 1048576 characters"), "\(error)")
    }

    @Test func twoHundredPatternsAreHeldAgainstManyModulesInTime() throws {
        let entries = (0..<200).map { PatternEntry(".*\\.layers\\.\($0)\\.(q|k)_proj", $0) }
        try entries.check()
        let table = PatternTable(entries)
        let time = ContinuousClock().measure {
            for layer in 0..<200 {
                let path = "model.layers.\(layer).q_proj"
                #expect(table.first(matching: path) == layer)
            }
        }
        #expect(time < .seconds(20), "\(time)")
        let hostile = (0..<200).map { PatternEntry(String(repeating: "(.|)", count: 40 + $0), 1) }
        #expect(throws: AdapterError.self) { try hostile.check() }
    }

    @Test func dotsOfAPlainPatternMatchAnyCharacter() {
        let entries = PatternTable([PatternEntry("q.proj", 1), PatternEntry("k_proj", 2)])
        #expect(entries.first(matching: "a.q_proj") == 1)
        #expect(entries.first(matching: "é.qéproj") == 1)
        #expect(entries.first(matching: "ék_proj") == nil)
        #expect(entries.first(matching: "é.k_proj") == 2)
    }

    @Test func lastGroupIsThatOfTheFirstWay() throws {
        #expect(try PathExpression(#".*\.(q|v)_proj"#).matchesWhole("model.layers.0.self_attn.q_proj"))
        #expect(try !PathExpression(#".*\.(q|v)_proj"#).matchesWhole("model.layers.0.self_attn.k_proj"))
        #expect(
            try PathExpression("layers", before: #".*\.("#, after: #")\.(\d+)\..*"#).lastGroup(in: "m.layers.7.x")
                == "7")
    }
}
