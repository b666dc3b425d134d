import CheckpointIO

/// The scaling of rotary frequencies that a GGUF file tells: in its metadata, or in tensors of factors.
struct GGUFRotaryScaling {
    private let fields: GGUFFields
    private let checkpoint: Checkpoint
    private let facts: RotaryFacts
    private let prefix: String

    init(_ fields: GGUFFields, _ checkpoint: Checkpoint, _ facts: RotaryFacts) {
        (self.fields, self.checkpoint, self.facts) = (fields, checkpoint, facts)
        prefix = fields.prefix + "rope.scaling."
    }

    func read() throws -> RotaryScaling {
        if let long = try readLong() { return .longrope(long) }
        for name in [RotaryScaling.ggufLongFactors, RotaryScaling.ggufShortFactors] {
            if let record = checkpoint.record(name) { try refuse(record) }
        }
        // llama.cpp takes linear scaling where the type is not named, and a factor of 0 for 1.
        let typeKey = prefix + "type"
        let name = fields.metadata[typeKey]?.stringValue ?? "linear"
        if name == RotaryScaling.Kind.yarn.rawValue, facts.kinds.contains(.yarn) { return .yarn(try readYarn()) }
        guard name == "none" || name == "linear" else {
            throw fields.unsupported(typeKey, "'\(name.beginning(GGUFFields.shownLimit))'", kinds)
        }
        var factor = 1.0
        // The second is the name from before the first.
        let factorKeys = ["scaling.factor", "scale_linear"].map { fields.prefix + "rope." + $0 }
        if name == "linear", let key = factorKeys.first(where: { fields.metadata[$0] != nil }),
            fields.metadata[key]?.doubleValue != 0
        {
            factor = try fields.requiredPositiveNumber(key)
        }
        let isLinear = factor != 1
        guard let record = checkpoint.record(RotaryScaling.ggufFactors) else {
            return isLinear ? .linear(factor: factor) : .standard
        }
        if !facts.kinds.contains(.llama3) { try refuse(record) }
        guard !isLinear else {
            throw fields.unsupported(factorKeys[0], "\(factor) beside \(record.name)", "one of the two")
        }
        return .factors(try factors(record))
    }

    private func refuse(_ record: TensorRecord) throws {
        throw ModelError.unexpectedTensor(
            file: checkpoint.path, tensor: record.name,
            reason: "models of this architecture have no such factors of their rotary frequencies")
    }

    private var kinds: String {
        let names =
            ["none", "linear"] + (facts.kinds.contains(.yarn) ? ["yarn"] : [])
            + (facts.kinds.contains(.llama3) ? [RotaryScaling.ggufFactors] : [])
            + (facts.kinds.contains(.longrope) ? [RotaryScaling.ggufLongFactors] : [])
        return names.dropLast().joined(separator: ", ") + " and " + (names.last ?? "")
    }

    private func factors(_ record: TensorRecord) throws -> [Float] {
        guard record.shape == [facts.pairs] else {
            throw ModelError.wrongShape(
                file: checkpoint.path, tensor: record.name, expected: [facts.pairs], found: record.shape)
        }
        let factors = try checkpoint.floats(of: record)
        guard factors.allSatisfy({ $0 > 0 && $0.isFinite }) else {
            throw fields.bad(record.name, "positive numbers", "\(factors)")
        }
        return factors
    }

    /// The two tensors of factors, where the architecture and the file have them.
    private func readLong() throws -> LongRotaryScaling? {
        guard facts.kinds.contains(.longrope), let long = checkpoint.record(RotaryScaling.ggufLongFactors) else {
            return nil
        }
        guard let short = checkpoint.record(RotaryScaling.ggufShortFactors) else {
            throw ModelError.missingTensor(
                file: checkpoint.path, tensor: RotaryScaling.ggufShortFactors, shape: [facts.pairs])
        }
        let original = try fields.requiredPositiveInteger(prefix + "original_context_length")
        return LongRotaryScaling(
            shortFactors: try factors(short), longFactors: try factors(long), originalPositions: original,
            attentionFactor: try fields.positiveNumber(prefix + "attn_factor"),
            growth: Double(facts.maximumPositions) / Double(original))
    }

    private func readYarn() throws -> YarnScaling {
        var yarn = YarnScaling(
            factor: try fields.requiredPositiveNumber(prefix + "factor"),
            originalPositions: try fields.requiredPositiveInteger(prefix + "original_context_length"))
        yarn.betaFast = try fields.positiveNumber(prefix + "yarn_beta_fast") ?? yarn.betaFast
        yarn.betaSlow = try fields.positiveNumber(prefix + "yarn_beta_slow") ?? yarn.betaSlow
        yarn.truncates = facts.truncatesYarn
        yarn.attentionFactor =
            try fields.positiveNumber(prefix + "yarn_attn_factor") ?? fields.positiveNumber(prefix + "attn_factor")
        if let scale = try fields.positiveNumber(prefix + "yarn_log_multiplier") {
            (yarn.mscale, yarn.mscaleAllDim) = (scale, scale)
        }
        return yarn
    }
}

extension RotaryScaling {
    /// Writes what a GGUF file's metadata say of the scaling; factors stand in tensors.
    func write(to fields: inout WrittenFields) {
        func set(_ key: String, _ value: Double?) {
            if let value { fields.setGGUF("rope.scaling." + key, .float32(Float(value))) }
        }
        switch self {
        case .standard, .llama3, .factors, .dynamic: break
        case .linear(let factor):
            fields.setGGUF("rope.scaling.type", .string("linear"))
            set("factor", factor)
        case .yarn(let yarn):
            fields.setGGUF("rope.scaling.type", .string("yarn"))
            set("factor", yarn.factor)
            fields.setGGUF("rope.scaling.original_context_length", .uint32(UInt32(yarn.originalPositions)))
            set("yarn_beta_fast", yarn.betaFast)
            set("yarn_beta_slow", yarn.betaSlow)
            if let scale = yarn.mscaleAllDim, yarn.mscale == scale, yarn.attentionFactor == nil {
                set("yarn_log_multiplier", scale)
            } else if yarn.attentionFactor != nil || yarn.mscale != nil {
                set("yarn_attn_factor", yarn.attention)
            }
        case .longrope(let long):
            set("attn_factor", long.attention)
            fields.setGGUF("rope.scaling.original_context_length", .uint32(UInt32(long.originalPositions)))
        }
    }
}
