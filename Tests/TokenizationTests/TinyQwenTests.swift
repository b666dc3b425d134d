import CheckpointIO
import TestSupport
import Testing
import Tokenization

/// Directories in the form of Qwen2.5 and Qwen3 against transformers (`Tests/Scripts/make_tiny_qwen.py`).
@Suite struct TinyQwenTests {
    private static func reference(_ model: String) throws -> JSONValue {
        try JSONValue.parse(readSmallFile(fixture(model + "/reference.json"), limit: 1 << 20))
    }

    @Test(arguments: ["tiny-qwen2", "tiny-qwen3"])
    func promptsGetTransformersIDsAndItsTextsBack(model: String) throws {
        let tokenizer = try Tokenizer.load(modelPath: fixture(model))
        let prompts = try #require(Self.reference(model)["prompts"]?.arrayValue)
        #expect(prompts.count == 2)
        for prompt in prompts {
            let text = try #require(prompt["text"]?.stringValue)
            #expect(tokenizer.encode(text, addingSpecialTokens: true) == prompt["ids"]?.ids)
            let continued = tokenizer.decode(try #require(prompt["greedy"]?.ids))
            #expect(try Array(continued.utf8) == Array(#require(prompt["greedyText"]?.stringValue).utf8))
        }
        #expect(tokenizer.bosTokenID == nil)
        #expect(tokenizer.eosTokenID == tokenizer.tokenID("<|im_end|>"))
    }

    @Test(arguments: ["tiny-qwen2", "tiny-qwen3"])
    func conversationsRenderAsTransformersRendersThem(model: String) throws {
        let tokenizer = try Tokenizer.load(modelPath: fixture(model))
        let settings = try JSONValue.parse(readSmallFile(fixture(model + "/tokenizer_config.json"), limit: 1 << 20))
        let jinja = try #require(settings["chat_template"]?.stringValue)
        #expect(tokenizer.chatTemplate != nil)
        for record in try #require(Self.reference(model)["conversations"]?.arrayValue) {
            let messages = (record["messages"]?.arrayValue ?? []).map {
                ChatMessage(role: $0["role"]?.stringValue ?? "", content: $0["content"]?.stringValue ?? "")
            }
            var template = tokenizer.chatTemplate
            if record["options"]?["enable_thinking"] == .bool(false) {
                template = try ChatTemplate(
                    jinja: "{%- set enable_thinking = false %}" + jinja, bosToken: "", eosToken: "<|im_end|>")
            }
            let prompts = record["options"]?["add_generation_prompt"] == .bool(true)
            let segments = try #require(template).render(messages, addingGenerationPrompt: prompts)
            let text = try #require(record["text"]?.stringValue)
            #expect(Array(segments.map(\.text).joined().utf8) == Array(text.utf8))
            #expect(tokenizer.encode(segments).tokens == record["ids"]?.ids)
        }
    }

    @Test func answersAreScoredWithTheirEndAndWithoutTheThoughtsOfEarlierTurns() throws {
        let tokenizer = try Tokenizer.load(modelPath: fixture("tiny-qwen3"))
        let messages = [
            ChatMessage(role: "user", content: "Is it late?"),
            ChatMessage(role: "assistant", content: "<think>\nThe moon is up.\n</think>\n\nIt is."),
            ChatMessage(role: "user", content: "How late?"),
            ChatMessage(role: "assistant", content: "<think>\nIt left.\n</think>\n\nAfter nine."),
        ]
        let scored = try #require(tokenizer.chatTemplate).render(messages).filter(\.isScored).map(\.text)
        // The mark between thoughts and answer is the template's, and the model's to say.
        #expect(scored == ["It is.<|im_end|>", "<think>\nIt left.\n</think>\n\nAfter nine.<|im_end|>"])
    }
}
