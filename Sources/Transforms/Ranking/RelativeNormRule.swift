import Adapters

/// Relative norm, the mean over the tokens of r = |M(x)| / |W0 x| (arXiv 2511.16147, section 3.1), without those of
/// infinite r: modules whose update is large beside what it is added to come first, whatever their gates do.
struct RelativeNormRule: RankingRule {
    let name = "relative-norm"
    let heading: String? = "mean r"
    let putsLargestFirst = true

    func score(_ statistics: ModuleStatistics) -> Double { statistics.meanRatio ?? 0 }
}
