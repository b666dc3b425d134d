import Adapters

extension MergeGates {
    /// The whole update, as if the gate were always open.
    package static let drop = MergeGates("drop", DropGates())
}

/// See `MergeGates.drop`.
struct DropGates: GateRule {
    func replace(_ change: WeightChange, _ statistics: ModuleStatistics) -> (change: WeightChange, error: Double) {
        (change, statistics.replacementError(factor: 1))
    }
}
