import TestSupport
import Testing

@testable import Data
@testable import Tokenization

/// Conversations as examples and choice items, by the ChatML template.
struct ChatExampleTests {
    @Test func chatRecordTakesTheModelsTemplateAndScoresItsAnswers() throws {
        let tokenizer = try chatTokenizer()
        let data = try loadLines(
            [
                #"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, "#
                    + #"{"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Farewell"}]}"#,
                #"{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}, "#
                    + #"{"from": "human", "value": "Bye"}, {"from": "gpt", "value": "Farewell"}]}"#,
            ], tokenizer)
        #expect(data.examples[0] == data.examples[1])
        let whole =
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
            + "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nFarewell<|im_end|>\n"
        #expect(data.examples[0].tokens == tokenizer.encode(whole))
        #expect(scoredText(data.examples[0], tokenizer) == "Hello<|im_end|>Farewell<|im_end|>")
    }

    @Test func chatPromptIsWhatTrainingSawBeforeTheAnswer() throws {
        let tokenizer = try chatTokenizer()
        let data = try loadLines(
            [#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}"#],
            tokenizer)
        let template = try #require(tokenizer.chatTemplate)
        let segments = try template.render([ChatMessage(role: "user", content: "Hi")], addingGenerationPrompt: true)
        let prompt = SequenceEncoder(tokenizer: tokenizer).encode(segments)
        let first = try #require(data.examples[0].scored.firstIndex(of: true))
        #expect(Array(data.examples[0].tokens[..<first]) == prompt.tokens)
        #expect(!prompt.scored.contains(true))
    }

    @Test func choicesOfAChatRecordEndAsItsAnswersDo() throws {
        let tokenizer = try chatTokenizer()
        let data = try loadLines(
            [
                #"{"messages": [{"role": "user", "content": "Is it? Answer format: yes/no"}, "#
                    + #"{"role": "assistant", "content": "I say no."}], "answer": "no"}"#
            ], tokenizer, LoadingOptions(collectsChoices: true))
        let item = try #require(data.choiceItems.first)
        #expect(
            item.choices.map { tokenizer.decode($0, skippingSpecialTokens: false) }
                == ["I say yes.<|im_end|>", "I say no.<|im_end|>"])
        #expect(item.correct == 1)
        #expect(data.examples[0].tokens.starts(with: item.prompt + item.choices[1]))
    }

    @Test func conversationLosesItsLeftAndItsLastAnswerStays() throws {
        let tokenizer = try chatTokenizer()
        let record =
            #"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, "#
            + #"{"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Farewell"}]}"#
        let whole = try loadLines([record], tokenizer).examples[0]
        let last = try #require(whole.scored.lastIndex(of: true))
        let start = try #require(whole.scored[..<last].lastIndex(of: false)) + 1
        let tail = whole.tokens.count - start
        for maxLength in tail..<whole.tokens.count {
            let data = try loadLines([record], tokenizer, LoadingOptions(maxLength: maxLength))
            #expect(data.examples[0].tokens == Array(whole.tokens.suffix(maxLength)))
            let scored = Array(whole.scored.suffix(maxLength))
            #expect(data.examples[0].scored == [false] + scored.dropFirst())
            #expect(data.truncatedCount == 1)
        }
        let error = #expect(throws: DataError.self) {
            try loadLines([record], tokenizer, LoadingOptions(maxLength: tail - 1))
        }
        #expect(error?.description.contains("the answer needs \(tail) tokens and is never cut") == true)
    }

    @Test func conversationWithoutAnAnswerIsRefused() throws {
        let record = #"{"messages": [{"role": "user", "content": "Hi"}]}"#
        let tokenizer = try chatTokenizer()
        let error = #expect(throws: DataError.self) { try loadLines([record], tokenizer) }
        #expect(error?.description.contains("line 1: the record leaves no token to score") == true)
        #expect(try loadLines([record], tokenizer, LoadingOptions(promptMasking: false)).examples.count == 1)
    }
}
