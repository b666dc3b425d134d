import Adapters

/// Sparsity, the part of the tokens that a module's gate skips (arXiv 2511.16147, section 4.3): modules whose update most
/// tokens use come first.
struct SparsityRule: RankingRule {
    let name = "sparsity"
    let heading: String? = nil
    let putsLargestFirst = false

    func score(_ statistics: ModuleStatistics) -> Double { statistics.sparsity }
}
