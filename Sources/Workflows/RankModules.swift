import Adapters
import CheckpointIO
import Transforms

/// What `rank-modules` is asked to do.
public struct RankRequest: Sendable {
    /// The trained, gated adapter.
    public var adapterPath: String
    /// The name of the rule by which modules are ranked; nil for sparsity.
    public var rule: String?
    /// How many modules to choose, such as `50%` or `40`; nil for no choice.
    public var keep: String?
    /// Where the choice goes; nil for nowhere.
    public var selectionPath: String?
    /// Whether an existing file there is replaced.
    public var replaces = false

    /// A request for the ranking alone.
    public init(adapterPath: String) {
        self.adapterPath = adapterPath
    }

    /// The place of the choice; nil for nowhere.
    func output(_ rehearsal: OutputRehearsal? = nil) -> OutputTarget? {
        selectionPath.map { OutputTarget($0, replacing: replaces, rehearsal: rehearsal) }
    }
}

/// The ranking of an adapter's modules, and the choice among them where one was asked for.
public struct RankReport: Sendable {
    /// The adapter's path.
    public let adapter: String
    /// The modules in the rule's order.
    package let ranking: ModuleRanking
    /// The chosen modules.
    package let selection: ModuleSelection?
}

/// Ranks an adapter's modules by a rule over what its statistics hold, and writes the choice among them where one is
/// wanted.
///
/// Throws what reading the adapter throws, `TransformError.notGated`, `.unknownRule`, `.badKeepRule`, `AdapterError.missingStatistics`,
/// `.outputIsInput`, `WorkflowError.conflict` for a file to write but no rule, and `CheckpointError` for the file.
package func rankModules(_ request: RankRequest) throws -> RankReport {
    try rankModules(request, to: request.output())
}

func rankModules(_ request: RankRequest, to output: OutputTarget?) throws -> RankReport {
    if output != nil, request.keep == nil {
        throw WorkflowError.conflict("\(.output) writes a selection, so it needs \(.keep), such as \(.keep, "50%")")
    }
    if let output { try checkOutput(output.path, keeps: [request.adapterPath]) }
    let rule = try request.keep.map { text throws(TransformError) in try KeepRule(text) }
    let order = try request.rule.map { name throws(TransformError) in try RankingRules.named(name) }
    let adapter = try AdapterDirectory.read(request.adapterPath)
    let ranking = try ModuleRanking(adapter, by: order ?? RankingRules.standard)
    let selection = try rule.map { rule throws(TransformError) in
        try ranking.selection(rule, adapter: adapter.displayName)
    }
    if let selection, let output { try selection.write(to: output) }
    return RankReport(adapter: adapter.displayName, ranking: ranking, selection: selection)
}
