import Foundation
import TestSupport

@testable import CheckpointIO
@testable import Tokenization

/// The tokenizer of Fixtures/tiny-llama: 2,048 byte-level tokens, 0 ends a text, no chat template, adds nothing.
func tinyTokenizer() throws -> Tokenizer {
    try Tokenizer.load(modelPath: fixture("tiny-llama"))
}

/// The tokenizer of Fixtures/tiny-llama with its two files changed.
func tinyTokenizer(
    changing changeTokenizer: @escaping (inout JSONObject) throws -> Void = { _ in },
    configuration changeConfiguration: @escaping (inout JSONObject) throws -> Void = { _ in }
) throws -> Tokenizer {
    try withTemporaryFolder { folder in
        for (name, change) in [
            ("tokenizer.json", changeTokenizer), ("tokenizer_config.json", changeConfiguration),
        ] {
            let bytes = try readSmallFile(fixture("tiny-llama/" + name), limit: 1 << 24)
            var object = try JSONValue.parse(bytes).objectValue ?? JSONObject()
            try change(&object)
            let text = JSONValue.object(object).text()
            try text.write(toFile: folder + "/" + name, atomically: true, encoding: .utf8)
        }
        return try Tokenizer.load(modelPath: folder)
    }
}

/// The ChatML template.
let chatML =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    + "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

/// The tiny tokenizer with a chat template, ChatML's unless given, and ChatML's two marks as the special tokens 2048 and
/// 2049.
func chatTokenizer(template: String = chatML, eosToken: String = "<|im_end|>") throws -> Tokenizer {
    try tinyTokenizer(
        changing: { object in
            var added = object["added_tokens"]?.arrayValue ?? []
            for (id, content) in [(2048, "<|im_start|>"), (2049, "<|im_end|>")] {
                added.append(
                    .object([
                        "id": .integer(id), "content": .string(content), "single_word": .bool(false),
                        "lstrip": .bool(false), "rstrip": .bool(false), "normalized": .bool(false),
                        "special": .bool(true),
                    ]))
            }
            object["added_tokens"] = .array(added)
        },
        configuration: { object in
            object["eos_token"] = .string(eosToken)
            object["chat_template"] = .string(template)
        })
}

/// The tiny tokenizer with a post-processor that puts token 0 before every text, as Llama's do.
func beginningTokenizer() throws -> Tokenizer {
    try tinyTokenizer(changing: { object in
        object["post_processor"] = try JSONValue.parse(
            #"""
            {"type": "TemplateProcessing",
             "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
             "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
             "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}}
            """#)
    })
}
