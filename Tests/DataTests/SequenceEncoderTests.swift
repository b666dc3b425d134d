import Foundation
import TestSupport
import Testing

@testable import CheckpointIO
@testable import Data
@testable import Tokenization

/// Boundaries between texts, with a small tokenizer of Llama 2's kind: it puts "▁" before every text and `<s>` before
/// every sequence. Expected ids are those that Hugging Face's `tokenizers` gives the whole text with the same file.
struct SequenceEncoderTests {
    /// `<s>` 1, `</s>` 2, bytes from 3 on, then these from 259 on.
    private static let pieces = ["▁", "a", "b", "o", "x", "▁a", "▁b", "bo", "▁bo", "box", "▁box"]

    private func encoder() throws -> SequenceEncoder {
        var vocabulary = JSONObject()
        let bytes = (0..<256).map { String(format: "<0x%02X>", $0) }
        for (id, piece) in (["<unk>", "<s>", "</s>"] + bytes + Self.pieces).enumerated() {
            vocabulary[piece] = .integer(id)
        }
        let added = ["<unk>", "<s>", "</s>"].enumerated().map { id, content in
            """
            {"id": \(id), "content": "\(content)", "single_word": false, "lstrip": false, "rstrip": false,
             "normalized": false, "special": true}
            """
        }.joined(separator: ", ")
        let file = """
            {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [\(added)],
             "normalizer": {"type": "Sequence", "normalizers": [
               {"type": "Prepend", "prepend": "▁"},
               {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
             "pre_tokenizer": null,
             "post_processor": {"type": "TemplateProcessing",
               "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
               "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
               "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
             "decoder": {"type": "Sequence", "decoders": [
               {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
               {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
             "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
               "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
               "vocab": \(JSONValue.object(vocabulary).text()),
               "merges": [["▁", "a"], ["▁", "b"], ["b", "o"], ["▁", "bo"], ["bo", "x"], ["▁", "box"]]}}
            """
        let configuration = #"{"bos_token": "<s>", "eos_token": "</s>"}"#
        return try withTemporaryFolder { folder in
            try file.write(toFile: folder + "/tokenizer.json", atomically: true, encoding: .utf8)
            try configuration.write(toFile: folder + "/tokenizer_config.json", atomically: true, encoding: .utf8)
            return SequenceEncoder(tokenizer: try Tokenizer.load(modelPath: folder))
        }
    }

    @Test func sequenceStartsAsTheTokenizerStartsIt() throws {
        let encoder = try encoder()
        #expect(encoder.leadingTokens == [1])
        #expect(encoder.encodeStart("box") == [1, 265, 262, 263])
        #expect(encoder.encodeStart("<s>a") == [1, 264])
        #expect(encoder.encodeStart("") == [1])
    }

    @Test func continuationGetsNoSpaceThatTheTextLacks() throws {
        let encoder = try encoder()
        let start = encoder.encodeStart("a\n")
        #expect(start == [1, 264, 13])
        #expect(start + encoder.encode("box", after: start) == [1, 264, 13, 268])
        #expect(start + encoder.encode(" box", after: start) == [1, 264, 13, 265, 262, 263])
        #expect(start + encoder.encode("\nbox", after: start) == [1, 264, 13, 13, 268])
        #expect(encoder.encode("", after: start).isEmpty)
    }

    @Test func textBehindASpecialTokenIsTokenizedAfresh() throws {
        let encoder = try encoder()
        let before: [Int32] = [1, 264, 13, 2]
        #expect(before + encoder.encode("box", after: before) == [1, 264, 13, 2, 265, 262, 263])
    }

    @Test func recordHasTheIdsOfItsWholeText() throws {
        let tokenizer = try encoder().tokenizer
        let data = try loadLines([#"{"prompt": "a\n", "completion": "box"}"#], tokenizer)
        #expect(
            data.examples == [
                Example(tokens: [1, 264, 13, 268, 2], scored: [false, false, false, true, true])
            ])
    }
}
