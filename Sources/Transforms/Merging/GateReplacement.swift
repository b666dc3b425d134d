import Adapters

/// What stands for a module's gate where nothing can depend on the token: a factor on its update.
package struct GateReplacement: Sendable, Equatable {
    /// c of `MergeGates`: 1 for a dense adapter, 0 for a gate that never opens.
    package let factor: Double
    /// sqrt(sum |S M - factor M|^2 / sum |W0 x|^2) over the tokens of the statistics; 0 for a dense adapter.
    package let expectedError: Double
    /// The part of these tokens that the gate skips; nil for a dense adapter.
    package let sparsity: Double?
    /// Whether the gate never opened over the tokens of the statistics, so that the base's output stays as it is.
    package let neverFires: Bool

    /// Decides for `module` of `adapter`; throws `AdapterError.missingStatistics` for a gate without statistics.
    init(of module: String, in adapter: AdapterDirectory, _ gates: MergeGates) throws(AdapterError) {
        guard adapter.configuration.isGated else {
            factor = 1
            expectedError = 0
            sparsity = nil
            neverFires = false
            return
        }
        guard let found = adapter.statistics?[module], found.tokens > 0 else {
            throw .missingStatistics(
                adapter: adapter.displayName, module: adapter.statistics == nil ? nil : module,
                remedy: ModuleRanking.statisticsRemedy)
        }
        neverFires = found.active == 0
        factor = neverFires ? 0 : gates == .drop ? 1 : found.bestFactor ?? 1
        expectedError = found.replacementError(factor: factor)
        sparsity = found.sparsity
    }
}
