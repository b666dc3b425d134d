import Adapters
import CheckpointIO
import Transforms

/// What `prune` is asked to do.
public struct PruneRequest: Sendable {
    /// Which modules are kept.
    public enum Choice: Sendable {
        /// So many of the first in the order of `rule`, as `50%` or `40`.
        case keep(String)
        /// Those of a selection file.
        case selection(path: String)
    }

    /// The adapter.
    public var adapterPath: String
    /// Which modules are kept.
    public var choice: Choice
    /// The name of the rule by which modules are ranked where some are kept; nil for sparsity.
    public var rule: String?
    /// Where the pruned adapter goes.
    public var outputPath: String
    /// Whether an existing output is replaced.
    public var replaces = false

    /// A request that replaces nothing.
    public init(adapterPath: String, choice: Choice, outputPath: String) {
        self.adapterPath = adapterPath
        self.choice = choice
        self.outputPath = outputPath
    }
}

/// What `prune` did.
public struct PruneReport: Sendable {
    /// The kept modules.
    package let selection: ModuleSelection
    /// Modules of the adapter before.
    public let moduleCount: Int
    /// Numbers of the adapter before, thresholds included.
    public let parameterCount: Int
    /// Numbers that are left, thresholds included.
    public let keptParameterCount: Int
    /// Mean sparsity before and of the kept modules; nil without statistics.
    public let sparsity: (before: Double, kept: Double)?
}

/// Writes the adapter with only the chosen modules.
///
/// Throws what reading the adapter throws, `TransformError.outputIsInput` for an output that would replace the adapter,
/// what `rankModules` throws for a rule, `WorkflowError.conflict` for one beside a selection file,
/// `AdapterError.unknownModule` for a selected module that is not there.
package func pruneAdapter(_ request: PruneRequest) throws -> PruneReport {
    try pruneAdapter(request, to: request.output())
}

func pruneAdapter(_ request: PruneRequest, to output: OutputTarget) throws -> PruneReport {
    if request.rule != nil, case .selection = request.choice {
        throw WorkflowError.conflict("\(.rankingRule) is for \(.keep); a selection has its modules already")
    }
    let rule = try request.rule.map { name throws(TransformError) in try RankingRules.named(name) }
    let adapter = try AdapterDirectory.read(request.adapterPath)
    try checkOutput(output.path, keeps: [request.adapterPath])
    let selection: ModuleSelection
    switch request.choice {
    case .keep(let text):
        selection = try ModuleRanking(adapter, by: rule ?? RankingRules.standard)
            .selection(KeepRule(text), adapter: adapter.displayName)
    case .selection(let path):
        try checkOutput(output.path, keeps: [path])
        selection = try ModuleSelection.read(path)
    }
    let pruned = try adapter.pruned(to: selection)
    try pruned.write(to: output)
    var sparsity: (before: Double, kept: Double)?
    if adapter.configuration.isGated, let before = adapter.statistics, let kept = pruned.statistics {
        sparsity = (
            adapter.configuration.meanSparsity(before.modules), pruned.configuration.meanSparsity(kept.modules)
        )
    }
    return PruneReport(
        selection: selection, moduleCount: adapter.modules.count,
        parameterCount: adapter.parameterCount + adapter.thresholds.count,
        keptParameterCount: pruned.parameterCount + pruned.thresholds.count, sparsity: sparsity)
}
