import Adapters
import Compute
import Evaluation
import ModelTestSupport
import Models
import TensorCore
import Testing

/// Generation with a cache of keys and values.
@Suite struct GenerationTests {
    /// The most likely next token of `tokens`, everything computed anew.
    private func next(_ model: AdaptedModel, _ tokens: [Int32]) throws -> Int32 {
        let logits = try model.logits([tokens])
        let last = logits.suffix(logits.count / tokens.count)
        return Int32(last.indices.max { last[$0] < last[$1] }! - last.startIndex)
    }

    private func recomputed(_ model: AdaptedModel, _ prompt: [Int32], count: Int) throws -> [Int32] {
        var tokens = prompt
        for _ in 0..<count { tokens.append(try next(model, tokens)) }
        return Array(tokens.dropFirst(prompt.count))
    }

    @Test(arguments: [true, false]) func cachedGenerationEqualsRecomputation(isGated: Bool) throws {
        let model = try AdaptedModel {
            $0.path = AdaptedModel.tinyModel
            $0.isGated = isGated
            $0.updateSize = 0.05
        }
        let prompt = AdaptedModel.tokens(7, seed: 3, below: 2048)
        if isGated { try model.closeGatesHalfway(over: [prompt]) }
        let result = try generate(model.model, prompt: prompt, limit: 20, endTokens: [], .greedy)
        #expect(result.tokens == (try recomputed(model, prompt, count: 20)))
        #expect(result.end == .tokenLimit)
        #expect(Set(result.tokens).count > 1)
    }

    @Test func adapterChangesWhatIsGenerated() throws {
        let prompt = AdaptedModel.tokens(7, seed: 3)
        let model = try AdaptedModel { $0.updateSize = 0.3 }
        let open = try generate(model.model, prompt: prompt, limit: 10, endTokens: [], .greedy).tokens
        for projection in model.adapter.projections { projection.gate?.tau = .infinity }
        let closed = try generate(model.model, prompt: prompt, limit: 10, endTokens: [], .greedy).tokens
        #expect(open != closed)
    }

    @Test func endTokenEndsTheTextAndIsLeftOut() throws {
        let model = try AdaptedModel()
        let prompt = AdaptedModel.tokens(5, seed: 4)
        let all = try generate(model.model, prompt: prompt, limit: 8, endTokens: [], .greedy).tokens
        let end = all[5]
        let result = try generate(model.model, prompt: prompt, limit: 8, endTokens: [end, -5], .greedy)
        #expect(result.end == .endToken)
        #expect(result.tokens == Array(all.prefix { $0 != end }))
    }

    @Test func generationStopsWhereItsPositionsEnd() throws {
        let model = try AdaptedModel()
        let positions = model.model.configuration.maximumPositions
        #expect(positions == 128)
        let prompt = AdaptedModel.tokens(positions - 3, seed: 5)
        let result = try generate(model.model, prompt: prompt, limit: 50, endTokens: [], .greedy)
        // The last position's output is a token too; that one has no place to be read from.
        #expect(result.end == .positionLimit && result.tokens.count == 4)
        #expect(result.tokens == (try recomputed(model, prompt, count: 4)))

        let full = AdaptedModel.tokens(positions, seed: 5)
        let one = try generate(model.model, prompt: full, limit: 50, endTokens: [], .greedy)
        #expect(one.end == .positionLimit && one.tokens.count == 1)
        // A limit that is reached at the same time is the reason.
        #expect(try generate(model.model, prompt: full, limit: 1, endTokens: [], .greedy).end == .tokenLimit)
    }

    @Test func promptsThatCannotBeAreRefused() throws {
        let model = try AdaptedModel()
        for count in [0, 129] {
            let expected = EvaluationError.promptLength(tokens: count, limit: 128)
            #expect(throws: expected) {
                try generate(
                    model.model, prompt: AdaptedModel.tokens(count, seed: 1), limit: 1, endTokens: [], .greedy)
            }
            #expect(expected.exitStatus == .badData)
        }
        #expect(try generate(model.model, prompt: [1], limit: 0, endTokens: [], .greedy).tokens.isEmpty)
    }

    @Test func receiverHearsEachTokenAndMayStop() throws {
        let model = try AdaptedModel()
        let prompt = AdaptedModel.tokens(5, seed: 6)
        let all = try generate(model.model, prompt: prompt, limit: 6, endTokens: [], .greedy).tokens
        var heard: [Int32] = []
        let result = try generate(model.model, prompt: prompt, limit: 6, endTokens: [], .greedy) { token in
            heard.append(token)
            return heard.count < 3
        }
        #expect(heard == Array(all.prefix(3)) && result.tokens == heard && result.end == .stopped)
    }

    @Test func seedGivesTheSameSampleAgain() throws {
        let model = try AdaptedModel()
        let prompt = AdaptedModel.tokens(5, seed: 7)
        func sample(_ seed: UInt64) throws -> [Int32] {
            let options = try SamplingOptions(temperature: 5, topK: 50, topP: 0.95, seed: seed)
            return try generate(model.model, prompt: prompt, limit: 12, endTokens: [], options).tokens
        }
        let samples = try [1, 2, 3].map { try sample($0) }
        #expect(try sample(1) == samples[0])
        #expect(Set(samples).count == 3)
    }
}
