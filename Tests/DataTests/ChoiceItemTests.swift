import TestSupport
import Testing

@testable import Data
@testable import Tokenization

struct ChoiceItemTests {
    private let options = LoadingOptions(collectsChoices: true)

    /// Composed and decomposed, é is two texts, as for every other program.
    @Test func choicesAreToldApartByTheirBytes() throws {
        let tokenizer = try tinyTokenizer()
        let (composed, decomposed) = ("caf\u{E9}", "cafe\u{301}")
        for (answer, place) in [(composed, 0), (decomposed, 1)] {
            let data = try loadLines(
                [
                    #"{"prompt": "?", "completion": "\#(answer)", "answer": "\#(answer)", "#
                        + #""choices": ["\#(composed)", "\#(decomposed)"]}"#,
                    #"{"prompt": "Answer format: \#(composed)/\#(decomposed)", "completion": "\#(answer)", "#
                        + #""answer": "\#(answer)"}"#,
                ], tokenizer, options)
            #expect(data.choiceItems.map(\.correct) == [place, place])
        }
        let other = #"{"prompt": "?", "completion": "x", "answer": "\#(composed)", "choices": ["x", "\#(decomposed)"]}"#
        #expect(throws: DataError.self) { try loadLines([other], tokenizer, options) }
    }

    private func texts(_ item: ChoiceItem, _ tokenizer: Tokenizer) -> [String] {
        item.choices.map { tokenizer.decode($0, skippingSpecialTokens: false) }
    }

    @Test func choicesStandInPlaceOfTheAnswer() throws {
        let tokenizer = try tinyTokenizer()
        let data = try loadLines(
            [
                "",
                #"{"instruction": "Which?\n\nAnswer format: answer1/answer2/answer3", "input": "", "#
                    + #""output": "the correct answer is answer3", "answer": "answer3"}"#,
            ], tokenizer, options)
        let item = try #require(data.choiceItems.first)
        #expect(
            texts(item, tokenizer) == [
                "the correct answer is answer1<|endoftext|>", "the correct answer is answer2<|endoftext|>",
                "the correct answer is answer3<|endoftext|>",
            ])
        #expect(item.names == ["answer1", "answer2", "answer3"])
        #expect(item.correct == 2)
        #expect(item.line == 2)
    }

    @Test func rightChoiceIsTheExampleItself() throws {
        for tokenizer in [try tinyTokenizer(), try beginningTokenizer()] {
            for path in ["sst2/dev.json", "arc-easy/train.json"] {
                let data = try Dataset.load(path: fixture(path), tokenizer: tokenizer, options: options)
                #expect(data.examples.count == data.choiceItems.count)
                for (example, item) in zip(data.examples, data.choiceItems) {
                    #expect(item.prompt + item.choices[item.correct] == example.tokens)
                    #expect(example.scored.firstIndex(of: true) == item.prompt.count)
                }
            }
        }
    }

    @Test func choiceIsTheCompletionWhereTheOutputDoesNotContainTheAnswer() throws {
        let tokenizer = try tinyTokenizer()
        let data = try loadLines(
            [#"{"prompt": "Is it?", "completion": " surely", "answer": "yes", "choices": ["yes", "no"]}"#],
            tokenizer, options)
        #expect(texts(data.choiceItems[0], tokenizer) == ["yes<|endoftext|>", "no<|endoftext|>"])
    }

    @Test func endTokenMayBeLeftOut() throws {
        let data = try loadLines(
            [#"{"prompt": "It is", "completion": " good", "answer": " good", "choices": [" good", " bad"]}"#],
            tinyTokenizer(), LoadingOptions(endOfText: false, collectsChoices: true))
        #expect(data.choiceItems[0].choices == [[939], [1462]])
    }

    @Test func recordsWithoutAnAnswerGiveNoItem() throws {
        let data = try loadLines(
            [#"{"text": "Hello there"}"#, #"{"prompt": "Is it?", "completion": " yes"}"#], tinyTokenizer(), options)
        #expect(data.examples.count == 2 && data.choiceItems.isEmpty)
    }

    @Test func itemsAreMadeOnlyWhereTheyAreWanted() throws {
        let record = #"{"prompt": "1+1=", "completion": "2", "answer": "2"}"#
        #expect(try loadLines([record], tinyTokenizer()).choiceItems.isEmpty)
        let error = #expect(throws: DataError.self) { try loadLines([record], tinyTokenizer(), options) }
        #expect(
            error?.description.hasSuffix(
                "records.json, line 1: the record has 'answer', but neither the field 'choices' nor 2 to 5 entries, "
                    + "split at '/', after 'Answer format:' in its prompt") == true)
    }

    @Test func itemWithoutAPromptIsRefused() throws {
        let record = #"{"prompt": "", "completion": "a b", "answer": "a", "choices": ["a", "c"]}"#
        let error = #expect(throws: DataError.self) { try loadLines([record], tinyTokenizer(), options) }
        #expect(error?.description.contains("line 1: the record leaves no token to score") == true)
        #expect(try loadLines([record], beginningTokenizer(), options).choiceItems[0].prompt == [0])
    }

    @Test func promptIsTruncatedSoThatTheLongestChoiceFits() throws {
        let tokenizer = try beginningTokenizer()
        let record =
            #"{"prompt": "a b c d e f g h", "completion": " good", "answer": " good", "#
            + #""choices": [" good", " Hello there"]}"#
        let whole = try loadLines([record], tokenizer, options)
        let longest = try #require(whole.choiceItems[0].choices.map(\.count).max())
        let data = try loadLines(
            [record], tokenizer, LoadingOptions(maxLength: longest + 4, collectsChoices: true))
        let item = data.choiceItems[0]
        #expect(item.prompt == [0, 271, 312, 298])
        #expect(item.choices == whole.choiceItems[0].choices)
        #expect(data.truncatedCount == 1)
    }
}
