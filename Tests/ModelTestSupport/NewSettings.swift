import Adapters
import CheckpointIO

extension AdapterKind {
    /// The settings of a new adapter of this kind with these options, as far as the kind has them.
    package func newSettings(_ options: [String: JSONValue]) throws -> any MethodSettings {
        let own = Set(settings.options.map(\.key) + [MethodOption.targetsKey])
        let values = options.filter { own.contains($0.key) }.reduce(into: JSONObject()) { $0[$1.key] = $1.value }
        return try settings.init(options: FieldReader(values, file: "the options"), paper: nil)
    }

    /// The same for the numbers that most kinds have.
    package func newSettings(
        rank: Int, alpha: Double, dropout: Double = 0, targets: TargetSpecification = .allLinear
    ) throws -> any MethodSettings {
        try newSettings([
            "rank": .integer(rank), "alpha": .real(alpha), "dropout": .real(dropout),
            MethodOption.targetsKey: targets.json,
        ])
    }
}
