import CheckpointIO
import TensorCore

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

    /// The ways of changing frequencies that an architecture may have, by what `config.json` calls them.
    enum Kind: String {
        case standard = "default"
        case linear
        /// In GGUF files as a tensor of factors.
        case llama3
    }

    /// GGUF's divisors of the rotary frequencies, [headSize / 2]; not a tensor of Hugging Face's.
    package static let ggufFactors = "rope_freqs.weight"
}

extension RotaryScaling {
    /// Base and scaling of the kinds that the architecture has, from either kind of checkpoint.
    ///
    /// - Parameters:
    ///   - assumedBase: what transformers takes for the base where `config.json` is silent; llama.cpp takes 10,000.
    ///   - pairs: headSize / 2.
    ///
    /// Throws `badConfiguration`, `unsupportedConfiguration`, and errors of a tensor of factors.
    static func read(
        _ fields: ModelFields, kinds: [Kind], assumedBase: Double, maximumPositions: Int, pairs: Int
    ) throws -> (base: Double, scaling: RotaryScaling) {
        switch fields.source {
        case .json(let json):
            return try read(json, kinds: kinds, assumedBase: assumedBase, maximumPositions: maximumPositions)
        case .gguf(let gguf):
            let base = try gguf.positiveNumber(gguf.key(of: .rotaryBase)) ?? ggufAssumedBase
            guard let checkpoint = fields.checkpoint else { return (base, .standard) }
            return (base, try read(gguf, checkpoint, takesFactors: kinds.contains(.llama3), pairs: pairs))
        }
    }

    /// What llama.cpp takes for the base where a file has none.
    private static let ggufAssumedBase = 10_000.0

    /// Reads `rope_parameters` (transformers 5) or `rope_scaling` with `rope_theta` beside it (before).
    private static func read(
        _ fields: JSONConfigurationFields, kinds: [Kind], assumedBase: Double, maximumPositions: Int
    ) throws -> (base: Double, scaling: RotaryScaling) {
        // Where both are given, transformers takes the older one, unless it is empty.
        let hasScaling = fields.isPresent("rope_scaling") && fields.member("rope_scaling")?.objectValue?.count != 0
        let key = hasScaling ? "rope_scaling" : "rope_parameters"
        let outerBase = try fields.positiveNumber("rope_theta")
        guard fields.isPresent(key) else { return (outerBase ?? assumedBase, .standard) }
        let inner = try fields.object(key)
        let base = try inner.positiveNumber("rope_theta") ?? outerBase ?? assumedBase
        for place in [fields, inner] {
            if let share = try place.positiveNumber("partial_rotary_factor"), share != 1 {
                throw place.unsupported("partial_rotary_factor", "\(share)", "1, every element of a head rotated")
            }
        }
        let name = try inner.string("rope_type") ?? inner.string("type") ?? "default"
        guard let kind = Kind(rawValue: name), kinds.contains(kind) else {
            throw inner.unsupported("rope_type", "'\(name)'", words(kinds))
        }
        switch kind {
        case .standard: return (base, .standard)
        case .linear: return (base, .linear(factor: try inner.requiredPositiveNumber("factor")))
        case .llama3: return (base, try readLlama3(fields, inner, maximumPositions: maximumPositions))
        }
    }

    private static func readLlama3(
        _ fields: JSONConfigurationFields, _ inner: JSONConfigurationFields, maximumPositions: Int
    ) throws -> RotaryScaling {
        let low = try inner.requiredPositiveNumber("low_freq_factor")
        let high = try inner.requiredPositiveNumber("high_freq_factor")
        guard low < high else {
            throw inner.bad("high_freq_factor", "a number above low_freq_factor, \(low)", "\(high)")
        }
        // The place outside wins where both are given, as in transformers.
        let original =
            try fields.positiveInteger("original_max_position_embeddings")
            ?? inner.positiveInteger("original_max_position_embeddings") ?? maximumPositions
        return .llama3(
            factor: try inner.requiredPositiveNumber("factor"), lowFrequencyFactor: low, highFrequencyFactor: high,
            originalMaximumPositions: original)
    }

    /// `a, b and c`.
    private static func words(_ kinds: [Kind]) -> String {
        let names = kinds.map(\.rawValue)
        guard let last = names.last, names.count > 1 else { return names.first ?? "none" }
        return names.dropLast().joined(separator: ", ") + " and " + last
    }

    private static func read(
        _ fields: GGUFFields, _ checkpoint: Checkpoint, takesFactors: Bool, pairs: Int
    ) throws -> RotaryScaling {
        // llama.cpp takes linear scaling where the type is not named, and a factor of 0 for 1.
        let typeKey = fields.prefix + "rope.scaling.type"
        let name = fields.metadata[typeKey]?.stringValue ?? "linear"
        guard name == "none" || name == "linear" else {
            throw fields.unsupported(
                typeKey, "'\(name.beginning(GGUFFields.shownLimit))'",
                takesFactors ? "none, linear and \(ggufFactors)" : "none and linear")
        }
        var factor = 1.0
        // The second is the name from before the first.
        let factorKeys = ["rope.scaling.factor", "rope.scale_linear"].map { fields.prefix + $0 }
        if name == "linear", let key = factorKeys.first(where: { fields.metadata[$0] != nil }),
            fields.metadata[key]?.doubleValue != 0
        {
            factor = try fields.requiredPositiveNumber(key)
        }
        let isLinear = factor != 1
        guard let record = checkpoint.record(ggufFactors) else {
            return isLinear ? .linear(factor: factor) : .standard
        }
        guard takesFactors else {
            throw ModelError.unexpectedTensor(
                file: checkpoint.path, tensor: record.name,
                reason: "models of this architecture have no factors of their rotary frequencies")
        }
        guard !isLinear else {
            throw fields.unsupported(factorKeys[0], "\(factor) beside \(record.name)", "one of the two")
        }
        guard record.shape == [pairs] else {
            throw ModelError.wrongShape(
                file: checkpoint.path, tensor: record.name, expected: [pairs], found: record.shape)
        }
        let factors = try checkpoint.floats(of: record)
        guard factors.allSatisfy({ $0 > 0 && $0.isFinite }) else {
            throw fields.bad(record.name, "positive numbers", "\(factors)")
        }
        return .factors(factors)
    }
}
