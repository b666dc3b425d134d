import Foundation
import Testing

@testable import Evaluation
@testable import TensorCore

struct GenerationSamplingTests {
    /// How often each token is drawn, of `count` draws.
    private func shares(_ logits: [Float], _ options: SamplingOptions, count: Int = 20_000) throws -> [Double] {
        var stream = options.stream()
        var counts = Array(repeating: 0, count: logits.count)
        for _ in 0..<count { counts[Int(try sampleToken(logits: logits, options: options, stream: &stream))] += 1 }
        return counts.map { Double($0) / Double(count) }
    }

    /// softmax(logits / temperature) over the tokens in `kept`, 0 elsewhere.
    private func probabilities(_ logits: [Float], _ temperature: Double, keeping kept: Set<Int>) -> [Double] {
        let weights = logits.indices.map { kept.contains($0) ? exp(Double(logits[$0]) / temperature) : 0 }
        let total = weights.reduce(0, +)
        return weights.map { $0 / total }
    }

    /// Five standard deviations of a share of 20,000 draws, at most 0.0177; and nothing is drawn that has probability
    /// 0.
    private func expectAgreement(_ shares: [Double], _ probabilities: [Double]) {
        for (share, probability) in zip(shares, probabilities) {
            let deviation = (probability * (1 - probability) / 20_000).squareRoot()
            #expect(abs(share - probability) <= 5 * deviation, "\(share) drawn, \(probability) expected")
        }
    }

    private let logits: [Float] = [0.5, 2, -1, 2.5, 2, -.infinity, 1]

    @Test func greedyChoiceTakesTheLargestLogitAndDrawsNothing() throws {
        var stream = RandomStream(seed: 1)
        #expect(try sampleToken(logits: logits, options: .greedy, stream: &stream) == 3)
        #expect(stream.counter == 0)
    }

    @Test func greedyChoiceTakesTheLowestOfEqualLogits() throws {
        var stream = RandomStream(seed: 1)
        #expect(try sampleToken(logits: [1, 3, 3, 2, 3], options: .greedy, stream: &stream) == 1)
        #expect(try sampleToken(logits: [-.infinity, -5, -5], options: .greedy, stream: &stream) == 1)
    }

    @Test(arguments: [0.7, 1, 3])
    func drawsFollowTheSoftmaxAtATemperature(temperature: Double) throws {
        let options = try SamplingOptions(temperature: temperature, seed: 5)
        expectAgreement(
            try shares(logits, options), probabilities(logits, temperature, keeping: [0, 1, 2, 3, 4, 6]))
    }

    @Test func topKKeepsEveryTokenThatTiesWithTheKth() throws {
        let two = try SamplingOptions(temperature: 1, topK: 2, seed: 6)
        expectAgreement(try shares(logits, two), probabilities(logits, 1, keeping: [1, 3, 4]))
        let one = try SamplingOptions(temperature: 1, topK: 1, seed: 6)
        expectAgreement(try shares(logits, one), probabilities(logits, 1, keeping: [3]))
    }

    @Test func topKBeyondTheVocabularyKeepsAll() throws {
        for topK in [7, 100, 5000] {
            let options = try SamplingOptions(temperature: 1, topK: topK, seed: 7)
            expectAgreement(
                try shares(logits, options, count: 20_000), probabilities(logits, 1, keeping: [0, 1, 2, 3, 4, 6]))
        }
    }

    @Test func largeTopKAgreesWithASmallOneOverTheSameTokens() throws {
        // 3000 tokens, the 2000th largest logit at 1000: sorted, where smaller limits are found by insertion.
        let logits = (0..<3000).map { Float($0) / 100 }
        let options = try SamplingOptions(temperature: 100, topK: 2000, seed: 8)
        var stream = options.stream()
        var least: Int32 = 3000
        for _ in 0..<4000 { least = min(least, try sampleToken(logits: logits, options: options, stream: &stream)) }
        #expect(least >= 1000 && least < 1020)
    }

    @Test func topPKeepsTheSmallestSetThatReachesIt() throws {
        // Probabilities 0.5, 0.25, 0.125, 0.125.
        let logits: [Float] = [2, 3, 1, 1].map { $0 * Float(M_LN2) }
        for (topP, kept) in [(0.5, [1]), (0.51, [1, 0]), (0.75, [1, 0]), (0.76, [1, 0, 2]), (0.9, [1, 0, 2, 3])] {
            let options = try SamplingOptions(temperature: 1, topP: topP - 1e-7, seed: 9)
            expectAgreement(try shares(logits, options), probabilities(logits, 1, keeping: Set(kept)))
        }
    }

    @Test func tinyTopPIsGreedy() throws {
        let options = try SamplingOptions(temperature: 2, topP: 1e-9, seed: 10)
        #expect(try shares(logits, options, count: 200)[3] == 1)
    }

    @Test func topPCountsProbabilityAfterTopK() throws {
        let logits: [Float] = [3, 2, 1, 0].map { $0 * Float(M_LN2) }
        let options = try SamplingOptions(temperature: 1, topK: 2, topP: 0.6, seed: 11)
        // After top-k token 0 alone has 2/3 >= 0.6; over the whole vocabulary it has 8/15 < 0.6.
        expectAgreement(try shares(logits, options), probabilities(logits, 1, keeping: [0]))
    }

    @Test func sameSeedGivesTheSameTokens() throws {
        let options = try SamplingOptions(temperature: 1, seed: 12)
        func draw(_ options: SamplingOptions) throws -> [Int32] {
            var stream = options.stream()
            return try (0..<64).map { _ in try sampleToken(logits: logits, options: options, stream: &stream) }
        }
        #expect(try draw(options) == draw(options))
        #expect(try draw(options) != draw(try SamplingOptions(temperature: 1, seed: 13)))
    }

    @Test func vanishingTemperatureIsGreedy() throws {
        let options = try SamplingOptions(temperature: .leastNonzeroMagnitude, seed: 14)
        #expect(try shares(logits, options, count: 50)[3] == 1)
    }

    @Test func unusableLogitsAreRefused() {
        var stream = RandomStream(seed: 1)
        #expect(throws: EvaluationError.unusableLogits(token: 1)) {
            try sampleToken(logits: [0, .nan, 1], options: .greedy, stream: &stream)
        }
        #expect(throws: EvaluationError.unusableLogits(token: 0)) {
            try sampleToken(logits: [.infinity, 1], options: .greedy, stream: &stream)
        }
        #expect(throws: EvaluationError.unusableLogits(token: nil)) {
            try sampleToken(logits: [-.infinity, -.infinity], options: .greedy, stream: &stream)
        }
    }

    @Test func optionsOutOfRangeAreRefused() {
        for (temperature, topK, topP) in [
            (-1.0, nil, 1.0), (.nan, nil, 1), (.infinity, nil, 1), (1, 0, 1), (1, -3, 1), (1, nil, 0), (1, nil, 1.5),
            (1, nil, .nan),
        ] as [(Double, Int?, Double)] {
            #expect(throws: EvaluationError.self) {
                try SamplingOptions(temperature: temperature, topK: topK, topP: topP)
            }
        }
    }
}
