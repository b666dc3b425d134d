import CheckpointIO
import Glibc

/// LongRoPE's (Ding et al., arXiv 2402.13753): each frequency divided by a factor of its own, of one list for sequences up
/// to the original context and another for longer ones.
package struct LongRotaryScaling: Sendable, Equatable {
    /// The divisors, one for each frequency.
    package var shortFactors: [Float]
    package var longFactors: [Float]
    /// Tokens of a sequence up to which the short ones are taken.
    package var originalPositions: Int
    /// What cosines and sines are multiplied by, where it is given.
    package var attentionFactor: Double?
    /// By how much the context has grown.
    package var growth: Double

    /// What cosines and sines are multiplied by.
    package var attention: Double {
        if let attentionFactor { return attentionFactor }
        return growth <= 1 ? 1 : (1 + log(growth) / log(Double(originalPositions))).squareRoot()
    }

    init(
        shortFactors: [Float], longFactors: [Float], originalPositions: Int, attentionFactor: Double?, growth: Double
    ) {
        (self.shortFactors, self.longFactors) = (shortFactors, longFactors)
        (self.originalPositions, self.attentionFactor, self.growth) = (originalPositions, attentionFactor, growth)
    }

    init(_ fields: JSONConfigurationFields, originalPositions: Int, _ facts: RotaryFacts) throws(ModelError) {
        func factors(_ key: String) throws(ModelError) -> [Float] {
            let numbers = fields.member(key)?.arrayValue?.compactMap(\.doubleValue).map(Float.init) ?? []
            guard numbers.count == facts.pairs, numbers.allSatisfy({ $0 > 0 && $0.isFinite }) else {
                throw fields.bad(
                    key, "\(facts.pairs) positive numbers, one for each pair of elements that turns",
                    "\(numbers.count) numbers")
            }
            return numbers
        }
        shortFactors = try factors("short_factor")
        longFactors = try factors("long_factor")
        self.originalPositions = originalPositions
        attentionFactor = try fields.positiveNumber("attention_factor")
        growth =
            try fields.positiveNumber("factor") ?? Double(facts.maximumPositions) / Double(originalPositions)
        guard attentionFactor != nil || growth <= 1 || originalPositions > 1 else {
            throw fields.bad("original_max_position_embeddings", "more than 1", "\(originalPositions)")
        }
    }

    /// The divisors of a sequence of so many tokens.
    func factors(positions: Int) -> [Float] { positions > originalPositions ? longFactors : shortFactors }

    /// The members of `rope_scaling`.
    package var json: JSONObject {
        func list(_ numbers: [Float]) -> JSONValue { .array(numbers.map { .real($0) }) }
        var members: JSONObject = [
            "rope_type": .string(RotaryScaling.Kind.longrope.rawValue), "short_factor": list(shortFactors),
            "long_factor": list(longFactors), "original_max_position_embeddings": .integer(originalPositions),
        ]
        members["attention_factor"] = attentionFactor.map { .real($0) }
        return members
    }
}
