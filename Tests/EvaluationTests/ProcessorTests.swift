import CheckpointIO
import TestSupport
import Testing

@testable import Evaluation
@testable import TensorCore

/// What options leave of logits against transformers' processors, which `Scripts/make_generation_cases.py` ran.
@Suite struct ProcessorTests {
    @Test func probabilitiesAreThoseOfTransformers() throws {
        let cases = try JSONValue.parse(try readFile(fixture("generation/processors.json"))).arrayValue!
        #expect(cases.count > 100)
        for one in cases {
            func numbers(_ name: String) -> [Double] { one[name]!.arrayValue!.map { $0.doubleValue! } }
            func number(_ name: String) -> Double { one[name]!.doubleValue! }
            let topK = Int(number("top_k"))
            let options = try SamplingOptions(
                temperature: number("temperature"), topK: topK == 0 ? nil : topK, topP: number("top_p"),
                minP: number("min_p"), repetitionPenalty: number("repetition_penalty"))
            var logits = numbers("logits").map { Float($0) }
            let text = numbers("text").map { Int32($0) }
            var found = [Double](repeating: 0, count: logits.count)
            logits.withUnsafeMutableBufferPointer { buffer in
                penalizeRepetition(of: text, options.repetitionPenalty, in: buffer)
                let candidates = candidateTokens(
                    of: UnsafeBufferPointer(buffer), largest: buffer.max()!, options: options)
                let total = candidates.reduce(0) { $0 + $1.weight }
                for candidate in candidates { found[Int(candidate.token)] = candidate.weight / total }
            }
            let expected = numbers("probabilities")
            #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 2e-6 }, "\(one.text())\n\(found)")
        }
    }

    @Test func penaltyPassesOverTokensBeyondTheVocabulary() {
        var logits: [Float] = [1, -1, 2]
        logits.withUnsafeMutableBufferPointer { penalizeRepetition(of: [0, 0, 1, 3, -1, .max], 2, in: $0) }
        #expect(logits == [0.5, -2, 2])
    }
}
