import CheckpointIO
import Evaluation
import Foundation
import TestSupport
import Testing

@testable import TSPEFT

/// A model's `generation_config.json`: its end tokens, and the defaults of how `generate` chooses.
@Suite(.serialized) struct GenerationDefaultsTests {
    /// The tiny model with the given file beside it.
    private func withModel<R>(_ generation: String?, _ body: (String) throws -> R) throws -> R {
        try withTemporaryFolder { folder in
            for name in try FileManager.default.contentsOfDirectory(atPath: TinyTraining.base)
            where name != "generation_config.json" {
                try link(folder + "/" + name, to: TinyTraining.base + "/" + name)
            }
            if let generation { try writeFile(folder + "/generation_config.json", generation) }
            return try body(folder)
        }
    }

    private func request(_ base: String, _ change: (inout GenerateRequest) -> Void = { _ in }) -> GenerateRequest {
        var request = GenerateRequest(basePath: base, prompt: "Review: a quiet film")
        request.limit = 12
        request.compute = ComputeOptions(precision: .f32, threadCount: 1)
        change(&request)
        return request
    }

    private func tokens(_ generation: String?, _ change: (inout GenerateRequest) -> Void = { _ in }) throws -> [Int32] {
        try withModel(generation) { try generateText(request($0, change)) { _ in true }.tokens }
    }

    @Test func itsEndTokensEndATextToo() throws {
        let greedy = try tokens(nil)
        let end = greedy[5]
        let first = try #require(greedy.firstIndex(of: end))
        for value in ["\(end)", "[0, \(end)]"] {
            let report = try withModel(#"{"eos_token_id": \#(value)}"#) {
                try generateText(request($0)) { _ in true }
            }
            #expect(report.tokens == Array(greedy[..<first]) && report.end == .endToken)
        }
    }

    @Test func sampleSettingsAreTheDefaultsWhereItSamples() throws {
        let greedy = try tokens(nil)
        let sampled = try tokens(nil) { ($0.temperature, $0.topK, $0.topP) = (1.5, 40, 0.9) }
        #expect(sampled != greedy)
        let settings = #""temperature": 1.5, "top_k": 40, "top_p": 0.9"#
        #expect(try tokens(#"{"do_sample": true, \#(settings)}"#) == sampled)
        #expect(try tokens(#"{"do_sample": false, \#(settings)}"#) == greedy)
        #expect(try tokens(#"{\#(settings)}"#) == greedy)
        #expect(try tokens(#"{"do_sample": true, \#(settings)}"#) { $0.temperature = 0 } == greedy)
        #expect(try tokens(#"{\#(settings)}"#) { $0.temperature = 1.5 } == sampled)
        let plain = try tokens(nil) { $0.temperature = 1 }
        #expect(try tokens(#"{"do_sample": true, "top_k": 0}"#) == plain)
    }

    @Test func whatCameOfItIsTold() throws {
        let notes = try withModel(#"{"do_sample": true, "temperature": 0.5, "top_p": 0.9, "repetition_penalty": 1.1}"#)
        {
            try generateText(request($0)) { _ in true }.notes
        }
        #expect(
            notes == [
                "as generation_config.json says: temperature 0.5, top-p 0.9",
                "generation_config.json asks for repetition_penalty 1.1, which is not heeded",
            ])
        #expect(try withModel(nil) { try generateText(request($0)) { _ in true }.notes }.isEmpty)
        let idle = try withModel(nil) { try generateText(request($0) { $0.topP = 0.5 }) { _ in true }.notes }
        #expect(idle == ["at temperature 0 the likeliest token is taken, whatever top-k and top-p say"])
    }

    @Test func evaluationNeverSamples() throws {
        func correct(_ generation: String?) throws -> (Double, Int) {
            try withModel(generation) { base in
                var request = EvaluateRequest(basePath: base, dataPath: fixture("sst2/dev.json"))
                request.mode = .generate
                request.limit = 12
                request.newTokenLimit = 6
                request.compute = ComputeOptions(precision: .f32, threadCount: 1)
                let report = try evaluateModel(request)
                return (report.meanLoss, report.correct)
            }
        }
        let (loss, count) = try correct(nil)
        #expect(try correct(#"{"do_sample": true, "temperature": 9.0}"#) == (loss, count))
    }

    @Test(arguments: [
        (#"{"eos_token_id": 4294967295}"#, "'eos_token_id' has 4294967295; ids from 0 to 2147483647 are needed"),
        (#"{"eos_token_id": [0, -1]}"#, "'eos_token_id' has -1; ids from 0 to 2147483647 are needed"),
        (#"{"eos_token_id": "end"}"#, #"'eos_token_id' has "end"; ids from 0 to 2147483647 are needed"#),
        (#"{"temperature": -1}"#, "'temperature' is -1; a number of 0 or more is needed"),
        (#"{"top_p": 1.5}"#, "'top_p' is 1.5; a number above 0 and up to 1 is needed"),
        (#"{"top_k": 1e30}"#, "'top_k' is 1e30; a whole number of 0 or more is needed"),
        ("[]", "is no JSON object"),
    ])
    func badValuesAreRefused(generation: String, problem: String) throws {
        try withModel(generation) { base in
            let error = #expect(throws: CheckpointError.self) { try generateText(request(base)) { _ in true } }
            #expect(error == .malformed(file: base + "/generation_config.json", problem: problem))
        }
    }
}
