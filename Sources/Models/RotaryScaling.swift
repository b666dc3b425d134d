import CheckpointIO

/// How a model changes the frequencies of its rotary position embedding, theta_i = base^(-2i/headSize).
package enum RotaryScaling: Sendable, Equatable {
    /// Not at all.
    case standard
    /// theta_i / factor, "Extending Context Window of Large Language Models via Positional Interpolation" (arXiv
    /// 2306.15595).
    case linear(factor: Double)
    /// Llama 3.1's: with wavelength w = 2 pi / theta and L the original context, theta / factor where w > L / low,
    /// theta where w < L / high, and in between (1 - s) theta / factor + s theta with s = (L / w - low) / (high - low).
    case llama3(
        factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalMaximumPositions: Int)
    /// theta_i / factors[i], as GGUF files store the result of any static scaling; headSize / 2 numbers.
    case factors([Float])
}

extension RotaryScaling {
    /// Reads `rope_parameters` (transformers 5) or `rope_scaling` with `rope_theta` beside it (before).
    ///
    /// Returns the base and the scaling; throws `badConfiguration` and `unsupportedConfiguration`.
    static func read(
        _ fields: ConfigurationFields, defaultBase: Double, maximumPositions: Int
    ) throws -> (base: Double, scaling: RotaryScaling) {
        // Where both are given, transformers takes the older one, unless it is empty.
        let hasScaling = fields.isPresent("rope_scaling") && fields.member("rope_scaling")?.objectValue?.count != 0
        let key = hasScaling ? "rope_scaling" : "rope_parameters"
        let outerBase = try fields.positiveNumber("rope_theta")
        guard fields.isPresent(key) else { return (outerBase ?? defaultBase, .standard) }
        let inner = try fields.object(key)
        let base = try inner.positiveNumber("rope_theta") ?? outerBase ?? defaultBase
        for place in [fields, inner] {
            if let share = try place.positiveNumber("partial_rotary_factor"), share != 1 {
                throw place.unsupported("partial_rotary_factor", "\(share)", "1, every element of a head rotated")
            }
        }
        let name = try inner.string("rope_type") ?? inner.string("type") ?? "default"
        switch name {
        case "default": return (base, .standard)
        case "linear": return (base, .linear(factor: try inner.requiredPositiveNumber("factor")))
        case "llama3":
            let low = try inner.requiredPositiveNumber("low_freq_factor")
            let high = try inner.requiredPositiveNumber("high_freq_factor")
            guard low < high else {
                throw inner.bad("high_freq_factor", "a number above low_freq_factor, \(low)", "\(high)")
            }
            // The place outside wins where both are given, as in transformers.
            let original =
                try fields.positiveInteger("original_max_position_embeddings")
                ?? inner.positiveInteger("original_max_position_embeddings") ?? maximumPositions
            return (
                base,
                .llama3(
                    factor: try inner.requiredPositiveNumber("factor"), lowFrequencyFactor: low,
                    highFrequencyFactor: high, originalMaximumPositions: original)
            )
        default: throw inner.unsupported("rope_type", "'\(name)'", "default, linear and llama3")
        }
    }
}
