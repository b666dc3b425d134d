import CheckpointIO
import TensorCore

/// How a model changes the frequencies of its rotary position embedding, theta_i = base^(-2i/R) for the R elements of a
/// head that turn.
package enum RotaryScaling: Sendable, Equatable {
    /// Not at all.
    case standard
    /// theta_i / factor, "Extending Context Window of Large Language Models via Positional Interpolation" (arXiv
    /// 2306.15595).
    case linear(factor: Double)
    /// A base that grows with the sequence beyond the model's positions: base (factor n / positions - (factor -
    /// 1))^(R/(R-2)) over n positions.
    case dynamic(factor: Double)
    /// Llama 3.1's: with wavelength w = 2 pi / theta and L the original context, theta / factor where w > L / low,
    /// theta where w < L / high, and in between (1 - s) theta / factor + s theta with s = (L / w - low) / (high - low).
    case llama3(
        factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalMaximumPositions: Int)
    /// See `YarnScaling`.
    case yarn(YarnScaling)
    /// See `LongRotaryScaling`.
    case longrope(LongRotaryScaling)
    /// theta_i / factors[i], as GGUF files store the result of any static scaling; R / 2 numbers.
    case factors([Float])

    /// The ways of changing frequencies that an architecture may have, by what `config.json` calls them.
    enum Kind: String {
        case standard = "default"
        case linear
        case dynamic
        /// In GGUF files as a tensor of factors.
        case llama3
        case yarn
        /// In GGUF files as two tensors of factors. Old files call it `su`.
        case longrope
    }

    /// GGUF's divisors of the rotary frequencies, [R / 2]; not a tensor of Hugging Face's.
    package static let ggufFactors = "rope_freqs.weight"
    /// The same of long and of short sequences.
    package static let ggufLongFactors = "rope_factors_long.weight"
    package static let ggufShortFactors = "rope_factors_short.weight"
    /// All tensors of factors.
    package static let ggufFactorTensors = [ggufFactors, ggufLongFactors, ggufShortFactors]

    /// What of the scaling a GGUF file would not tell; nil for nothing.
    package var ggufProblem: String? {
        switch self {
        case .standard, .linear, .llama3, .longrope, .factors: nil
        case .dynamic: "a 'dynamic' rotary scaling"
        case .yarn(let yarn): yarn.truncates ? nil : "a 'yarn' scaling whose ends are not rounded ('truncate')"
        }
    }

    /// What cosines and sines are multiplied by.
    package var attentionFactor: Float {
        switch self {
        case .standard, .linear, .dynamic, .llama3, .factors: 1
        case .yarn(let yarn): Float(yarn.attention)
        case .longrope(let long): Float(long.attention)
        }
    }
}

/// What the reader of a scaling knows of the model.
struct RotaryFacts {
    /// The ways of changing frequencies that the architecture has.
    var kinds: [RotaryScaling.Kind]
    /// What transformers takes for the base where `config.json` is silent; llama.cpp takes 10,000.
    var assumedBase: Double
    /// The longest sequence.
    var maximumPositions: Int
    /// Half of the elements of a head that turn.
    var pairs: Int
    /// See `ModelConfiguration.Assumptions.originalPositions`.
    var assumedOriginalPositions: Int?
    /// Whether a file's yarn rounds its ends where nothing is said of it.
    var truncatesYarn = true
    /// Whether `rope_parameters` may have one object for each kind of layers.
    var isOfLayers = false
}

/// Kinds of layers with rotary embeddings of their own.
enum RotaryLayers: String, CaseIterable {
    case full = "full_attention"
    case sliding = "sliding_attention"
}

extension RotaryScaling {
    /// Base and scaling of the kinds that the architecture has, from either kind of checkpoint.
    ///
    /// Throws `badConfiguration`, `unsupportedConfiguration`, and errors of a tensor of factors.
    static func read(_ fields: ModelFields, _ facts: RotaryFacts) throws -> (base: Double, scaling: RotaryScaling) {
        let found: (base: Double, scaling: RotaryScaling)
        switch fields.source {
        case .json(let json):
            found = try read(json, facts)
        case .gguf(let gguf):
            let base = try gguf.positiveNumber(gguf.key(of: .rotaryBase)) ?? ggufAssumedBase
            guard let checkpoint = fields.checkpoint else { return (base, .standard) }
            found = (base, try GGUFRotaryScaling(gguf, checkpoint, facts).read())
        }
        if case .yarn = found.scaling, found.base <= 1 {
            throw fields.bad(.rotaryBase, "a number above 1, by whose logarithm yarn divides", "\(found.base)")
        }
        return found
    }

    /// What llama.cpp takes for the base where a file has none.
    private static let ggufAssumedBase = 10_000.0

    /// Reads `rope_parameters` (transformers 5) or `rope_scaling` with `rope_theta` beside it (before).
    private static func read(
        _ fields: JSONConfigurationFields, _ facts: RotaryFacts
    ) throws -> (base: Double, scaling: RotaryScaling) {
        let outerBase = try fields.positiveNumber("rope_theta")
        guard let inner = try fields.rotaryParameters() else { return (outerBase ?? facts.assumedBase, .standard) }
        if let key = RotaryLayers.allCases.map(\.rawValue).first(where: inner.isPresent) {
            guard facts.isOfLayers else {
                throw inner.unsupported(key, "an object of its own", "one rotary embedding for all layers")
            }
            let key = RotaryLayers.full.rawValue
            guard inner.isPresent(key) else { return (outerBase ?? facts.assumedBase, .standard) }
            return try read(try inner.object(key), beside: fields, outerBase: outerBase, facts)
        }
        if facts.isOfLayers, fields.isPresent("rope_parameters"), !fields.isPresent("rope_scaling") {
            throw fields.bad(
                "rope_parameters",
                "an object for each kind of layers, "
                    + RotaryLayers.allCases.map { "'\($0.rawValue)'" }.joined(separator: " and "),
                "one for all")
        }
        return try read(inner, beside: fields, outerBase: outerBase, facts)
    }

    /// Reads the members of `inner`, which `fields` stand around.
    static func read(
        _ inner: JSONConfigurationFields, beside fields: JSONConfigurationFields, outerBase: Double?,
        _ facts: RotaryFacts
    ) throws -> (base: Double, scaling: RotaryScaling) {
        let base = try inner.positiveNumber("rope_theta") ?? outerBase ?? facts.assumedBase
        let given = try inner.string("rope_type") ?? inner.string("type") ?? "default"
        let name = given == "su" ? Kind.longrope.rawValue : given
        guard let kind = Kind(rawValue: name), facts.kinds.contains(kind) else {
            throw inner.unsupported("rope_type", "'\(given)'", words(facts.kinds))
        }
        // The place outside wins where both are given, as in transformers.
        func original() throws -> Int {
            try fields.positiveInteger("original_max_position_embeddings") ?? facts.assumedOriginalPositions
                ?? inner.positiveInteger("original_max_position_embeddings") ?? facts.maximumPositions
        }
        switch kind {
        case .standard: return (base, .standard)
        case .linear: return (base, .linear(factor: try inner.requiredPositiveNumber("factor")))
        case .dynamic:
            guard facts.pairs > 1 else { throw inner.bad("rope_type", "heads of more than 2 elements", "'dynamic'") }
            return (base, .dynamic(factor: try inner.requiredPositiveNumber("factor")))
        case .llama3: return (base, try readLlama3(inner, originalPositions: try original()))
        case .yarn:
            return (base, .yarn(try YarnScaling(inner, originalPositions: try original(), facts)))
        case .longrope:
            return (base, .longrope(try LongRotaryScaling(inner, originalPositions: try original(), facts)))
        }
    }

    private static func readLlama3(_ inner: JSONConfigurationFields, originalPositions: Int) throws -> RotaryScaling {
        let low = try inner.requiredPositiveNumber("low_freq_factor")
        let high = try inner.requiredPositiveNumber("high_freq_factor")
        guard low < high else {
            throw inner.bad("high_freq_factor", "a number above low_freq_factor, \(low)", "\(high)")
        }
        return .llama3(
            factor: try inner.requiredPositiveNumber("factor"), lowFrequencyFactor: low, highFrequencyFactor: high,
            originalMaximumPositions: originalPositions)
    }

    /// `a, b and c`.
    private static func words(_ kinds: [Kind]) -> String {
        let names = kinds.map(\.rawValue)
        guard let last = names.last, names.count > 1 else { return names.first ?? "none" }
        return names.dropLast().joined(separator: ", ") + " and " + last
    }
}

extension RotaryScaling {
    /// The members of `rope_parameters`; of divisors in a GGUF file there are none.
    package func parameters(base: Double) -> JSONObject {
        var members = scalingMembers ?? ["rope_type": .string(Kind.standard.rawValue)]
        members["rope_theta"] = .real(base)
        return members
    }

    /// The members of `rope_scaling` of a scaling that has a name; nil without a scaling and for divisors.
    package var scalingMembers: JSONObject? {
        switch self {
        case .standard, .factors: nil
        case .linear(let factor): ["rope_type": .string(Kind.linear.rawValue), "factor": .real(factor)]
        case .dynamic(let factor): ["rope_type": .string(Kind.dynamic.rawValue), "factor": .real(factor)]
        case .llama3(let factor, let low, let high, let original):
            [
                "factor": .real(factor), "high_freq_factor": .real(high), "low_freq_factor": .real(low),
                "original_max_position_embeddings": .integer(original), "rope_type": .string(Kind.llama3.rawValue),
            ]
        case .yarn(let yarn): yarn.json
        case .longrope(let long): long.json
        }
    }
}

extension ModelConfiguration {
    /// Writes `rope_parameters` with an object each for the layers that slide, which turn plainly by a base of their
    /// own, and for the others.
    func writeRotaryOfLayers(slidingBase: Double, to fields: inout WrittenFields) {
        fields.setJSON(
            "rope_parameters",
            .object([
                RotaryLayers.full.rawValue: .object(rotaryScaling.parameters(base: rotaryBase)),
                RotaryLayers.sliding.rawValue: .object(RotaryScaling.standard.parameters(base: slidingBase)),
            ]))
    }

    /// Writes which share of a head turns.
    func writeTurnedShare(to fields: inout WrittenFields) {
        fields.setJSON("partial_rotary_factor", .real(Double(turnedSize) / Double(headSize)))
    }
}

extension JSONConfigurationFields {
    /// `rope_scaling` or `rope_parameters`. Where both are given, transformers takes the older one, unless it is empty.
    func rotaryParameters() throws(ModelError) -> JSONConfigurationFields? {
        let hasScaling = isPresent("rope_scaling") && member("rope_scaling")?.objectValue?.count != 0
        let key = hasScaling ? "rope_scaling" : "rope_parameters"
        return isPresent(key) ? try object(key) : nil
    }
}

extension ModelFields {
    /// The base of the rotary frequencies of layers that slide, which turn plainly, from `config.json`: from
    /// `rope_parameters`, or as older files say it.
    func slidingRotaryBase(olderKey: String?, assumed: Double) throws -> Double {
        guard let json else { return assumed }
        var older = assumed
        if let olderKey { older = try json.positiveNumber(olderKey) ?? older }
        let key = RotaryLayers.sliding.rawValue
        guard let parameters = try json.rotaryParameters(), parameters.isPresent(key) else { return older }
        let inner = try parameters.object(key)
        let name = try inner.string("rope_type") ?? inner.string("type") ?? RotaryScaling.Kind.standard.rawValue
        guard name == RotaryScaling.Kind.standard.rawValue else {
            throw inner.unsupported("rope_type", "'\(name)'", RotaryScaling.Kind.standard.rawValue)
        }
        return try inner.positiveNumber("rope_theta") ?? older
    }

    /// Refuses a model of which a part of each head turns.
    func refuseTurnedShare(headSize: Int) throws(ModelError) {
        if let gguf {
            let key = gguf.prefix + "rope.dimension_count"
            if let other = try gguf.positiveInteger(key), other != headSize {
                throw gguf.unsupported(key, "\(other)", "the size of a head, \(headSize)")
            }
        }
        guard let json else { return }
        for place in [json, try json.rotaryParameters() ?? json] {
            if let share = try place.positiveNumber("partial_rotary_factor"), share != 1 {
                throw place.unsupported("partial_rotary_factor", "\(share)", "1, every element of a head rotated")
            }
        }
    }

    /// How many elements of a head turn: those that `partial_rotary_factor` names of `headSize`, in either place of
    /// `config.json`, or as many as GGUF's `rope.dimension_count` says.
    func turnedSize(headSize: Int, assumedShare: Double) throws -> Int {
        if let gguf {
            let key = gguf.prefix + "rope.dimension_count"
            guard let size = try gguf.positiveInteger(key) else { return headSize }
            guard size <= headSize, size % 2 == 0 else {
                throw gguf.bad(key, "an even number up to the size of a head, \(headSize)", "\(size)")
            }
            return size
        }
        guard let json else { return headSize }
        let key = "partial_rotary_factor"
        let inner = try json.rotaryParameters()
        let share = try inner?.positiveNumber(key) ?? json.positiveNumber(key) ?? assumedShare
        let size = share <= 1 ? Int(Double(headSize) * share) : 0
        guard size > 0, size % 2 == 0 else {
            throw json.bad(key, "a share of a head of \(headSize) that is an even number of elements", "\(share)")
        }
        return size
    }
}
