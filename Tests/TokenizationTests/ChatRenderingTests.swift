import CheckpointIO
import Testing
import Tokenization

/// What a template is given of a conversation, and what is known of the text that it makes.
@Suite struct ChatRenderingTests {
    private static func rendering(
        _ jinja: String, _ messages: [ChatMessage], _ settings: ChatSettings = ChatSettings()
    ) throws -> ChatRendering {
        try ChatTemplate(jinja: "{{ messages[1].content }}" + jinja, bosToken: "", eosToken: "")
            .rendering(of: messages, settings)
    }

    @Test func generationBlocksAreToldByTheirScalars() throws {
        let jinja =
            "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}"
            + "{% generation %}{{ m.content }}</s>{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
        let messages = [
            ChatMessage(role: "user", content: "e\u{301}?"), ChatMessage(role: "assistant", content: "née 👩‍👩‍👧"),
            ChatMessage(role: "assistant", content: ""),
        ]
        let rendering = try Self.rendering(jinja, messages)
        let scalars = Array(rendering.text.unicodeScalars)
        let generated = rendering.generations.map { range in
            scalars[range].reduce(into: "") { $0.unicodeScalars.append($1) }
        }
        #expect(generated == ["née 👩‍👩‍👧</s>", "</s>"])
        #expect(try Self.rendering("", messages).generations.isEmpty)
    }

    @Test func membersOfMessagesAndSettingsReachTheTemplate() throws {
        let messages = [
            ChatMessage(role: "user", content: "a"),
            ChatMessage(
                role: "assistant", content: "b",
                members: ["reasoning_content": .string("think"), "content": .array([.string("part")]), "x": .null]),
        ]
        let settings = ChatSettings(
            tools: .array([.object(["name": .string("f")])]), documents: .string("d"), variables: ["level": .integer(3)]
        )
        let jinja =
            "{% set m = messages[1] %}|{{ m.reasoning_content }}|{{ m.content[0] }}|{{ m.x is defined }}"
            + "|{{ tools[0].name }}|{{ documents }}|{{ level }}"
        let template = try ChatTemplate(
            jinja: "{{ messages[1].content if messages[1].content is string }}{% if tools %}\(jinja){% endif %}",
            bosToken: "", eosToken: "")
        let rendering = try template.rendering(of: messages, settings)
        #expect(rendering.text == "|think|part|False|f|d|3")
        #expect(rendering.pieces.filter { $0.message == 1 }.map(\.text) == ["think", "part"])
    }
}

extension ChatRenderingTests {
    @Test func allNamedSpecialTokensReachTheTemplate() throws {
        let template = try ChatTemplate(
            jinja: "{{ messages[1].content }}{{ bos_token }}{{ pad_token }}{{ boi_token }}{{ eos_token is defined }}",
            specialTokens: ["bos_token": "<s>", "pad_token": "<pad>", "boi_token": "<image>", "eos_token": ""])
        let messages = [ChatMessage(role: "user", content: "a"), ChatMessage(role: "assistant", content: "b")]
        #expect(try template.rendering(of: messages).text == "b<s><pad><image>False")
    }

    @Test func aClockIsGivenFromOutside() throws {
        let jinja = "{{ messages[1].content }}{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}"
        let messages = [ChatMessage(role: "user", content: "a"), ChatMessage(role: "assistant", content: "b")]
        let clock = ChatClock(year: 2024, month: 2, day: 29)
        let dated = try ChatTemplate(jinja: jinja, specialTokens: [:], clock: clock)
        #expect(try dated.rendering(of: messages).text == "b29 Feb 2024")
        #expect(try ChatTemplate(jinja: jinja, specialTokens: [:]).rendering(of: messages).text == "b")
    }

    @Test func theTemplateForToolsIsTakenWhereThereAreTools() throws {
        var texts = ChatTemplateTexts(standard: "{{ messages[1].content }}")
        texts.named = [.init(name: "tool_use", text: "{{ messages[1].content }}+{{ tools | length if tools }}")]
        let template = try #require(try ChatTemplate(texts, specialTokens: [:]))
        let messages = [ChatMessage(role: "user", content: "a"), ChatMessage(role: "assistant", content: "b")]
        #expect(try template.rendering(of: messages).text == "b")
        #expect(try template.rendering(of: messages, ChatSettings(tools: .array([.integer(1)]))).text == "b+1")
    }
}
