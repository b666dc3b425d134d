import Glibc
import TensorCore

/// How the next token is chosen from a model's logits.
package struct SamplingOptions: Sendable, Equatable {
    /// What logits are divided by before the softmax; 0 takes the likeliest token always.
    package let temperature: Double
    /// Only the likeliest so many tokens may be chosen; nil for all.
    package let topK: Int?
    /// Only the likeliest tokens that together have this probability may be chosen; 1 for all.
    package let topP: Double
    /// Only tokens that are at least so likely, as a part of the likeliest one's probability, may be chosen; 0 for all.
    package let minP: Double
    /// What makes the tokens of the text so far less likely: above 1 their logits are divided by it where they are
    /// positive and multiplied by it where they are negative (arXiv 1909.05858, section 4.1); 1 changes nothing.
    package let repetitionPenalty: Double
    /// What the random choices follow from.
    package let seed: UInt64

    /// Greedy choice: the likeliest token always.
    package static let greedy = SamplingOptions()

    private init() {
        (temperature, topK, topP, minP, repetitionPenalty, seed) = (0, nil, 1, 0, 1, 0)
    }

    /// Options within their ranges.
    ///
    /// - Throws: `badSamplingOption` for a temperature that is negative or not finite, a top-p outside of (0, 1], a
    ///   min-p outside of [0, 1], a top-k below 1, a repetition penalty that is not above 0 and finite.
    package init(
        temperature: Double = 0, topK: Int? = nil, topP: Double = 1, minP: Double = 0, repetitionPenalty: Double = 1,
        seed: UInt64 = 0
    ) throws(EvaluationError) {
        guard temperature >= 0, temperature.isFinite else {
            throw .badSamplingOption(name: "temperature", value: "\(temperature)", expected: "a number of 0 or more")
        }
        guard topP > 0, topP <= 1 else {
            throw .badSamplingOption(name: "top-p", value: "\(topP)", expected: "a number above 0 and up to 1")
        }
        if let topK, topK < 1 {
            throw .badSamplingOption(name: "top-k", value: "\(topK)", expected: "a whole number of 1 or more")
        }
        guard minP >= 0, minP <= 1 else {
            throw .badSamplingOption(name: "min-p", value: "\(minP)", expected: "a number from 0 to 1")
        }
        guard repetitionPenalty > 0, repetitionPenalty.isFinite else {
            throw .badSamplingOption(
                name: "repetition-penalty", value: "\(repetitionPenalty)", expected: "a number above 0")
        }
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        self.seed = seed
    }

    /// The stream from which one generation's choices are drawn.
    package func stream() -> RandomStream { RandomStream(seed: seed).forked("sampling") }
}

/// Chooses the next token from the logits of the vocabulary, [vocabularySize], float32.
///
/// At temperature 0 the largest logit wins, of equal ones the lowest id, and nothing is drawn. Else one number is drawn
/// and the token is chosen with the probability softmax(logits / temperature) among those that top-k, then top-p and
/// then min-p leave, in transformers' order and by its rules: top-k keeps every token whose logit equals the k-th
/// largest; top-p keeps the smallest set of the likeliest tokens whose probability, after top-k, reaches topP (of equal
/// ones the lower ids; there transformers leaves the order open); min-p keeps those that are at least minP times as
/// likely as the likeliest. All sums are double. The repetition penalty, which comes before all of these, is in the
/// logits already: see `penalizeRepetition`.
///
/// - Throws: `unusableLogits` for NaN or +infinity, and where all logits are -infinity.
package func sampleToken(
    logits: UnsafeBufferPointer<Float>, options: SamplingOptions, stream: inout RandomStream
) throws(EvaluationError) -> Int32 {
    var best = -1
    for (token, logit) in logits.enumerated() {
        guard logit < .infinity else { throw .unusableLogits(token: token) }
        if logit > (best < 0 ? -.infinity : logits[best]) { best = token }
    }
    guard best >= 0 else { throw .unusableLogits(token: nil) }
    if options.temperature == 0 { return Int32(best) }

    let candidates = candidateTokens(of: logits, largest: logits[best], options: options)
    let total = candidates.reduce(0) { $0 + $1.weight }
    var remaining = stream.nextUniform() * total
    for candidate in candidates {
        remaining -= candidate.weight
        if remaining < 0 { return candidate.token }
    }
    // Rounding may leave a hair of the total: it belongs to the last token that can be chosen at all.
    return candidates.last { $0.weight > 0 }!.token
}

/// Chooses the next token from the logits of the vocabulary; see the variant over a buffer.
package func sampleToken(
    logits: [Float], options: SamplingOptions, stream: inout RandomStream
) throws(EvaluationError) -> Int32 {
    var drawn = stream
    let result = logits.withUnsafeBufferPointer { buffer in
        Result { () throws(EvaluationError) in try sampleToken(logits: buffer, options: options, stream: &drawn) }
    }
    stream = drawn
    return try result.get()
}

/// A token that may be chosen, with e^((logit - largest logit) / temperature).
struct Candidate {
    let token: Int32
    let weight: Double
}

/// The tokens that top-k, top-p and min-p leave, in a fixed order.
func candidateTokens(
    of logits: UnsafeBufferPointer<Float>, largest: Float, options: SamplingOptions
) -> [Candidate] {
    let least = options.topK.map { largestLogit(number: $0, of: logits) } ?? -.infinity
    let kept = logits.indices.filter { logits[$0] >= least }
    let candidates = kept.map { token in
        let exponent = (Double(logits[token]) - Double(largest)) / options.temperature
        return Candidate(token: Int32(token), weight: exp(exponent))
    }
    let likely = options.topP < 1 ? likeliest(candidates, together: options.topP) : candidates
    // The likeliest token's weight is 1.
    return options.minP > 0 ? likely.filter { $0.weight >= options.minP } : likely
}

/// The `number`-th largest logit, equal ones counted each; the smallest where there are fewer.
private func largestLogit(number: Int, of logits: UnsafeBufferPointer<Float>) -> Float {
    // Beyond this a sorted list of the largest so far costs more than sorting everything once.
    let insertionLimit = 1024
    if number > insertionLimit { return logits.sorted(by: >)[min(number, logits.count) - 1] }
    var largest: [Float] = []
    largest.reserveCapacity(number + 1)
    for logit in logits where largest.count < number || logit > largest[number - 1] {
        largest.insert(logit, at: largest.firstIndex { $0 < logit } ?? largest.count)
        if largest.count > number { largest.removeLast() }
    }
    return largest[largest.count - 1]
}

/// The smallest set of the likeliest candidates that has at least the share `topP` of the weight, the likeliest first.
private func likeliest(_ candidates: [Candidate], together topP: Double) -> [Candidate] {
    let total = candidates.reduce(0) { $0 + $1.weight }
    // Candidates below this are together too light to be needed, and most of a vocabulary is: sorting it all is slow.
    let negligible = (1 - topP) * total / Double(candidates.count)
    var sorted = candidates.filter { $0.weight >= negligible }
    sorted.sort { $0.weight != $1.weight ? $0.weight > $1.weight : $0.token < $1.token }
    var sum = 0.0
    let last = sorted.firstIndex { candidate in
        sum += candidate.weight
        return sum >= topP * total
    }
    return Array(sorted[...(last ?? sorted.count - 1)])
}

/// Puts a repetition penalty on the logits, or log-probabilities, of the tokens in `text`, each once, in F32 as
/// transformers' `RepetitionPenaltyLogitsProcessor` does; tokens beyond the vocabulary have none.
package func penalizeRepetition(
    of text: some Sequence<Int32>, _ penalty: Double, in logits: UnsafeMutableBufferPointer<Float>
) {
    guard penalty != 1 else { return }
    let factor = Float(penalty)
    for token in Set(text) where logits.indices.contains(Int(token)) {
        let logit = logits[Int(token)]
        logits[Int(token)] = logit < 0 ? logit * factor : logit / factor
    }
}
