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

    @Test func penaltyAndLeastProbabilityAreDefaultsToo() throws {
        let greedy = try tokens(nil)
        let penalized = try tokens(nil) { $0.repetitionPenalty = 2.5 }
        #expect(penalized != greedy)
        #expect(try tokens(#"{"repetition_penalty": 2.5}"#) == penalized)
        #expect(try tokens(#"{"repetition_penalty": 2.5}"#) { $0.repetitionPenalty = 1 } == greedy)
        // Only the likeliest token is as likely as itself.
        #expect(try tokens(#"{"do_sample": true, "temperature": 1.5, "min_p": 1}"#) == greedy)
        let sampled = try tokens(#"{"do_sample": true, "temperature": 1.5, "min_p": 1}"#) { $0.minP = 0 }
        #expect(sampled != greedy)
    }

    @Test func beamsAreADefaultWhereNothingIsDrawn() throws {
        let searched = try tokens(nil) { $0.beams = 4 }
        let greedy = try tokens(nil)
        #expect(try tokens(#"{"num_beams": 4}"#) == searched)
        #expect(try tokens(#"{"num_beams": 4}"#) { $0.beams = 1 } == greedy)
        #expect(try tokens(#"{"do_sample": true, "temperature": 9.5}"#) { $0.beams = 4 } == searched)
        let sampled = try tokens(nil) { $0.temperature = 1 }
        #expect(try tokens(#"{"num_beams": 4, "do_sample": true}"#) == sampled)
        #expect(try tokens(#"{"num_beams": 4}"#) { $0.temperature = 1 } == sampled)
    }

    private func notes(
        _ generation: String?, _ change: (inout GenerateRequest) -> Void = { _ in }
    ) throws -> [String] {
        try withModel(generation) { try generateText(request($0, change)) { _ in true }.notes }
    }

    @Test func whatCameOfItIsTold() throws {
        let settings = #""temperature": 0.5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1, "typical_p": 0.5"#
        #expect(
            try notes(#"{"do_sample": true, \#(settings)}"#) == [
                "as generation_config.json says: temperature 0.5, top-p 0.9, min-p 0.1, repetition penalty 1.1",
                "generation_config.json asks for typical_p 0.5, which is not heeded",
            ])
        #expect(try notes(nil).isEmpty)
        #expect(
            try notes(nil) { $0.topP = 0.5 } == [
                "at temperature 0 the likeliest token is taken, whatever top-k, top-p and min-p say"
            ])
        let beams = #""num_beams": 3, "length_penalty": 0.5, "early_stopping": true"#
        #expect(
            try notes("{\(beams)}") == [
                "as generation_config.json says: 3 beams, length penalty 0.5, early stopping true"
            ])
        #expect(
            try notes("{\(beams)}") { $0.beams = 2 } == [
                "as generation_config.json says: length penalty 0.5, early stopping true"
            ])
        #expect(try notes("{\(beams)}") { $0.beams = 1 }.isEmpty)
        #expect(
            try notes("{\(beams)}") { $0.temperature = 1 } == [
                "generation_config.json asks for num_beams 3 with samples, which is not heeded"
            ])
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
        (#"{"min_p": 1.5}"#, "'min_p' is 1.5; a number from 0 to 1 is needed"),
        (#"{"repetition_penalty": 0}"#, "'repetition_penalty' is 0; a number above 0 is needed"),
        (#"{"num_beams": 2.5}"#, "'num_beams' is 2.5; a whole number from 1 to 1024 is needed"),
        (#"{"num_beams": 2000000000}"#, "'num_beams' is 2000000000; a whole number from 1 to 1024 is needed"),
        (#"{"length_penalty": "a"}"#, #"'length_penalty' is "a"; a finite number is needed"#),
        (#"{"early_stopping": "soon"}"#, #"'early_stopping' is "soon"; true, false or "never" is needed"#),
        ("[]", "is no JSON object"),
    ])
    func badValuesAreRefused(generation: String, problem: String) throws {
        try withModel(generation) { base in
            let error = #expect(throws: CheckpointError.self) { try generateText(request(base)) { _ in true } }
            #expect(error == .malformed(file: base + "/generation_config.json", problem: problem))
        }
    }
}
