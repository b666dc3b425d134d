extension AdapterDirectory {
    /// What there is to say of the method's numbers at these modules, name and value each, for people.
    package var methodFacts: [(name: String, value: String)] { configuration.settings.facts(of: self) }

    /// The ranks of the modules, each once, rising.
    var distinctRanks: String {
        Set(modules.compactMap { configuration.rank(for: $0) }).sorted().map(String.init).joined(separator: ", ")
    }

    /// The factors on the modules' updates, each once, rising.
    var distinctScalings: String {
        Set(modules.map { configuration.scaling(for: $0) }).sorted().map { factText(Double($0)) }
            .joined(separator: ", ")
    }
}

/// A number without a needless point.
func factText(_ value: Double) -> String {
    if let whole = Int(exactly: value) { return "\(whole)" }
    // A Float's own digits, not those of the double that it was widened to.
    return Double(Float(value)) == value ? "\(Float(value))" : "\(value)"
}

extension AdapterConfiguration {
    /// The part of the tokens that a module's gate skips; nil for a module that has lost all of its ranks, which has
    /// nothing to skip and counts as pruned (NUMERICS, "Sparsity").
    package func sparsity(of statistics: ModuleStatistics) -> Double? {
        isRankZero(statistics.module) ? nil : statistics.sparsity
    }

    /// The mean over the modules that have a rank; 0 without any.
    package func meanSparsity(_ modules: [ModuleStatistics]) -> Double {
        let values = modules.compactMap { sparsity(of: $0) }
        return values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count)
    }
}
