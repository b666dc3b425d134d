import CheckpointIO
import Glibc

/// YaRN's (Peng et al., arXiv 2309.00071): frequencies whose waves turn often within the original context stay, those that
/// turn seldom are divided by the factor, and a ramp lies between.
package struct YarnScaling: Sendable, Equatable {
    /// What the slow frequencies are divided by.
    package var factor: Double
    /// Tokens of the context that the model was made for at first.
    package var originalPositions: Int
    /// Turns within it from which on a frequency stays, and up to which it is divided.
    package var (betaFast, betaSlow) = (32.0, 1.0)
    /// Whether the ramp's ends are rounded to whole frequencies.
    package var truncates = true
    /// What cosines and sines are multiplied by, where it is given.
    package var attentionFactor: Double?
    /// From which two that factor follows, where both are given.
    package var mscale: Double?
    package var mscaleAllDim: Double?

    /// What cosines and sines are multiplied by.
    package var attention: Double {
        if let attentionFactor { return attentionFactor }
        func scale(_ m: Double) -> Double { factor <= 1 ? 1 : 0.1 * m * log(factor) + 1 }
        if let mscale, let mscaleAllDim { return scale(mscale) / scale(mscaleAllDim) }
        return scale(1)
    }

    init(factor: Double, originalPositions: Int) {
        (self.factor, self.originalPositions) = (factor, originalPositions)
    }

    init(_ fields: JSONConfigurationFields, originalPositions: Int, _ facts: RotaryFacts) throws(ModelError) {
        self.originalPositions = originalPositions
        factor =
            fields.hasKey("factor") && !fields.isPresent("factor")
            ? Double(facts.maximumPositions) / Double(originalPositions)
            : try fields.requiredPositiveNumber("factor")
        // 0 is taken for nothing, as in Python.
        func number(_ key: String) throws(ModelError) -> Double? {
            fields.member(key)?.doubleValue == 0 ? nil : try fields.positiveNumber(key)
        }
        betaFast = try number("beta_fast") ?? betaFast
        betaSlow = try number("beta_slow") ?? betaSlow
        truncates = try fields.flag("truncate") ?? true
        if facts.isOfLayers, !truncates {
            // transformers does not look for it in there.
            throw fields.unsupported("truncate", "false", "true")
        }
        attentionFactor = try fields.positiveNumber("attention_factor")
        mscale = try number("mscale")
        mscaleAllDim = try number("mscale_all_dim")
    }

    /// The frequencies of `turned` elements over `base`.
    func frequencies(base: Double, turned: Int) -> [Float] {
        func place(_ turns: Double) -> Double {
            Double(turned) * log(Double(originalPositions) / (turns * 2 * .pi)) / (2 * log(base))
        }
        var (low, high) = (place(betaFast), place(betaSlow))
        if truncates { (low, high) = (floor(low), ceil(high)) }
        low = max(low, 0)
        high = min(high, Double(turned - 1))
        if low == high { high += 0.001 }
        return (0..<turned / 2).map { index in
            let wave = Float(pow(base, Double(Float(2 * index) / Float(turned))))
            let ramp = min(max((Float(index) - Float(low)) / Float(high - low), 0), 1)
            let kept = 1 - ramp
            return 1 / (Float(factor) * wave) * (1 - kept) + 1 / wave * kept
        }
    }

    /// The members of `rope_scaling` or `rope_parameters`.
    package var json: JSONObject {
        var members: JSONObject = [
            "rope_type": .string(RotaryScaling.Kind.yarn.rawValue), "factor": .real(factor),
            "original_max_position_embeddings": .integer(originalPositions), "beta_fast": .real(betaFast),
            "beta_slow": .real(betaSlow),
        ]
        if !truncates { members["truncate"] = .bool(false) }
        members["attention_factor"] = attentionFactor.map { .real($0) }
        members["mscale"] = mscale.map { .real($0) }
        members["mscale_all_dim"] = mscaleAllDim.map { .real($0) }
        return members
    }
}
