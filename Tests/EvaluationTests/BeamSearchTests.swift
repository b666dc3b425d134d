import CheckpointIO
import Compute
import Foundation
import ModelTestSupport
import Models
import TestSupport
import Testing

@testable import Evaluation

/// Greedy choice and beams against the ids of transformers, which `Scripts/make_generation_cases.py` wrote.
@Suite(.serialized) struct BeamSearchTests {
    private struct Case: CustomStringConvertible {
        let json: JSONValue
        let prompt: [Int32]
        let tokens: [Int32]
        var description: String { json.text() }

        init(_ json: JSONValue) {
            self.json = json
            func ids(_ name: String) -> [Int32] { json[name]!.arrayValue!.map { Int32($0.intValue!) } }
            (prompt, tokens) = (ids("prompt"), ids("tokens"))
        }

        func settings() throws -> GenerationSettings {
            let ends = json["ends"]!.arrayValue!.map { Int32($0.intValue!) }
            var settings = GenerationSettings(limit: json["limit"]!.intValue!, endTokens: Set(ends))
            settings.sampling = try SamplingOptions(repetitionPenalty: json["repetition_penalty"]?.doubleValue ?? 1)
            let patience: BeamPatience =
                switch json["early_stopping"] {
                case .string("never")?: .untilHopeless
                case .bool(true)?: .whenFull
                default: .heuristic
                }
            let count = json["beams"]!.intValue!
            if count > 1 {
                settings.beams = try BeamOptions(
                    count: count, lengthPenalty: json["length_penalty"]?.doubleValue ?? 1, patience: patience)
            }
            return settings
        }
    }

    @Test(arguments: ["tiny-llama", "tiny-qwen2", "tiny-qwen3"])
    func idsAreThoseOfTransformers(name: String) throws {
        let all = try JSONValue.parse(try readFile(fixture("generation/beams.json"))).arrayValue!
        let cases = all.filter { $0["model"]?.stringValue == name }.map(Case.init)
        #expect(cases.count > 100)
        let model = try ModelCheckpoint.open(fixture(name)).makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        for one in cases {
            let result = try Generator(model).run(one.prompt, try one.settings())
            #expect(result.tokens == one.tokens, "\(one)")
            #expect((result.end == .endToken) == (one.json["ended"] == .bool(true)), "\(one)")
        }
    }

    @Test func oneBeamIsGreedyChoice() throws {
        let model = try AdaptedModel()
        let prompt = AdaptedModel.tokens(6, seed: 2)
        var settings = GenerationSettings(limit: 12, endTokens: [])
        let greedy = try Generator(model.model).run(prompt, settings).tokens
        settings.beams = try BeamOptions(count: 1)
        #expect(try Generator(model.model).run(prompt, settings).tokens == greedy)
    }

    /// Each beam's log-probability, everything computed anew, and all texts of three tokens.
    @Test func asManyBeamsAsTextsFindTheLikeliestOfAll() throws {
        let model = try AdaptedModel { $0.isGated = true }
        let prompt = AdaptedModel.tokens(6, seed: 2)
        try model.closeGatesHalfway(over: [prompt])
        func logProbabilities(_ text: [Int32]) throws -> [Double] {
            let last = try model.logits([text]).suffix(160).map(Double.init)
            let largest = last.max()!
            let sum = last.reduce(0) { $0 + exp($1 - largest) }
            return last.map { $0 - largest - log(sum) }
        }
        let first = try logProbabilities(prompt)
        var best = (score: -Double.infinity, tokens: [Int32]())
        for one in 0..<160 {
            let second = try logProbabilities(prompt + [Int32(one)])
            for two in 0..<160 where first[one] + second[two] > best.score {
                best = (first[one] + second[two], [Int32(one), Int32(two)])
            }
        }
        var settings = GenerationSettings(limit: 2, endTokens: [])
        settings.beams = try BeamOptions(count: 160)
        #expect(try Generator(model.model).run(prompt, settings).tokens == best.tokens)
    }

    @Test func searchEndsWherePositionsEnd() throws {
        let model = try AdaptedModel()
        var settings = GenerationSettings(limit: 50, endTokens: [])
        settings.beams = try BeamOptions(count: 3)
        for (length, count) in [(125, 4), (128, 1)] {
            let result = try Generator(model.model).run(AdaptedModel.tokens(length, seed: 5), settings)
            #expect(result.tokens.count == count && result.end == .positionLimit)
        }
    }

    @Test func textThatEndsTextsEndsABeam() throws {
        let model = try AdaptedModel()
        let prompt = AdaptedModel.tokens(6, seed: 9)
        var settings = GenerationSettings(limit: 10, endTokens: [])
        settings.beams = try BeamOptions(count: 3)
        let whole = try Generator(model.model).run(prompt, settings).tokens
        let stop = whole[2]
        var ended = GenerationSettings(limit: 10, endTokens: [stop])
        ended.beams = try BeamOptions(count: 3)
        settings.isEnded = { $0.contains(stop) }
        let (left, right) = try (
            Generator(model.model).run(prompt, settings), Generator(model.model).run(prompt, ended)
        )
        #expect(left.end == .stopString && left.tokens.last == stop && !left.tokens.dropLast().contains(stop))
        #expect(Array(left.tokens.dropLast()) == right.tokens)
    }

    @Test func generatorGoesOnFromWhatItKnows() throws {
        let model = try AdaptedModel()
        let prompt = AdaptedModel.tokens(20, seed: 3)
        let generator = Generator(model.model)
        var settings = GenerationSettings(limit: 6, endTokens: [])
        let first = try generator.run(prompt, settings)
        #expect(first.reusedTokens == 0)
        let longer = prompt + first.tokens + AdaptedModel.tokens(9, seed: 4)
        let second = try generator.run(longer, settings)
        // The last token that was generated has not been read yet.
        #expect(second.reusedTokens == prompt.count + first.tokens.count - 1)
        #expect(second.tokens == (try Generator(model.model).run(longer, settings).tokens))
        // Another text has the beginning in common.
        let other = Array(longer.prefix(12)) + AdaptedModel.tokens(5, seed: 8)
        let third = try generator.run(other, settings)
        #expect(third.reusedTokens >= 12 && third.reusedTokens < other.count)
        #expect(third.tokens == (try Generator(model.model).run(other, settings).tokens))
        // The same once more: its last token is read again.
        #expect(try generator.run(other, settings).reusedTokens == other.count - 1)
        settings.beams = try BeamOptions(count: 4)
        let searched = try generator.run(other, settings)
        #expect(searched.reusedTokens == other.count - 1)
        #expect(searched.tokens == (try Generator(model.model).run(other, settings).tokens))
        // Beams keep nothing.
        #expect(try generator.run(other, settings).reusedTokens == 0)
        settings.beams = nil
        _ = try generator.run(other, settings)
        generator.reset()
        #expect(try generator.run(other, settings).reusedTokens == 0)
    }

    @Test func optionsOutOfRangeAreRefused() {
        for (count, penalty) in [(0, 1.0), (-1, 1), (1025, 1), (4, .nan), (4, .infinity)] {
            #expect(throws: EvaluationError.self) { try BeamOptions(count: count, lengthPenalty: penalty) }
        }
        #expect(throws: EvaluationError.self) { try SamplingOptions(minP: 1.1) }
        #expect(throws: EvaluationError.self) { try SamplingOptions(minP: -0.1) }
        for penalty in [0, -1, Double.nan, .infinity] {
            #expect(throws: EvaluationError.self) { try SamplingOptions(repetitionPenalty: penalty) }
        }
    }
}
