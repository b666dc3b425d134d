import Adapters
import CheckpointIO
import Models
import TensorCore

/// What becomes of a gate, which depends on the token, in a weight, which cannot.
package enum MergeGates: String, Sendable, CaseIterable {
    /// The update times c = sum S|M|^2 / sum |M|^2 over the tokens of the adapter's statistics: the single factor that
    /// is nearest to the gate in the least-squares sense.
    case scale
    /// The whole update, as if the gate were always open.
    case drop
}

/// How the modules of an adapter are to be merged into a base, decided and checked before anything is written.
package struct MergePlan: Sendable {
    /// One module's part.
    package struct Module: Sendable, Equatable {
        /// The module's path.
        package let module: String
        /// The base's tensor that the update is added to.
        package let source: String
        /// The tensor that holds the sum; not `source` only for an output head that was the embedding so far.
        package let target: String
        /// The factor on the update: c of the gate, 1 for a dense adapter.
        package let factor: Float
        /// What B A is multiplied by: the adapter's scaling times `factor`.
        package let scale: Float
        /// sqrt(sum |S M - factor M|^2 / sum |W0 x|^2) over the tokens of the statistics; 0 for a dense adapter.
        package let expectedError: Double
        /// Whether the gate never opened over the tokens of the statistics, so that the base's weight stays as it is.
        package let neverFires: Bool
    }

    /// Every module of the adapter, in the base's order.
    package let modules: [Module]
    /// The set of tokens that factors and errors are of; nil for a dense adapter.
    package let source: String?

    /// The modules whose weights change.
    package var merged: [Module] { modules.filter { !$0.neverFires } }

    /// Decides how `adapter`, whose modules are checked against the base, is merged.
    ///
    /// Throws `AdapterError.missingStatistics` for a gated adapter without statistics, `TransformError.nothingToMerge`
    /// if no module ever fires or every update is zero.
    init(_ adapter: AdapterDirectory, gates: MergeGates, embeddingsAreTied: Bool) throws {
        var modules: [Module] = []
        for module in adapter.modules {
            var factor = 1.0
            var error = 0.0
            var neverFires = false
            if adapter.configuration.isGated {
                guard let found = adapter.statistics?[module], found.tokens > 0 else {
                    throw AdapterError.missingStatistics(
                        adapter: adapter.displayName, module: adapter.statistics == nil ? nil : module,
                        remedy: ModuleRanking.statisticsRemedy)
                }
                neverFires = found.active == 0
                factor = neverFires ? 0 : gates == .drop ? 1 : found.bestFactor ?? 1
                error = found.replacementError(factor: factor)
            }
            let isTiedHead = module == CheckpointNames.outputHeadModule && embeddingsAreTied
            let target = CheckpointNames.weight(of: module)
            modules.append(
                Module(
                    module: module, source: isTiedHead ? CheckpointNames.embedding : target, target: target,
                    factor: Float(factor),
                    scale: Float(Double(adapter.configuration.scaling(for: module)) * factor), expectedError: error,
                    neverFires: neverFires))
        }
        self.modules = modules
        source = adapter.statistics?.source
        if merged.isEmpty {
            throw TransformError.nothingToMerge(
                adapter: adapter.displayName,
                reason: "no module's gate ever opened over the tokens of \(source ?? "its statistics")")
        }
        let moving = merged.filter { Self.isMoving($0, adapter) }
        if moving.isEmpty {
            throw TransformError.nothingToMerge(
                adapter: adapter.displayName, reason: "every update is zero; has the adapter been trained?")
        }
    }

    /// Whether neither factor of the update is zero throughout.
    private static func isMoving(_ module: Module, _ adapter: AdapterDirectory) -> Bool {
        guard module.scale != 0 else { return false }
        return adapter.configuration.tensorRoles.allSatisfy { role in
            adapter.tensor(module.module, role.suffix)?.values.contains { $0 != 0 } ?? false
        }
    }
}
