import Adapters
import ArgumentParser
import Compute
import Workflows

/// The numbers of a new adapter, by peft's names; which belong to which method is for `MethodOptions` to say.
struct MethodArguments: ParsableArguments {
    @Option(help: "Rank r of the update. (default: 32; adalora 64; vera 256)")
    var rank: Int?

    @Option(help: "lora, dora, adalora: the update is scaled by alpha / rank. (default: 16; adalora 32)")
    var alpha: Double?

    @Option(help: "Dropout of the adapter's input in training. (default: 0)")
    var dropout: Double?

    @Flag(help: "lora, dora: scale by alpha / sqrt(rank) (rsLoRA).")
    var rslora = false

    @Flag(help: "lora: B has a bias.")
    var loraBias = false

    @Option(
        help: ArgumentHelp(
            "lora, dora: rank of some modules, such as 'down_proj=64'; may be repeated.", valueName: "name=rank"))
    var rankPattern: [String] = []

    @Option(
        help: ArgumentHelp(
            "lora, dora: alpha of some modules, such as 'down_proj=32'; may be repeated.", valueName: "name=alpha"))
    var alphaPattern: [String] = []

    @Option(help: ArgumentHelp("adalora: the first rank, as --rank.", valueName: "rank"))
    var initR: Int?

    @Option(
        help: ArgumentHelp(
            "adalora: a module's mean rank at the end. (default: half of the first)", valueName: "rank"))
    var targetR: Int?

    @Option(help: ArgumentHelp("adalora: steps before the first rank goes. (default: 0)", valueName: "steps"))
    var tinit: Int?

    @Option(help: ArgumentHelp("adalora: steps at the end with fixed ranks. (default: 0)", valueName: "steps"))
    var tfinal: Int?

    @Option(
        name: [.customLong("delta-t"), .customLong("deltaT")],
        help: ArgumentHelp("adalora: steps between choices of ranks. (default: 1)", valueName: "steps"))
    var deltaT: Int?

    @Option(help: "adalora: decay of the mean sensitivity. (default: 0.85)")
    var beta1: Double?

    @Option(help: "adalora: decay of the mean uncertainty. (default: 0.85)")
    var beta2: Double?

    @Option(help: ArgumentHelp("adalora: weight of the penalty on the loss. (default: 0.5)", valueName: "weight"))
    var orthRegWeight: Double?

    @Option(help: ArgumentHelp("adapter: width of the narrow layer, as --rank. (default: 32)", valueName: "size"))
    var adapterSize: Int?

    @Option(
        help: ArgumentHelp(
            "adapter: \(Activation.allCases.map(\.rawValue).joined(separator: ", ")). (default: tanh)",
            valueName: "function"))
    var nonLinearity: Activation?

    @Option(help: ArgumentHelp("adapter: factor on the update. (default: 1)", valueName: "factor"))
    var scaling: Double?

    @Option(help: ArgumentHelp("vera: first value of d. (default: 0.1)", valueName: "value"))
    var dInitial: Double?

    @Option(help: ArgumentHelp("vera: seed of the shared projections. (default: 0)", valueName: "seed"))
    var projectionKey: Int?

    /// The options that were given.
    var options: MethodOptions {
        get throws {
            var options = MethodOptions()
            options.rank = rank
            options.initialRank = initR
            options.adapterSize = adapterSize
            options.alpha = alpha
            options.dropout = dropout
            options.usesRSLoRA = rslora
            options.hasLoRABias = loraBias
            options.rankPattern = try rankPattern.map { text in
                let (name, value) = try parsePair(text)
                guard let rank = Int(value) else {
                    throw ValidationError("--rank-pattern \(text): \(value) is no rank")
                }
                return .init(name, rank)
            }
            options.alphaPattern = try alphaPattern.map { text in
                let (name, value) = try parsePair(text)
                guard let alpha = Double(value) else {
                    throw ValidationError("--alpha-pattern \(text): \(value) is no number")
                }
                return .init(name, alpha)
            }
            options.targetRank = targetR
            options.initialSteps = tinit
            options.finalSteps = tfinal
            options.interval = deltaT
            options.beta1 = beta1
            options.beta2 = beta2
            options.orthogonalWeight = orthRegWeight
            options.activation = nonLinearity
            options.scaling = scaling
            options.initialD = dInitial
            options.projectionKey = projectionKey
            return options
        }
    }

    /// Both sides of `name=value`.
    private func parsePair(_ text: String) throws -> (name: String, value: String) {
        guard let mark = text.lastIndex(of: "="), mark != text.startIndex else {
            throw ValidationError("'\(text)' should have the form name=value")
        }
        return (String(text[..<mark]), String(text[text.index(after: mark)...]))
    }
}

extension Activation: ExpressibleByArgument {}
