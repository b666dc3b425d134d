import Adapters
import Testing

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

    @Test(arguments: [
        "(a+)+b", "((a*)*)*", "(?:a|a)*b", "(a|aa)+", "(a?)*b", "([a-z]+[.]?)+X", "(.*\\.)+x", "((x)|y)+",
        "(a{2,9}){3,}",
        ".*.*.*.*.*.*.*x", "a?a?a?a?a?a?a?a?a?a?a?aaaaaaaaaaa", "(?=(a+)+)b", "(a+)+?b", "(a+){2,}",
    ])
    func expressionThatCouldTakeForEverIsRefused(_ pattern: String) throws {
        let error = try #require(throws: AdapterError.self) { try PathExpression.check(pattern) }
        #expect(error.description.contains("can take for ever"), "\(error)")
    }

    @Test func whatIsTakenIsMatchedAsBefore() throws {
        #expect(try PathExpression(#".*\.(q|v)_proj"#).matchesWhole("model.layers.0.self_attn.q_proj"))
        #expect(try !PathExpression(#".*\.(q|v)_proj"#).matchesWhole("model.layers.0.self_attn.k_proj"))
        #expect(
            try PathExpression("layers", before: #".*\.("#, after: #")\.(\d+)\..*"#).lastGroup(in: "m.layers.7.x")
                == "7")
    }
}
