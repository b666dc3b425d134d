extension AdapterDirectory {
    /// What there is to say of the method's numbers at these modules, name and value each, for people.
    package var methodFacts: [(name: String, value: String)] {
        let ranks = modules.map { configuration.rank(for: $0) }
        let scalings = Set(modules.map { configuration.scaling(for: $0) }).sorted()
            .map { Self.number(Double($0)) }.joined(separator: ", ")
        let distinctRanks = Set(ranks).sorted().map(String.init).joined(separator: ", ")
        switch configuration.kind {
        case .lora, .dora:
            var alpha = Self.number(configuration.alpha)
            if !configuration.alphaPattern.isEmpty { alpha += ", others by pattern" }
            var facts = [
                ("rank", distinctRanks),
                (
                    "alpha",
                    "\(alpha); scaling alpha / \(configuration.usesRSLoRA ? "sqrt(rank), rsLoRA" : "rank"), \(scalings)"
                ),
            ]
            if configuration.hasLoRABias { facts.append(("bias", "on B")) }
            return facts
        case .adalora:
            let settings = configuration.adaLoRA
            var rank = "\(configuration.rank) at first, \(settings.targetRank) a module in the mean at the end"
            if !settings.keptRanks.isEmpty {
                rank += "; now \(distinctRanks), \(ranks.reduce(0, +)) in all"
                let empty = ranks.count { $0 == 0 }
                if empty > 0 { rank += ", none left in \(empty) of \(modules.count) modules" }
            }
            return [
                ("rank", rank),
                ("alpha", "\(Self.number(configuration.alpha)); scaling alpha / first rank, \(scalings)"),
                (
                    "budget",
                    "tinit \(settings.initialSteps), tfinal \(settings.finalSteps), deltaT \(settings.interval), "
                        + "beta1 \(Self.number(settings.beta1)), beta2 \(Self.number(settings.beta2))"
                ),
                ("penalty", "orth_reg_weight \(Self.number(settings.orthogonalWeight))"),
            ]
        case .adapter:
            let biases = tensors.contains {
                $0.name.hasSuffix(PEFTNames.adapterDownBias) || $0.name.hasSuffix(PEFTNames.adapterUpBias)
            }
            return [
                ("size", "\(configuration.rank)" + (biases ? ", with biases" : "")),
                ("non-linearity", configuration.bottleneck.activation.rawValue), ("scaling", scalings),
            ]
        case .vera:
            return [
                ("rank", distinctRanks),
                (
                    "projections",
                    "saved, \(sharedTensors.map { "\($0.shape)" }.joined(separator: " and ")), "
                        + "projection_prng_key \(configuration.vera.projectionKey)"
                ),
            ]
        }
    }

    /// A number without a needless point.
    private static func number(_ value: Double) -> String {
        if let whole = Int(exactly: value) { return "\(whole)" }
        // A Float's own digits, not those of the double that it was widened to.
        return Double(Float(value)) == value ? "\(Float(value))" : "\(value)"
    }
}

extension AdapterConfiguration {
    /// The part of the tokens that a module's gate skips; nil for a module that has lost all of its ranks, which has
    /// nothing to skip and counts as pruned (NUMERICS, "Sparsity").
    package func sparsity(of statistics: ModuleStatistics) -> Double? {
        rank(for: statistics.module) == 0 ? nil : statistics.sparsity
    }

    /// The mean over the modules that have a rank; 0 without any.
    package func meanSparsity(_ modules: [ModuleStatistics]) -> Double {
        let values = modules.compactMap { sparsity(of: $0) }
        return values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
    }
}
