import Adapters

extension MergeGates {
    /// The update times c = sum S|M|^2 / sum |M|^2 over the tokens of the adapter's statistics: the single factor that
    /// is nearest to the gate in the least-squares sense.
    package static let scale = MergeGates("scale", ScaleGates())
}

/// See `MergeGates.scale`. An update that is 0 throughout stays as it is.
struct ScaleGates: GateRule {
    func replace(_ change: WeightChange, _ statistics: ModuleStatistics) -> (change: WeightChange, error: Double) {
        let factor = statistics.bestFactor ?? 1
        return (change.multiplied(by: factor), statistics.replacementError(factor: factor))
    }
}
