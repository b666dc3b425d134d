import Foundation
import TestSupport
import Testing
import TSPEFT

/// `eval --mode generate` against what `generate` says: the answers are made from the model's own words.
@Suite(.serialized) struct GeneratedAnswerTests {
    private static let prompt = "Review: a quiet and moving film about"
    private static let limit = 8
    /// Words that the model does not say.
    private static let (foreign, strange) = ("zyqqx", "xqqyz")

    private func said(_ limit: Int) throws -> String {
        var request = GenerateRequest(basePath: TinyTraining.base, prompt: Self.prompt)
        request.limit = limit
        request.compute = ComputeOptions(precision: .f32, threadCount: 2)
        var text = ""
        _ = try generateText(request) { piece in
            text += piece
            return true
        }
        return text
    }

    /// Of records with that prompt, the possible answers and the right one, how many are answered rightly.
    private func correct(_ records: [(choices: [String], answer: String)], limit: Int) throws -> [Bool] {
        try withTemporaryFolder { folder in
            try records.map { record in
                let object: [String: Any] = [
                    "prompt": Self.prompt, "completion": record.answer, "answer": record.answer,
                    "choices": record.choices,
                ]
                let path = folder + "/record.json"
                try writeFile(path, Array(try JSONSerialization.data(withJSONObject: object)))
                var request = EvaluateRequest(basePath: TinyTraining.base, dataPath: path)
                request.mode = .generate
                request.newTokenLimit = limit
                request.compute = ComputeOptions(precision: .f32, threadCount: 2)
                let report = try evaluateModel(request)
                #expect(report.answered == 1)
                return report.correct == 1
            }
        }
    }

    @Test func firstPossibleAnswerInWhatTheModelSaysCounts() throws {
        let text = try said(Self.limit)
        let words = text.split { !$0.isLetter }.map(String.init)
        let first = try #require(words.first)
        // A word that is in no earlier one.
        let later = try #require(
            words.last { word in text.range(of: word)!.lowerBound > text.range(of: first)!.lowerBound })
        try #require(!text.contains(Self.foreign) && !text.contains(Self.strange))
        #expect(
            try correct(
                [
                    ([first, Self.foreign], first), ([Self.foreign, first], first),
                    ([first, Self.foreign], Self.foreign),
                    ([Self.strange, Self.foreign], Self.foreign), ([later, first], first), ([later, first], later),
                    ([later, Self.foreign], later),
                ], limit: Self.limit) == [true, true, false, false, true, false, true])
    }

    @Test func onlyAsManyTokensAsAllowedAreRead() throws {
        let text = try said(Self.limit)
        let short = try said(1)
        let late = try #require(text.split { !$0.isLetter }.map(String.init).last { !short.contains($0) })
        #expect(try correct([([late, Self.foreign], late)], limit: 1) == [false])
        #expect(try correct([([late, Self.foreign], late)], limit: Self.limit) == [true])
    }

    @Test(arguments: [0, -1]) func fewerThanOneTokenIsRefused(_ limit: Int) throws {
        var request = EvaluateRequest(basePath: TinyTraining.base, dataPath: fixture("sst2/dev.json"))
        request.mode = .generate
        request.newTokenLimit = limit
        #expect(
            throws: WorkflowError.badValue(
                .newTokenLimit, expected: "at least 1", found: String(limit))
        ) { try evaluateModel(request) }
    }
}
