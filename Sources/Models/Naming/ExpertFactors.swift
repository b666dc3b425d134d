/// Which axis of a packed tensor [experts, ...] the factor A of an update runs along, as it is in memory while training:
/// by this alone a square matrix of experts can be told from its transpose.
///
/// peft takes a module's word (`is_transposed`) for how its tensors are stored since 0.19; before that A ran along the
/// first axis of every expert's matrix, whatever the model computes with it.
package enum ExpertFactors: Sendable, Equatable {
    /// As peft has it since 0.19.
    case byModule
    /// As peft had it up to 0.18.
    case alongFirstAxis
    /// The adapter does not say by which version it was written.
    case unknown

    /// Whether A runs along the outputs of a model's experts, so that B A is the transpose of their update; nil where it
    /// is not known.
    func areExchanged(modelTypes: [String]) -> Bool? {
        let byModule = !NamingTable.unmarkedExperts.isDisjoint(with: modelTypes)
        switch self {
        case .byModule: return byModule
        case .alongFirstAxis: return Self.alongFirstAxis(modelTypes)
        case .unknown: return Self.alongFirstAxis(modelTypes) == byModule ? byModule : nil
        }
    }

    private static func alongFirstAxis(_ types: [String]) -> Bool? {
        if !NamingTable.turnedExperts.isDisjoint(with: types) { return nil }
        if !NamingTable.transposedExperts.isDisjoint(with: types) { return false }
        return NamingTable.plainExperts.isDisjoint(with: types) ? nil : true
    }
}
