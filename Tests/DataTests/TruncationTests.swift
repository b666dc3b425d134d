import Foundation
import TestSupport
import Testing

@testable import Data
@testable import Tokenization

struct TruncationTests {
    /// Prompt tokens 66 282 268 294 311 271 312 298, then 939 and the end token 0.
    private let letters = #"{"prompt": "a b c d e f g h", "completion": " good"}"#
    private let promptTokens: [Int32] = [66, 282, 268, 294, 311, 271, 312, 298]

    private func refusal(
        _ lines: [String], _ tokenizer: Tokenizer, _ options: LoadingOptions = LoadingOptions()
    ) throws -> String {
        do {
            _ = try loadLines(lines, tokenizer, options)
            return ""
        } catch let error as DataError {
            #expect(error.exitStatus.rawValue == 65)
            let start = try #require(error.description.range(of: "records.json")?.lowerBound)
            return String(error.description[start...])
        }
    }

    @Test func promptLosesItsLeftAndTheAnswerStays() throws {
        for maxLength in 3...9 {
            let data = try loadLines([letters], tinyTokenizer(), LoadingOptions(maxLength: maxLength))
            let example = data.examples[0]
            #expect(example.tokens == Array((promptTokens + [939, 0]).suffix(maxLength)))
            #expect(example.scored == Array(repeating: false, count: maxLength - 2) + [true, true])
            #expect(data.truncatedCount == 1)
        }
    }

    @Test func sequenceOfExactlyTheLengthIsLeftWhole() throws {
        let data = try loadLines([letters], tinyTokenizer(), LoadingOptions(maxLength: 10, limit: 10))
        #expect(data.examples[0].tokens == promptTokens + [939, 0])
        #expect(data.truncatedCount == 0)
    }

    @Test func beginningTokenOutlivesTruncation() throws {
        let data = try loadLines([letters], beginningTokenizer(), LoadingOptions(maxLength: 5))
        #expect(data.examples[0].tokens == [0, 312, 298, 939, 0])
        #expect(data.examples[0].scored == [false, false, false, true, true])
    }

    @Test func promptThatIsCutWhollyLeavesTheAnswerBehindItsFirstToken() throws {
        let data = try loadLines([letters], tinyTokenizer(), LoadingOptions(maxLength: 2))
        #expect(data.examples[0] == Example(tokens: [939, 0], scored: [false, true]))
    }

    @Test func answerIsNeverCut() throws {
        #expect(
            try refusal([letters], tinyTokenizer(), LoadingOptions(maxLength: 1))
                == "records.json, line 1: the answer needs 2 tokens and is never cut, but maxLength is 1; raise it or "
                + "take the record out")
        #expect(
            try refusal([letters], beginningTokenizer(), LoadingOptions(maxLength: 2))
                == "records.json, line 1: the answer needs 3 tokens and is never cut, but maxLength is 2; raise it or "
                + "take the record out")
    }

    @Test func recordLeftWithNothingToScoreIsRefused() throws {
        let sentence =
            "records.json, line 2: the record leaves no token to score; what the model is to say is empty or has nothing "
            + "before it"
        let good = #"{"text": "Hello there"}"#
        // The one token of the answer has lost everything before it.
        #expect(
            try refusal([good, letters], tinyTokenizer(), LoadingOptions(endOfText: false, maxLength: 1))
                .hasSuffix("what the model is to say is empty or has nothing before it"))
        #expect(
            try refusal(
                [good, #"{"prompt": "a", "completion": ""}"#], tinyTokenizer(), LoadingOptions(endOfText: false))
                == sentence)
        #expect(try refusal([good, #"{"text": ""}"#], tinyTokenizer()) == sentence)
        #expect(try refusal([good, #"{"prompt": "", "completion": ""}"#], tinyTokenizer()) == sentence)
    }

    /// Every token but the first is predicted once, from what is before it in the text.
    @Test(arguments: 2...12) func longTextIsCutAndNothingIsLost(_ maxLength: Int) throws {
        let lines = [#"{"text": "Hello there, a b c d e f g h"}"#, #"{"text": "a b"}"#, letters]
        let whole = try loadLines(lines, beginningTokenizer())
        guard maxLength >= 3 else {
            let texts = try loadLines(Array(lines[..<2]), beginningTokenizer(), LoadingOptions(maxLength: maxLength))
            #expect(texts.examples.allSatisfy { $0.tokens.count == 2 })
            return
        }
        let data = try loadLines(lines, beginningTokenizer(), LoadingOptions(maxLength: maxLength))
        let parts = data.examples.dropLast().prefix { $0.tokens.first != 0 || $0 == data.examples[0] }
        #expect(parts.allSatisfy { $0.tokens.count <= maxLength && $0.tokens.count >= 2 })
        var text = parts[0].tokens
        var scored = parts[0].scored
        for part in parts.dropFirst() {
            #expect(part.tokens.first == text.last && part.scored.first == false)
            text += part.tokens.dropFirst()
            scored += part.scored.dropFirst()
        }
        #expect(text == whole.examples[0].tokens && scored == whole.examples[0].scored)
        #expect(data.recordCount == 3)
        #expect(data.cutTexts.parts == (parts.count > 1 ? parts.count : 0) + (data.cutTexts.texts == 2 ? 2 : 0))
        let first = data.prefix(1)
        #expect(first.examples == Array(parts) && first.recordCount == 1)
    }

    @Test func fileOfPlainTextIsCut() throws {
        let text = Array(repeating: "Hello there, a b c d.\n", count: 200).joined()
        try withTemporaryFolder { folder in
            let path = folder + "/book.txt"
            try writeFile(path, Array([0xEF, 0xBB, 0xBF]) + Array(text.utf8))
            let tokenizer = try beginningTokenizer()
            let data = try Dataset.load(path: path, tokenizer: tokenizer)
            #expect(data.recordCount == 1 && data.examples.count > 1)
            #expect(data.examples.dropLast().allSatisfy { $0.tokens.count == LoadingOptions.plainTextLength })
            #expect(data.cutTexts.texts == 1 && data.cutTexts.parts == data.examples.count)
            let tokens = data.examples[0].tokens + data.examples.dropFirst().flatMap { $0.tokens.dropFirst() }
            #expect(tokenizer.decode(tokens, skippingSpecialTokens: true) == text)
            let short = try Dataset.load(path: path, tokenizer: tokenizer, options: LoadingOptions(limit: 64))
            #expect(short.longestCount == 64)
            let chosen = try Dataset.load(
                path: path, tokenizer: tokenizer, options: LoadingOptions(maxLength: 100, limit: 512))
            #expect(chosen.longestCount == 100)

            for (bytes, words) in [([0xFF, 0x41], "UTF-8"), ([0x20, 0x0A], "holds no text")] as [([UInt8], String)] {
                try writeFile(path, bytes)
                let error = #expect(throws: DataError.self) { try Dataset.load(path: path, tokenizer: tokenizer) }
                #expect(error?.description.contains(words) == true && error?.exitStatus == .badData)
            }
        }
    }

    @Test func onlyTruncatedRecordsAreCounted() throws {
        let data = try loadLines(
            [letters, #"{"text": "Hello"}"#, letters, #"{"text": "Hello there"}"#], tinyTokenizer(),
            LoadingOptions(maxLength: 5))
        #expect(data.truncatedCount == 2)
        #expect(data.longestCount == 5)
    }

    @Test func sequenceLongerThanTheModelAllowsIsRefused() throws {
        #expect(
            try refusal([#"{"text": "Hello"}"#, letters], tinyTokenizer(), LoadingOptions(limit: 9))
                == "records.json, line 2: the record has 10 tokens; the model allows 9; pass maxLength: 9 or less")
        let data = try loadLines([letters], tinyTokenizer(), LoadingOptions(maxLength: 9, limit: 9))
        #expect(data.examples[0].tokens.count == 9)
        let choices =
            #"{"prompt": "a b c", "completion": " good", "answer": " good", "#
            + #""choices": [" good", " a b c d e f g h"]}"#
        #expect(
            try refusal([choices], tinyTokenizer(), LoadingOptions(limit: 9, collectsChoices: true))
                .hasSuffix("line 1: the record has 12 tokens; the model allows 9; pass maxLength: 9 or less"))
    }

    @Test func chatRecordNeedsAChatTemplate() throws {
        let record = #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#
        #expect(
            try refusal([record], tinyTokenizer())
                == "records.json, line 1: the record has 'messages', but the model brings no chat template; use "
                + "prompt/completion or instruction/output records")
    }

    @Test func endTokenIsNeededUnlessItIsLeftOut() throws {
        let tokenizer = try tinyTokenizer(configuration: { $0["eos_token"] = nil })
        #expect(try refusal([letters], tokenizer).contains("the tokenizer names no end-of-text token"))
        #expect(try loadLines([letters], tokenizer, LoadingOptions(endOfText: false)).examples.count == 1)
    }
}
