import Foundation
import TestSupport
import Testing

@testable import CheckpointIO
@testable import Data
@testable import Tokenization

/// What stands beside the words of a conversation: it counts, or is refused by its name.
struct ChatFieldTests {
    /// ChatML that writes tools, calls and thoughts, tools' answers too.
    static let rich =
        "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
        + "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        + "{% if m.reasoning_content %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}"
        + "{% if m.content %}{{ m.content }}{% endif %}"
        + "{% if m.tool_calls %}{% for c in m.tool_calls %}<call>{{ c.function.name }}({{ c.function.arguments }})</call>"
        + "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

    private func text(_ record: String, _ tokenizer: Tokenizer) throws -> String {
        tokenizer.decode(try loadLines([record], tokenizer).examples[0].tokens, skippingSpecialTokens: false)
    }

    private func scored(_ record: String, _ tokenizer: Tokenizer) throws -> String {
        scoredText(try loadLines([record], tokenizer).examples[0], tokenizer)
    }

    /// The sentence that ends the loading of a record, without its place.
    private func refusal(_ record: String, _ tokenizer: Tokenizer) throws -> String {
        do {
            _ = try loadLines([record], tokenizer)
            return "none"
        } catch let error as DataError {
            return String(try #require(error.description.split(separator: "line 1: ").last))
        }
    }

    private let turns = #"[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]"#
    private let shared = #"[{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]"#

    @Test func systemBesideAConversationIsItsFirstTurn() throws {
        let tokenizer = try chatTokenizer()
        let expected =
            "<|im_start|>system\nBe terse.<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
            + "<|im_start|>assistant\nb<|im_end|>\n"
        for record in [
            #"{"system": "Be terse.", "messages": \#(turns)}"#,
            #"{"system": "Be terse.", "conversations": \#(shared)}"#,
            #"{"system": "Be terse.", "prompt": "a", "completion": "b"}"#,
            #"{"system": "Be terse.", "messages": [{"role": "system", "content": "Be terse."}, "#
                + turns.dropFirst() + "}",
        ] {
            #expect(try text(record, tokenizer) == expected)
            #expect(try scored(record, tokenizer) == "b<|im_end|>")
        }
        #expect(
            try refusal(
                #"{"system": "Be kind.", "messages": [{"role": "system", "content": "Be terse."}, "# + turns.dropFirst()
                    + "}", tokenizer)
                == "the field 'system' and 'messages[0]' both are system messages; keep one of them")
        #expect(try text(#"{"system": "", "messages": \#(turns)}"#, tokenizer).hasPrefix("<|im_start|>user"))
    }

    @Test func fieldsThatHaveNoPlaceInTheRecordsFormAreRefused() throws {
        let tokenizer = try chatTokenizer()
        for (record, field) in [
            (#"{"text": "a b", "system": "S"}"#, "system"),
            (#"{"prompt": "a", "completion": "b", "tools": [{"name": "f"}]}"#, "tools"),
            (#"{"instruction": "a", "output": "b", "tools": "[{}]"}"#, "tools"),
            (#"{"text": "a b", "functions": [{"name": "f"}]}"#, "functions"),
            (#"{"prompt": "a", "completion": "b", "history": [["c", "d"]]}"#, "history"),
            (#"{"messages": \#(turns), "functions": [{"name": "f"}]}"#, "functions"),
            (#"{"messages": \#(turns), "function_call": "auto"}"#, "function_call"),
            (
                #"{"messages": [{"role": "assistant", "content": "b", "function_call": {"name": "f"}}]}"#,
                "messages[0].function_call"
            ),
            (
                #"{"messages": [{"role": "user", "content": "a", "tool_calls": [{"id": "1"}]}]}"#,
                "messages[0].tool_calls"
            ),
        ] {
            #expect(try refusal(record, tokenizer).hasPrefix("the field '\(field)' "), "\(record)")
        }
        for (record, field) in [
            (#"{"messages": \#(turns), "videos": ["a"]}"#, "videos"),
            (#"{"messages": [{"role": "user", "content": "a", "images": ["x"]}]}"#, "messages[0].images"),
            (
                #"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}"#,
                "messages[0].content[0]"
            ),
        ] {
            #expect(try refusal(record, tokenizer) == "the record has '\(field)', and this model reads text alone")
        }
    }

    @Test func turnsThatAreNotToBeLearntAreNotScored() throws {
        let tokenizer = try chatTokenizer()
        func record(_ first: String, _ second: String) -> String {
            #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"\#(first)}, "#
                + #"{"role": "user", "content": "c"}, {"role": "assistant", "content": "dd"\#(second)}]}"#
        }
        let whole = try text(record("", ""), tokenizer)
        for first in [#", "weight": 0"#, #", "weight": 0.0"#, #", "train": false"#, #", "loss": false"#] {
            #expect(try scored(record(first, #", "weight": 1"#), tokenizer) == "dd<|im_end|>")
            #expect(try text(record(first, ""), tokenizer) == whole)
            #expect(try scored(record("", first), tokenizer) == "b<|im_end|>")
            #expect(try refusal(record(first, first), tokenizer).hasPrefix("the record leaves no token to score"))
        }
        #expect(
            try refusal(record(#", "weight": 0.5"#, ""), tokenizer)
                == "the field 'messages[1].weight' is 0.5; 0 or 1 is needed")
        #expect(
            try refusal(record(#", "weight": 1, "train": false"#, ""), tokenizer)
                == "the field 'messages[1].train' contradicts another field of the turn")
        #expect(
            try refusal(
                #"{"messages": [{"role": "user", "content": "a", "train": true}, {"role": "assistant", "content": "b"}]}"#,
                tokenizer)
                == "the field 'messages[0].train' asks for a turn of the user's to be scored; only the assistant's are")
    }

    @Test func blocksOfTurnsThatAreNotToBeLearntAreNotScored() throws {
        let tokenizer = try chatTokenizer(
            template: "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
                + "{% generation %}{{ m.content }}<|im_end|>\n{% endgeneration %}"
                + "{% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}")
        let record =
            #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, "#
            + #"{"role": "user", "content": "c"}, {"role": "assistant", "content": "dd", "train": false}]}"#
        #expect(try scored(record, tokenizer) == "b<|im_end|>\n")
        let other = record.replacingOccurrences(of: #""b""#, with: #""b", "weight": 0"#)
            .replacingOccurrences(of: ", \"train\": false", with: "")
        #expect(try scored(other, tokenizer) == "dd<|im_end|>\n")
    }

    @Test func toolsCallsAndThoughtsReachTheTemplate() throws {
        let tokenizer = try chatTokenizer(template: Self.rich)
        let record =
            #"{"tools": [{"name": "f"}], "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "#
            + #""content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}, "#
            + #"{"role": "tool", "content": "r"}, {"role": "assistant", "content": "dd", "THOUGHT": "since"}]}"#
        for field in ["reasoning_content", "thinking", "reasoning"] {
            let record = record.replacingOccurrences(of: "THOUGHT", with: field)
            #expect(
                try text(record, tokenizer)
                    == "<|im_start|>system\n[{\"name\": \"f\"}]<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
                    + "<|im_start|>assistant\n<call>f({})</call><|im_end|>\n<|im_start|>tool\nr<|im_end|>\n"
                    + "<|im_start|>assistant\n<think>since</think>dd<|im_end|>\n")
            #expect(try scored(record, tokenizer) == "<call>f({})</call><|im_end|><think>since</think>dd<|im_end|>")
        }
        let asText = record.replacingOccurrences(of: #"[{"name": "f"}]"#, with: #""[{\"name\": \"f\"}]""#)
            .replacingOccurrences(of: "THOUGHT", with: "thinking")
        #expect(try text(asText, tokenizer).hasPrefix("<|im_start|>system\n[{\"name\": \"f\"}]<|im_end|>"))
    }

    @Test func whatTheTemplatePassesOverIsRefusedByName() throws {
        let tokenizer = try chatTokenizer()
        let calls = #"[{"type": "function", "function": {"name": "f", "arguments": "{}"}}]"#
        let lost = "is not written by the model's chat template"
        #expect(try refusal(#"{"tools": \#(calls), "messages": \#(turns)}"#, tokenizer) == "the field 'tools' \(lost)")
        #expect(
            try refusal(
                #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "#
                    + #""tool_calls": \#(calls)}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "d"}]}"#,
                tokenizer) == "the field 'messages[1].tool_calls' \(lost)")
        #expect(
            try refusal(
                #"{"messages": [{"role": "user", "content": "a"}, "#
                    + #"{"role": "assistant", "content": "b", "reasoning": "since"}]}"#, tokenizer)
                == "the field 'messages[1].reasoning' \(lost); write it into the message's text")
        let deaf = try chatTokenizer(
            template: "{% for m in messages %}{% if m.role == 'user' %}U: {{ m.content }}\n"
                + "{% elif m.role == 'assistant' %}A: {{ m.content }}<|im_end|>\n{% endif %}{% endfor %}")
        for role in ["system", "tool", "developer"] {
            #expect(
                try refusal(
                    #"{"messages": [{"role": "\#(role)", "content": "S"}, "# + turns.dropFirst() + "}", deaf)
                    == "the field 'messages[0]' \(lost)")
        }
    }

    @Test func partsOfATurnAreItsText() throws {
        let record =
            #"{"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "c"}]}, "#
            + #"{"role": "assistant", "content": [{"type": "text", "text": "b"}]}]}"#
        let knowing =
            "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.content is string %}{{ m.content }}"
            + "{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        for tokenizer in [try chatTokenizer(), try chatTokenizer(template: knowing)] {
            #expect(
                try text(record, tokenizer)
                    == "<|im_start|>user\nac<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n")
            #expect(try scored(record, tokenizer) == "b<|im_end|>")
        }
        #expect(
            try refusal(
                #"{"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "a"}]}]}"#,
                chatTokenizer())
                == "the field 'messages[0].content[0]' is a part of the type 'thinking'; parts of text are known")
    }

    @Test func ofAPromptOfMessagesTheCompletionAloneIsScored() throws {
        let tokenizer = try chatTokenizer()
        let record =
            #"{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, "#
            + #"{"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "dd"}]}"#
        #expect(
            try text(record, tokenizer)
                == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
                + "<|im_start|>assistant\ndd<|im_end|>\n")
        #expect(try scored(record, tokenizer) == "dd<|im_end|>")
        #expect(
            try refusal(#"{"prompt": [{"role": "user", "content": "a"}], "completion": "b"}"#, tokenizer)
                == "the field 'completion' is a string; a list of messages is needed")
    }

    @Test func variablesOfTheTemplateStandBesideTheConversation() throws {
        let tokenizer = try chatTokenizer(
            template: "{{ mood }}{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}")
        let record = #"{"chat_template_kwargs": {"mood": "glad"}, "messages": \#(turns)}"#
        #expect(try text(record, tokenizer) == "glad<|im_start|>a<|im_end|><|im_start|>b<|im_end|>")
    }
}
