import Adapters

/// What stands for a module's gate where nothing can depend on the token, in numbers for reports and records.
package struct GateReplacement: Sendable, Equatable {
    /// The factor on the module's update, beside a map of it: 1 for a dense adapter, 0 for a gate that never opens.
    package let factor: Double
    /// The relative error over the tokens of the statistics, as `GateRule.replace` has it; 0 for a dense adapter.
    package let expectedError: Double
    /// The part of these tokens that the gate skips; nil for a dense adapter.
    package let sparsity: Double?
    /// Whether the gate never opened over the tokens of the statistics, so that the base's output stays as it is.
    package let neverFires: Bool
}

extension WeightChange {
    /// The change with what stands for the gate of `module` of `adapter`, which it belongs to: itself for a dense
    /// adapter, nothing for a gate that never opens, else what the rule says. Throws `AdapterError.missingStatistics`
    /// for a gate without statistics.
    func replacingGate(
        of module: String, in adapter: AdapterDirectory, by gates: MergeGates
    ) throws(AdapterError) -> (change: WeightChange, replacement: GateReplacement) {
        guard adapter.configuration.isGated else {
            return (self, GateReplacement(factor: 1, expectedError: 0, sparsity: nil, neverFires: false))
        }
        guard let found = adapter.statistics?[module], found.tokens > 0 else {
            throw .missingStatistics(
                adapter: adapter.displayName, module: adapter.statistics == nil ? nil : module,
                remedy: ModuleRanking.statisticsRemedy)
        }
        let neverFires = found.active == 0
        let (change, error) =
            neverFires
            ? (multiplied(by: 0), found.replacementError(factor: 0)) : gates.rule.replace(self, found)
        return (
            change,
            GateReplacement(
                factor: change.share, expectedError: error, sparsity: found.sparsity, neverFires: neverFires)
        )
    }
}
