import TestSupport
import Testing

@testable import Data
@testable import Tokenization

/// An end of text that a record has itself is not put behind it once more.
struct EndTokenTests {
    private func text(
        _ record: String, _ tokenizer: Tokenizer, _ options: LoadingOptions = LoadingOptions()
    ) throws -> String {
        tokenizer.decode(try loadLines([record], tokenizer, options).examples[0].tokens, skippingSpecialTokens: false)
    }

    @Test func textsAndCompletionsThatEndGetNoOtherEnd() throws {
        let tokenizer = try tinyTokenizer()
        for end in ["<|endoftext|>", #"<|endoftext|>\n"#, "<|endoftext|> "] {
            let shown = end.split(separator: #"\n"#, omittingEmptySubsequences: false).joined(separator: "\n")
            #expect(try text(#"{"text": "Hello there\#(end)"}"#, tokenizer) == "Hello there" + shown)
            #expect(try text(#"{"prompt": "Hello", "completion": " you\#(end)"}"#, tokenizer) == "Hello you" + shown)
            let alpaca = try text(#"{"instruction": "a", "output": "b\#(end)"}"#, tokenizer)
            #expect(alpaca.hasSuffix("### Response:\nb" + shown))
        }
        #expect(try text(#"{"text": "<|endoftext|>Hello"}"#, tokenizer) == "<|endoftext|>Hello<|endoftext|>")
        let empty = #"{"prompt": "a<|endoftext|>", "completion": ""}"#
        #expect(try text(empty, tokenizer) == "a<|endoftext|><|endoftext|>")
    }

    @Test func otherEndsOfTheModelCountToo() throws {
        let tokenizer = try chatTokenizer(eosToken: "<|endoftext|>")
        var options = LoadingOptions()
        let record = #"{"text": "Hello<|im_end|>\n"}"#
        #expect(try text(record, tokenizer, options) == "Hello<|im_end|>\n<|endoftext|>")
        options.endTokens = [2049]
        #expect(try text(record, tokenizer, options) == "Hello<|im_end|>\n")
    }

    @Test func answerThatHasTheTemplatesEndGetsNoOther() throws {
        let tokenizer = try chatTokenizer()
        for end in ["", "<|im_end|>", #"<|im_end|>\n"#] {
            let record =
                #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b\#(end)"}]}"#
            #expect(
                try text(record, tokenizer) == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n")
        }
    }

    @Test func choiceThatEndsGetsNoOtherEnd() throws {
        let tokenizer = try tinyTokenizer()
        let data = try loadLines(
            [#"{"prompt": "It is", "completion": " yes<|endoftext|>", "answer": "yes", "choices": ["yes", "no"]}"#],
            tokenizer, LoadingOptions(collectsChoices: true))
        #expect(
            data.choiceItems[0].choices.map { tokenizer.decode($0, skippingSpecialTokens: false) }
                == [" yes<|endoftext|>", " no<|endoftext|>"])
    }
}
