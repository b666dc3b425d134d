import Adapters

/// What stands for a gate, which depends on the token, in a weight, which cannot: the seam between statistics and
/// merges. Each rule is one file and an entry in `MergeGates.allCases`.
package protocol GateRule: Sendable {
    /// What a module's update becomes.
    ///
    /// - Parameters:
    ///   - change: what the update makes of the weight with the gate always open. A rule can multiply it
    ///     (`multiplied(by:)`) or give a low-rank one a map of z (`LowRankChange.map`), which is the basis of the
    ///     statistics' inner sums.
    ///   - statistics: what the gate did; it opened for at least one token.
    /// - Returns: the change, and the relative error of standing for the gate over these tokens,
    ///   sqrt(sum |S M - M'|^2 / sum |W0 x|^2).
    func replace(_ change: WeightChange, _ statistics: ModuleStatistics) -> (change: WeightChange, error: Double)
}

/// The rules by name: what becomes of a gate in a merge, or in an export that has no place for it.
package struct MergeGates: RawRepresentable, Sendable, Hashable, CaseIterable {
    /// Every rule, the usual one first.
    package static let allCases = [scale, drop]

    /// The name on the command line and in records, such as `scale`.
    package let rawValue: String
    /// The rule.
    let rule: any GateRule

    /// An entry of the table.
    init(_ name: String, _ rule: any GateRule) {
        rawValue = name
        self.rule = rule
    }

    /// The rule of that name; nil for none.
    package init?(rawValue: String) {
        guard let entry = Self.allCases.first(where: { $0.rawValue == rawValue }) else { return nil }
        self = entry
    }

    package static func == (left: MergeGates, right: MergeGates) -> Bool { left.rawValue == right.rawValue }

    package func hash(into hasher: inout Hasher) { hasher.combine(rawValue) }
}
