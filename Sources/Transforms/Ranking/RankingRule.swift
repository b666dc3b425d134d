import Adapters

/// By what modules are ranked: the seam between statistics and selections. Each rule is one file and an entry in `all`
/// of `RankingRules`.
package protocol RankingRule: Sendable {
    /// The name on the command line and in selections, such as `sparsity`.
    var name: String { get }
    /// What the score is called in tables; nil where they have it anyway, as sparsity.
    var heading: String? { get }
    /// Whether modules with larger scores come first.
    var putsLargestFirst: Bool { get }
    /// The score of a module that has tokens.
    func score(_ statistics: ModuleStatistics) -> Double
}

/// The table of rules.
package enum RankingRules {
    /// Every rule, the usual one first.
    package static let all: [any RankingRule] = [SparsityRule(), RelativeNormRule()]

    /// The rule that is used where none is named.
    package static var standard: any RankingRule { all[0] }

    /// The rule of that name; throws `.unknownRule`.
    package static func named(_ name: String) throws(TransformError) -> any RankingRule {
        guard let rule = all.first(where: { $0.name == name }) else {
            throw .unknownRule(name, known: all.map(\.name))
        }
        return rule
    }
}
