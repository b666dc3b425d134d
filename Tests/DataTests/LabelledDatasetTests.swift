import Foundation
import TestSupport
import Testing
import Tokenization

@testable import Data

/// Labelled records as sequences, with an encoder's tokenizer.
@Suite struct LabelledDatasetTests {
    private func load(
        _ text: String, as kind: LabelKind, needsLabels: Bool = true,
        _ change: (inout LoadingOptions) -> Void = { _ in }
    ) throws -> (data: Dataset, tokenizer: Tokenizer) {
        let tokenizer = try Tokenizer.load(modelPath: fixture("tokenization/subwords/bert-uncased"))
        var options = LoadingOptions()
        change(&options)
        return try withTemporaryFolder { folder in
            let path = "\(folder)/data.tsv"
            try Foundation.Data(text.utf8).write(to: URL(fileURLWithPath: path))
            let data = try Dataset.load(
                paths: [path], tokenizer: tokenizer, labelled: kind, needsLabels: needsLabels, options: options)
            return (data, tokenizer)
        }
    }

    private let sentiment = LabelKind.classes(LabelSet(names: ["negative", "positive"])!)

    @Test func aRecordIsASequenceInTheTokenizersFrame() throws {
        let (data, tokenizer) = try load("sentence\tlabel\nWhich one?\t1\nanswer\tnegative\n", as: sentiment)
        let ids = ["[CLS]", "[SEP]"].compactMap { tokenizer.tokenID($0) }
        #expect(data.recordCount == 2 && data.truncatedCount == 0 && data.scoredCount == 2)
        #expect(data.examples[0].tokens == [ids[0]] + tokenizer.encode("Which one?") + [ids[1]])
        #expect(data.examples.map(\.label) == [.index(1), .index(0)])
        #expect(data.examples.allSatisfy { $0.types == nil && !$0.scored.contains(true) })
        #expect(data.places.map(\.line) == [2, 3])
        let first = data.prefix(1)
        #expect(first.examples.count == 1 && first.places.count == 1)
    }

    @Test func twoTextsHaveTypesAndTheLongerIsCut() throws {
        let text = "sentence1\tsentence2\tscore\na b c d e f g h\tx y\t2.5\n"
        let (whole, _) = try load(text, as: .numbers)
        let example = try #require(whole.examples.first)
        #expect(example.label == .value(2.5))
        let types = try #require(example.types)
        #expect(types.first == 0 && types.last == 1 && types.count == example.tokens.count)
        let (cut, _) = try load(text, as: .numbers) { $0.maxLength = 9 }
        #expect(cut.truncatedCount == 1 && cut.examples[0].tokens.count == 9)
        #expect(cut.examples[0].tokens.suffix(3) == example.tokens.suffix(3))
    }

    @Test func whatTheModelCannotTakeIsRefusedWithItsLine() throws {
        func problem(_ text: String, _ change: (inout LoadingOptions) -> Void) throws -> String {
            let error = try #require(throws: DataError.self) { try load(text, as: sentiment, change) }
            return String(error.description.drop { $0 != "," })
        }
        let text = "sentence\tlabel\na\t1\na b c d e f g\t1\n"
        #expect(try problem(text) { $0.limit = 5 }.hasPrefix(", line 3: the record has 9 tokens; the model allows 5;"))
        #expect(try problem(text) { $0.maxLength = 2 }.hasPrefix(", line 2: maxLength is 2, and the tokenizer adds 2"))
        #expect(try problem(text) { $0.vocabularySize = 3 }.hasPrefix(", line 2: the record has the token"))
        #expect(try problem("sentence\nno label\n") { _ in }.hasPrefix(", line 2: the record has no label;"))
        let (data, _) = try load("sentence\nno label\n", as: sentiment, needsLabels: false)
        #expect(data.examples[0].label == nil)
    }
}
