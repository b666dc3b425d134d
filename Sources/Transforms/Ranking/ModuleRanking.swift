import Adapters
import TensorCore

/// The modules of a gated adapter in the order of a rule, those that matter most first.
package struct ModuleRanking: Sendable {
    /// One module's place.
    package struct Entry: Sendable, Equatable {
        /// The module's path.
        package let module: String
        /// The gate's threshold.
        package let tau: Float
        /// The part of the tokens that the gate skips, in 0...1.
        package let sparsity: Double
        /// Tokens seen.
        package let tokens: Int
        /// Tokens with the gate open.
        package let active: Int
        /// r of the module's update, 0 where a method took it away; nil for a method without ranks.
        package let rank: Int?
        /// Position in checkpoint order, from 0.
        package let position: Int
        /// What the rule says of it.
        package let score: Double
    }

    /// The rule.
    package let rule: any RankingRule
    /// In the rule's order, ties in checkpoint order, modules of rank 0 last.
    package let entries: [Entry]
    /// The set of tokens that the figures are of.
    package let source: String
    /// The same by layer and projection, rank-0 modules left out.
    package let table: SparsityTable

    /// Ranks the modules of an adapter by its stored statistics.
    ///
    /// Throws `TransformError.notGated` for a dense adapter, `AdapterError.missingStatistics` where no pass has been
    /// made.
    package init(_ adapter: AdapterDirectory, by rule: any RankingRule = RankingRules.standard) throws {
        guard adapter.configuration.isGated else {
            let method = adapter.configuration.kind.methodName(gated: true)
            throw TransformError.notGated(
                adapter: adapter.displayName, method: adapter.configuration.methodName,
                need: """
                    modules are ranked by how many tokens their gates skip, so put gates on it (inject with \
                    \(.adoptedAdapter) and \(.method, method)) and train them (train with \(.thresholdsOnly, true))
                    """)
        }
        guard let statistics = adapter.statistics else {
            throw AdapterError.missingStatistics(
                adapter: adapter.displayName, module: nil, remedy: Self.statisticsRemedy)
        }
        let byModule = NameTable(
            statistics.modules.map { ($0.module, $0) }, uniquingKeysWith: { first, _ in first })
        var entries: [Entry] = []
        for (position, module) in adapter.modules.enumerated() {
            guard let found = byModule[module], found.tokens > 0, let tau = adapter.threshold(module) else {
                throw AdapterError.missingStatistics(
                    adapter: adapter.displayName, module: module, remedy: Self.statisticsRemedy)
            }
            entries.append(
                Entry(
                    module: module, tau: tau, sparsity: found.sparsity, tokens: found.tokens, active: found.active,
                    rank: adapter.configuration.rank(for: module), position: position, score: rule.score(found)))
        }
        self.init(entries: entries, source: statistics.source, by: rule)
    }

    /// Ranks these entries.
    package init(entries: [Entry], source: String, by rule: any RankingRule = RankingRules.standard) {
        let sign: Double = rule.putsLargestFirst ? -1 : 1
        self.entries = entries.sorted {
            ($0.rank == 0 ? 1 : 0, sign * $0.score, $0.position) < ($1.rank == 0 ? 1 : 0, sign * $1.score, $1.position)
        }
        self.source = source
        self.rule = rule
        table = SparsityTable(
            entries.sorted { $0.position < $1.position }.map { ($0.module, $0.rank == 0 ? nil : $0.sparsity) })
    }

    /// What to do about an adapter without statistics.
    package static let statisticsRemedy = "train it first: 'tspeft train' measures its gates at the end"

    /// The modules that `rule` keeps, in checkpoint order: the first of the ranking, never one of rank 0.
    ///
    /// Throws `.badKeepRule` where the rule keeps none, or more than there are.
    package func selection(_ rule: KeepRule, adapter: String) throws(TransformError) -> ModuleSelection {
        let wanted = try rule.count(of: entries.count)
        let kept = entries.filter { $0.rank != 0 }.prefix(wanted).sorted { $0.position < $1.position }
        guard !kept.isEmpty else {
            throw .badKeepRule(rule.text, expected: "at least one module with a rank above 0")
        }
        return ModuleSelection(
            modules: kept.map(\.module), source: source, keep: rule.text, rule: self.rule.name, adapter: adapter,
            consideredCount: entries.count)
    }
}
