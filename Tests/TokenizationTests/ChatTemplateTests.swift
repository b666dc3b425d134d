import CheckpointIO
import TestSupport
import Testing
import Tokenization

/// Conversations against what jinja2 makes of the same templates (`Tests/Scripts/make_chat_fixtures.py`).
@Suite struct ChatTemplateTests {
    static let families = [
        "chatml", "smollm2", "qwen2.5", "llama-2", "llama-3", "llama-3.2", "mistral", "mistral-system", "zephyr",
        "gemma", "phi-3", "qwen3", "qwen3-countdown", "qwen3.5", "tojson", "r1-distill", "constructs",
    ]

    private static func family(_ name: String) throws -> JSONValue {
        let families = try References.object("chat.json")["families"]?.arrayValue ?? []
        return try #require(families.first { $0["name"]?.stringValue == name })
    }

    private static func template(_ name: String) throws -> ChatTemplate {
        let family = try family(name)
        return try ChatTemplate(
            jinja: #require(family["template"]?.stringValue), bosToken: #require(family["bos"]?.stringValue),
            eosToken: #require(family["eos"]?.stringValue))
    }

    @Test func everyFamilyOfTheFixtureIsTested() throws {
        let families = try References.object("chat.json")["families"]?.arrayValue ?? []
        #expect(families.compactMap { $0["name"]?.stringValue } == Self.families)
    }

    @Test(arguments: families)
    func conversationsReadAsJinjaWritesThem(name: String) throws {
        let template = try Self.template(name)
        for record in try #require(Self.family(name)["cases"]?.arrayValue) {
            let messages = (record["messages"]?.arrayValue ?? []).map {
                ChatMessage(role: $0["role"]?.stringValue ?? "", content: $0["content"]?.stringValue ?? "")
            }
            let prompts = record["addingGenerationPrompt"] == .bool(true)
            let title = "\(name), \(record["name"]?.stringValue ?? ""), prompt \(prompts)"
            if let reason = record["refused"]?.stringValue {
                #expect(throws: TokenizationError.conversationRefused(reason: reason), "\(title)") {
                    try template.render(messages, addingGenerationPrompt: prompts)
                }
                continue
            }
            let segments = try template.render(messages, addingGenerationPrompt: prompts)
            let text = try #require(record["text"]?.stringValue)
            #expect(Array(segments.map(\.text).joined().utf8) == Array(text.utf8), "\(title)")
            guard let scored = record["scored"]?.arrayValue else { continue }
            #expect(segments.filter(\.isScored).map(\.text) == scored.compactMap(\.stringValue), "\(title)")
        }
    }

    @Test func smolLM2sTemplateComesWithItsTokenizer() throws {
        let tokenizer = try References.tokenizer("smollm2")
        let template = try #require(tokenizer.chatTemplate)
        let segments = try template.render([ChatMessage(role: "user", content: "Hi")], addingGenerationPrompt: true)
        #expect(
            segments == [
                ChatSegment(
                    text: "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
                        + "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
                    isScored: false)
            ])
    }

    @Test func segmentsEncodeAsTheWholeThatTheyMakeUp() throws {
        let messages = [
            ChatMessage(role: "user", content: "Two and two?"), ChatMessage(role: "assistant", content: "\n It's 4."),
        ]
        for (family, name) in [
            ("smollm2", "smollm2"), ("mistral", "llama2-form"), ("llama-2", "mistral-form"), ("llama-3", "llama3-form"),
        ] {
            let tokenizer = try References.tokenizer(name)
            let segments = try Self.template(family).render(messages)
            let (tokens, scored) = tokenizer.encode(segments)
            #expect(tokens == tokenizer.encode(segments.map(\.text).joined()))
            #expect(tokens.count == scored.count)
            // The end token is scored, what comes after it is not, and what is scored reads as the answer.
            let last = try #require(scored.lastIndex(of: true))
            let end = try #require(segments.last(where: \.isScored)?.text)
            #expect(end.hasSuffix(tokenizer.decode([tokens[last]], skippingSpecialTokens: false)))
            let answer = zip(tokens, scored).filter(\.1).flatMap { tokenizer.bytes(ofToken: $0.0) }
            #expect(
                String(decoding: answer, as: UTF8.self).drop(while: \.isWhitespace) == end.drop(while: \.isWhitespace))
            #expect(!scored[0])
        }
    }

    @Test func anEmptyAnswerStillScoresItsEnd() throws {
        let messages = [ChatMessage(role: "user", content: "?"), ChatMessage(role: "assistant", content: "")]
        let segments = try Self.template("chatml").render(messages)
        #expect(segments.filter(\.isScored).map(\.text) == ["<|im_end|>"])
    }

    @Test(arguments: [
        ("{% include 'x' %}", "it has the statement 'include'"),
        ("{{ messages | gibberish }}", "it has the filter 'gibberish'"),
        ("{{ messages[0].content.encode() }}", "it has the method 'encode' of a text"),
        ("{{ messages[0].content is gibberish }}", "it has the test 'gibberish'"),
        ("{{ strftime_now('%Y') }}", "'strftime_now' is undefined"),
        ("{{ messages.a.b }}", "a list has no attribute 'a'"),
        ("{{ 1 / 0 }}", "1 is divided by 0"),
        ("{{ 9223372036854775807 + 1 }}", "'+' of 9223372036854775807 and 1 has more than 64 bits"),
        ("{{ -9223372036854775807 - 2 }}", "'-' of -9223372036854775807 and 2 has more than 64 bits"),
        ("{{ (-9223372036854775807 - 1) // -1 }}", "'//' of -9223372036854775808 and -1 has more than 64 bits"),
        ("{{ 3 ** 64 }}", "'**' of 3 and 64 has more than 64 bits"),
        ("{{ 99999999999999999999 }}", "the number 99999999999999999999 has more than 64 bits"),
        ("{{ messages | random }}", "the filter 'random' gives something else each time, which is refused"),
        ("{{ lipsum() }}", "'lipsum' gives something else each time, which is refused"),
        ("{{ 'a' * 9223372036854775807 }}", "it makes too long a text"),
        ("{{ [1] * 9223372036854775807 }}", "it takes too many steps"),
        ("{{ '%999999999d' % 1 }}", "it makes too long a text"),
        ("{{ '{:999999999}'.format(1) }}", "it makes too long a text"),
        ("{{ 'a'.center(999999999) }}", "it makes too long a text"),
        (
            "{{ range(1, 9223372036854775807, 9000000000000000000) | list }}",
            "it does not write what the assistant says"
        ),
        ("{% if true %}", "'endif' is missing"),
        ("{{ 'a }}", "a text in it does not end"),
        ("{{ a", "a tag in it does not end"),
        ("{# a", "a comment in it does not end"),
        ("{{ a b }}", "'b' was not expected in a tag"),
        ("{{ range(0, 9, 0) | join }}", "'range' is called with a step of 0"),
        ("{{ range(0, 9, 1, 1) | join }}", "'range' is called with other than one to three numbers"),
        ("{{ range(100001) | join }}", "'range' is called with too large a number"),
        ("{{ missing | tojson }}", "it has the filter 'tojson' of an undefined value ('missing' is undefined)"),
        (
            "{% set n = namespace(v=[]) %}{% for a in range(99) %}{% set n.v = [n.v] %}{% endfor %}{{ n.v | tojson }}",
            "a value in it is nested too deeply"
        ),
        (
            "{% set n = namespace(v='0123456789') %}{% for a in range(40) %}{% set n.v = [n.v, n.v] %}{% endfor %}"
                + "{{ n.v | tojson }}", "it makes too long a text"
        ),
        ("{{ ? }}", "'?' stands in a tag"),
        ("{{ messages[0].content }}", "it does not write what the assistant says"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "what it runs is nested too deeply"),
        (
            "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
            "what it runs is nested too deeply"
        ),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = b %}{% endfor %}{% endfor %}",
            "it takes too many steps"
        ),
        (
            "{% set n = namespace(t='0123456789') %}{% for a in range(99) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
            "it makes too long a text"
        ),
        (
            "{{ " + String(repeating: "(", count: 200) + "1" + String(repeating: ")", count: 200) + " }}",
            "it is nested too deeply"
        ),
        ("{{ 1" + String(repeating: " + 1", count: 5000) + " }}", "a tag in it is too long"),
        (String(repeating: "{% if true %}", count: 200), "it is nested too deeply"),
    ])
    func templatesBeyondTheInterpreterAreRefusedByName(template: String, problem: String) {
        #expect(throws: TokenizationError.unsupportedTemplate(problem: problem)) {
            try ChatTemplate(jinja: template, bosToken: "", eosToken: "")
        }
        #expect(ChatTemplate.detect(template) == nil)
    }
}
