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
        /// Whether the adapter has the whole weight (`modules_to_save`), which takes the place of the base's.
        package var isWhole = false
    }

    /// Every module of the adapter, in the base's order, and behind them the layers that were trained whole.
    package let modules: [Module]
    /// Whether the output head, which is the embedding so far, must get a tensor of its own that holds the embedding's
    /// old weights: the adapter has another embedding.
    package let copiesHead: Bool
    /// The set of tokens that factors and errors are of; nil for a dense adapter.
    package let source: String?

    /// The modules whose weights change.
    package var merged: [Module] { modules.filter { !$0.neverFires } }

    /// The head that becomes a tensor of its own, merged or copied; nil where it stays what it is.
    var untiedHead: Module? {
        if copiesHead {
            return Module(
                module: CheckpointNames.outputHeadModule, source: CheckpointNames.embedding,
                target: CheckpointNames.outputHead, factor: 0, scale: 0, expectedError: 0, neverFires: true)
        }
        return merged.first { $0.source != $0.target }
    }

    /// Decides how `adapter`, whose modules are checked against the base, is merged.
    ///
    /// Throws `AdapterError.missingStatistics` for a gated adapter without statistics, `TransformError.nothingToMerge`
    /// if no module ever fires or every update is zero, `.unsupported` where a layer is adapted and trained whole.
    init(
        _ adapter: AdapterDirectory, gates: MergeGates, wholeModules: [WholeModule], embeddingsAreTied: Bool
    ) throws {
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
        for whole in wholeModules {
            guard !modules.contains(where: { $0.module == whole.path }) else {
                throw TransformError.unsupported(
                    path: adapter.displayName,
                    reason: "it both adapts '\(whole.path)' and saves it whole, and one weight cannot be both")
            }
            let isTiedHead = whole == .outputHead && embeddingsAreTied
            modules.append(
                Module(
                    module: whole.path, source: isTiedHead ? CheckpointNames.embedding : whole.weightName,
                    target: whole.weightName, factor: 1, scale: 1, expectedError: 0, neverFires: false, isWhole: true))
        }
        self.modules = modules
        copiesHead =
            embeddingsAreTied && wholeModules.contains(.embedding)
            && !modules.contains { $0.target == CheckpointNames.outputHead && !$0.neverFires }
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
        if module.isWhole { return true }
        guard module.scale != 0 else { return false }
        return adapter.configuration.tensorRoles.allSatisfy { role in
            adapter.tensor(module.module, role.suffix)?.values.contains { $0 != 0 } ?? false
        }
    }
}
