import CheckpointIO

/// How a model changes the frequencies of its rotary position embedding, theta_i = base^(-2i/headSize).
package enum RotaryScaling: Sendable, Equatable {
    /// Not at all.
    case standard
    /// theta_i / factor, "Extending Context Window of Large Language Models via Positional Interpolation" (arXiv
    /// 2306.15595).
    case linear(factor: Double)
    /// Llama 3.1's: with wavelength w = 2 pi / theta and L the original context, theta / factor where w > L / low, theta
    /// where w < L / high, and in between (1 - s) theta / factor + s theta with s = (L / w - low) / (high - low).
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

/// The members of a configuration object, read with checks; absent and null are the same.
struct ConfigurationFields {
    /// The file, for messages.
    let file: String
    /// The keys that lead to this object, such as `rope_scaling.`.
    private let prefix: String
    private let value: JSONValue

    init(file: String, value: JSONValue) {
        self.init(file: file, prefix: "", value: value)
    }

    private init(file: String, prefix: String, value: JSONValue) {
        self.file = file
        self.prefix = prefix
        self.value = value
    }

    func bad(_ key: String, _ expected: String, _ found: String) -> ModelError {
        .badConfiguration(file: file, key: prefix + key, expected: expected, found: found)
    }

    func unsupported(_ key: String, _ found: String, _ supported: String) -> ModelError {
        .unsupportedConfiguration(file: file, key: prefix + key, found: found, supported: supported)
    }

    /// The member, unless absent or null.
    func member(_ key: String) -> JSONValue? {
        guard let member = value[key], !member.isNull else { return nil }
        return member
    }

    func isPresent(_ key: String) -> Bool { member(key) != nil }

    /// Whether the key stands there, be it with null.
    func hasKey(_ key: String) -> Bool { value[key] != nil }

    func object(_ key: String) throws(ModelError) -> ConfigurationFields {
        guard let member = member(key), member.objectValue != nil else {
            throw bad(key, "an object", found(key))
        }
        return ConfigurationFields(file: file, prefix: prefix + key + ".", value: member)
    }

    func string(_ key: String) throws(ModelError) -> String? {
        guard let member = member(key) else { return nil }
        guard let text = member.stringValue else { throw bad(key, "a string", found(key)) }
        return text
    }

    func flag(_ key: String) throws(ModelError) -> Bool? {
        guard let member = member(key) else { return nil }
        guard let value = member.boolValue else { throw bad(key, "true or false", found(key)) }
        return value
    }

    /// Sizes are bounded so that products of two fit an `Int`.
    func positiveInteger(_ key: String) throws(ModelError) -> Int? {
        guard let member = member(key) else { return nil }
        guard let value = member.intValue, value > 0, value <= Int(Int32.max) else {
            throw bad(key, "an integer from 1 to \(Int32.max)", found(key))
        }
        return value
    }

    func requiredPositiveInteger(_ key: String) throws(ModelError) -> Int {
        guard let value = try positiveInteger(key) else { throw bad(key, "a positive integer", "missing") }
        return value
    }

    func positiveNumber(_ key: String) throws(ModelError) -> Double? {
        guard let member = member(key) else { return nil }
        guard let value = member.doubleValue, value > 0, value.isFinite else {
            throw bad(key, "a positive number", found(key))
        }
        return value
    }

    func requiredPositiveNumber(_ key: String) throws(ModelError) -> Double {
        guard let value = try positiveNumber(key) else { throw bad(key, "a positive number", "missing") }
        return value
    }

    /// Token ids: one, a list, or none.
    func tokenIDs(_ key: String) throws(ModelError) -> [Int] {
        guard let member = member(key) else { return [] }
        let elements = member.arrayValue ?? [member]
        var ids: [Int] = []
        for element in elements {
            guard let id = element.intValue, id >= 0 else { throw bad(key, "a token id or a list of them", found(key)) }
            ids.append(id)
        }
        return ids
    }

    private func found(_ key: String) -> String { value[key]?.text() ?? "missing" }
}
