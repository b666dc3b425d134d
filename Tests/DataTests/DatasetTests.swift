import Foundation
import TestSupport
import Testing

@testable import CheckpointIO
@testable import Data
@testable import Tokenization

/// The data set that a file with these lines gives.
func loadLines(
    _ lines: [String], _ tokenizer: Tokenizer, _ options: LoadingOptions = LoadingOptions()
) throws -> Dataset {
    try withTemporaryFolder { folder in
        let path = folder + "/records.json"
        try lines.joined(separator: "\n").write(toFile: path, atomically: true, encoding: .utf8)
        return try Dataset.load(path: path, tokenizer: tokenizer, options: options)
    }
}

/// The scored tokens of an example as text, special tokens too.
func scoredText(_ example: Example, _ tokenizer: Tokenizer) -> String {
    let tokens = zip(example.tokens, example.scored).filter(\.1).map(\.0)
    return tokenizer.decode(tokens, skippingSpecialTokens: false)
}

/// Every record form as examples. Expected ids are those of Hugging Face's `tokenizers` for the same tokenizer.json.
struct DatasetTests {
    private let film = #"{"prompt": "Review: a fine film\nIt is", "completion": " good"}"#
    private let filmPrompt: [Int32] = [51, 70, 87, 1701, 27, 259, 271, 444, 635, 200, 42, 85, 336]

    @Test func completionIsScoredWithItsEndToken() throws {
        let data = try loadLines([film], tinyTokenizer())
        #expect(data.examples.map(\.tokens) == [filmPrompt + [939, 0]])
        #expect(data.examples[0].scored == Array(repeating: false, count: 13) + [true, true])
        #expect(data.tokenCount == 15 && data.scoredCount == 2 && data.longestCount == 15)
        #expect(data.truncatedCount == 0 && data.choiceItems.isEmpty)
    }

    @Test func prefixHasWhatBelongsToItsRecords() throws {
        let task = #"{"prompt": "It is", "completion": " good", "answer": "good", "choices": ["good", "bad"]}"#
        let options = LoadingOptions(maxLength: 8, collectsChoices: true)
        let data = try loadLines([film, task, film, task], tinyTokenizer(), options)
        #expect(data.examples.count == 4 && data.choiceItems.count == 2 && data.truncatedCount == 2)
        for (count, choices, truncated) in [(1, 0, 1), (2, 1, 1), (3, 1, 2), (4, 2, 2), (9, 2, 2)] {
            let part = data.prefix(count)
            #expect(part.examples == Array(data.examples.prefix(count)))
            #expect(part.choiceItems == Array(data.choiceItems.prefix(choices)) && part.truncatedCount == truncated)
        }
    }

    @Test func endTokenMayBeLeftOut() throws {
        let data = try loadLines([film], tinyTokenizer(), LoadingOptions(endOfText: false))
        #expect(data.examples.map(\.tokens) == [filmPrompt + [939]])
        #expect(data.examples[0].scoredCount == 1)
    }

    @Test func withoutMaskingEverythingButTheFirstTokenIsScored() throws {
        let data = try loadLines([film], tinyTokenizer(), LoadingOptions(promptMasking: false))
        #expect(data.examples[0].scored == [false] + Array(repeating: true, count: 14))
    }

    @Test func promptHasTheIdsThatItHasAlone() throws {
        // In one text the letters make other tokens.
        let tokenizer = try tinyTokenizer()
        let data = try loadLines([#"{"prompt": "It is g", "completion": "ood"}"#], tokenizer)
        let parts = tokenizer.encode("It is g") + tokenizer.encode("ood") + [0]
        #expect(data.examples[0].tokens == parts)
        #expect(data.examples[0].tokens != tokenizer.encode("It is good") + [0])
    }

    @Test func spaceBeforeACompletionBelongsToItsFirstToken() throws {
        let tokenizer = try tinyTokenizer()
        let data = try loadLines(
            [film, #"{"prompt": "Review: a fine film\nIt is", "completion": "good"}"#], tokenizer)
        #expect(scoredText(data.examples[0], tokenizer) == " good<|endoftext|>")
        #expect(scoredText(data.examples[1], tokenizer) == "good<|endoftext|>")
    }

    @Test func textIsScoredAllButItsFirstToken() throws {
        let data = try loadLines([#"{"text": "Hello there"}"#], tinyTokenizer())
        #expect(
            data.examples == [
                Example(tokens: [41, 344, 303, 825, 0], scored: [false, true, true, true, true])
            ])
    }

    @Test func tokenizerThatAddsABeginningTokenStartsEverySequenceWithIt() throws {
        let data = try loadLines(
            [film, #"{"text": "Hello there"}"#, #"{"instruction": "Name a colour.", "output": "Blue."}"#],
            beginningTokenizer())
        #expect(data.examples[0].tokens == [0] + filmPrompt + [939, 0])
        #expect(data.examples[1].tokens == [0, 41, 344, 303, 825, 0])
        #expect(data.examples[1].scored == [false, true, true, true, true, true])
        #expect(data.examples.allSatisfy { $0.tokens[0] == 0 && $0.tokens[1] != 0 })
    }

    @Test func beginningTokenThatThePromptWritesItselfIsNotDoubled() throws {
        let data = try loadLines(
            [#"{"prompt": "<|endoftext|>It is", "completion": " good"}"#], beginningTokenizer())
        #expect(data.examples[0].tokens == [0, 42, 85, 336, 939, 0])
    }

    @Test func alpacaRecordTakesTheTemplate() throws {
        let tokenizer = try tinyTokenizer()
        let data = try loadLines([#"{"instruction": "Name a colour.", "input": "", "output": "Blue."}"#], tokenizer)
        let example = data.examples[0]
        #expect(example.tokens.count == 65 + 4 + 1)
        #expect(Array(example.tokens[65...]) == [35, 77, 608, 15, 0])
        #expect(
            tokenizer.decode(Array(example.tokens[..<65]))
                == AlpacaTemplate.prompt(instruction: "Name a colour."))
        #expect(scoredText(example, tokenizer) == "Blue.<|endoftext|>")
    }

    @Test func alpacaHistoryIsSaidTurnByTurn() throws {
        let tokenizer = try tinyTokenizer()
        let data = try loadLines(
            [
                #"{"instruction": "Add.", "input": "1 2", "output": "3", "system": "Be terse.", "#
                    + #""history": [["Greet.", "hi"], ["Again.", "ho"]]}"#
            ], tokenizer)
        #expect(
            tokenizer.decode(data.examples[0].tokens, skippingSpecialTokens: false)
                == "Be terse.\n\n### Instruction:\nGreet.\n\n### Response:\nhi<|endoftext|>"
                + "\n\n### Instruction:\nAgain.\n\n### Response:\nho<|endoftext|>"
                + "\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n3<|endoftext|>")
        #expect(scoredText(data.examples[0], tokenizer) == "hi<|endoftext|>ho<|endoftext|>3<|endoftext|>")
    }

    @Test func fileMayMixForms() throws {
        let data = try loadLines(
            [film, #"{"text": "Hello there"}"#, #"{"instruction": "Add.", "output": "3"}"#], tinyTokenizer())
        #expect(data.examples.count == 3)
        #expect(data.examples[1].tokens == [41, 344, 303, 825, 0])
    }

    @Test func recordsOfTheFixturesAreAllRead() throws {
        let tokenizer = try tinyTokenizer()
        let options = LoadingOptions(limit: 512, collectsChoices: true)
        let dev = try Dataset.load(path: fixture("sst2/dev.json"), tokenizer: tokenizer, options: options)
        #expect(dev.examples.count == 200 && dev.choiceItems.count == 200)
        #expect(dev.choiceItems.allSatisfy { $0.choices == [[939, 0], [1462, 0]] && $0.names == [" good", " bad"] })
        let arc = try Dataset.load(path: fixture("arc-easy/test.json"), tokenizer: tokenizer, options: options)
        #expect(arc.examples.count == 64 && arc.choiceItems.count == 64)
        // Line 1 is the bracket and a record takes six lines.
        #expect(arc.choiceItems.map(\.line) == (0..<64).map { 2 + 6 * $0 })
        #expect(arc.choiceItems.allSatisfy { $0.names.first == "answer1" && (3...5).contains($0.names.count) })
    }

    @Test func compressedFileGivesTheSameExamples() throws {
        let tokenizer = try tinyTokenizer()
        let plain = try Dataset.load(path: fixture("arc-easy/train.json"), tokenizer: tokenizer)
        let packed = try withTemporaryFolder { folder in
            let bytes = try readSmallFile(fixture("arc-easy/train.json"), limit: 1 << 24)
            let path = folder + "/train.json.zst"
            try Foundation.Data(Zstd.compress(bytes)).write(to: URL(fileURLWithPath: path))
            return try Dataset.load(path: path, tokenizer: tokenizer)
        }
        #expect(packed.examples == plain.examples && packed.examples.count == 64)
    }

    @Test func filesAreReadOneAfterTheOther() throws {
        try withTemporaryFolder { folder in
            let paths = (0..<3).map { "\(folder)/\($0).json" }
            for (index, path) in paths.enumerated() {
                try #"{"prompt": "\#(index)", "completion": " good", "answer": "good", "choices": ["good", "bad"]}"#
                    .write(toFile: path, atomically: true, encoding: .utf8)
            }
            let tokenizer = try tinyTokenizer()
            let options = LoadingOptions(collectsChoices: true)
            let singles = try paths.map { try Dataset.load(path: $0, tokenizer: tokenizer, options: options) }
            for order in [[0, 1, 2], [2, 0, 1], [1, 1]] {
                let data = try Dataset.load(paths: order.map { paths[$0] }, tokenizer: tokenizer, options: options)
                #expect(data.examples == order.flatMap { singles[$0].examples })
                #expect(data.choiceItems == order.flatMap { singles[$0].choiceItems })
                #expect(data.prefix(1).choiceItems == singles[order[0]].choiceItems)
            }
            #expect(Dataset.name(of: [paths[0], "-"]) == "0.json + standard input")
            #expect(throws: DataError.twice(file: "standard input")) {
                try Dataset.load(paths: ["-", "-"], tokenizer: tokenizer)
            }
        }
    }
}
