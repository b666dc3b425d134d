import Adapters
import Compute

/// What a new adapter is asked to be, by peft's names where it has them; nil is the method's default.
///
/// The defaults: rank 32 and alpha 16 for LoRA and DoRA, first rank 64, target 32 and alpha 32 for AdaLoRA (all the
/// paper's commonsense settings), a parallel adapter of size 32 (the paper's for language understanding) with scaling
/// 1, VeRA of rank 256; the rest as in peft.
package struct MethodOptions: Sendable, Equatable {
    /// r: AdaLoRA's first rank, a parallel adapter's size.
    package var rank: Int?
    /// `rank` by AdaLoRA's name.
    package var initialRank: Int?
    /// `rank` by the parallel adapter's name.
    package var adapterSize: Int?
    /// alpha; scaling is alpha / r.
    package var alpha: Double?
    /// Dropout of x in training.
    package var dropout: Double?
    /// Whether scaling is alpha / sqrt(r).
    package var usesRSLoRA = false
    /// Whether LoRA's B has a bias.
    package var hasLoRABias = false
    /// Ranks of some modules.
    package var rankPattern: [AdapterConfiguration.PatternEntry<Int>] = []
    /// Alphas of some modules.
    package var alphaPattern: [AdapterConfiguration.PatternEntry<Double>] = []
    /// AdaLoRA's mean rank at the end; half of the first unless given.
    package var targetRank: Int?
    /// Steps before AdaLoRA takes the first rank.
    package var initialSteps: Int?
    /// Steps at the end in which AdaLoRA's ranks stay.
    package var finalSteps: Int?
    /// Steps between AdaLoRA's choices.
    package var interval: Int?
    /// Decay of AdaLoRA's mean sensitivity.
    package var beta1: Double?
    /// Decay of AdaLoRA's mean uncertainty.
    package var beta2: Double?
    /// The weight of AdaLoRA's penalty.
    package var orthogonalWeight: Double?
    /// A parallel adapter's f.
    package var activation: Activation?
    /// A parallel adapter's factor.
    package var scaling: Double?
    /// The first value of VeRA's d.
    package var initialD: Double?
    /// The seed of VeRA's projections.
    package var projectionKey: Int?

    /// All defaults.
    package init() {}

    /// An option that was given: its name on the command line and the methods that have it.
    private struct Given {
        let name: String
        let kinds: [AdapterKind]
    }

    private var given: [Given] {
        let all: [(String, Bool, [AdapterKind])] = [
            ("--rank", rank != nil, AdapterKind.allCases),
            ("--init-r", initialRank != nil, [.adalora]),
            ("--adapter-size", adapterSize != nil, [.adapter]),
            ("--alpha", alpha != nil, [.lora, .dora, .adalora]),
            ("--dropout", dropout != nil, AdapterKind.allCases),
            ("--rslora", usesRSLoRA, [.lora, .dora]),
            ("--lora-bias", hasLoRABias, [.lora]),
            ("--rank-pattern", !rankPattern.isEmpty, [.lora, .dora]),
            ("--alpha-pattern", !alphaPattern.isEmpty, [.lora, .dora]),
            ("--target-r", targetRank != nil, [.adalora]),
            ("--tinit", initialSteps != nil, [.adalora]),
            ("--tfinal", finalSteps != nil, [.adalora]),
            ("--delta-t", interval != nil, [.adalora]),
            ("--beta1", beta1 != nil, [.adalora]),
            ("--beta2", beta2 != nil, [.adalora]),
            ("--orth-reg-weight", orthogonalWeight != nil, [.adalora]),
            ("--non-linearity", activation != nil, [.adapter]),
            ("--scaling", scaling != nil, [.adapter]),
            ("--d-initial", initialD != nil, [.vera]),
            ("--projection-key", projectionKey != nil, [.vera]),
        ]
        return all.filter(\.1).map { Given(name: $0.0, kinds: $0.2) }
    }

    /// The names of the options that were given.
    package var givenNames: [String] { given.map(\.name) }

    /// Throws `.conflict` for an option that was given and does not belong to `kind`, naming those that it belongs to,
    /// and for two names of the rank with different values.
    func check(for kind: AdapterKind) throws(WorkflowError) {
        for option in given where !option.kinds.contains(kind) {
            let owners = option.kinds.map(\.rawValue).joined(separator: " and ")
            throw .conflict("\(option.name) belongs to \(owners), not to \(kind.rawValue)")
        }
        for (name, value) in [("--init-r", initialRank), ("--adapter-size", adapterSize)] {
            if let rank, let value, rank != value {
                throw .conflict("--rank \(rank) and \(name) \(value) are two names of one number")
            }
        }
    }
}

/// A new adapter's numbers: the options, else the preset's, else the method's defaults.
struct MethodSettings {
    let rank: Int
    let alpha: Double
    let dropout: Double
    let adaLoRA: AdaLoRASettings
    let bottleneck: BottleneckSettings
    let vera: VeRASettings

    /// Throws `WorkflowError.conflict` for options of another method.
    init(_ options: MethodOptions, _ kind: AdapterKind, _ preset: Preset?) throws(WorkflowError) {
        try options.check(for: kind)
        let defaults = Self.defaults(kind)
        rank =
            options.rank ?? options.initialRank ?? options.adapterSize ?? preset?.rank(for: kind) ?? defaults.rank
        alpha = options.alpha ?? preset?.alpha(for: kind) ?? defaults.alpha
        dropout = options.dropout ?? preset?.dropout ?? 0
        var adaLoRA = AdaLoRASettings()
        // A half, the paper's ratio, unless all of the ranks come from the preset.
        let presetTarget = rank == preset?.rank(for: kind) ? preset?.rank : nil
        adaLoRA.targetRank = options.targetRank ?? presetTarget ?? (rank + 1) / 2
        adaLoRA.initialSteps = options.initialSteps ?? adaLoRA.initialSteps
        adaLoRA.finalSteps = options.finalSteps ?? adaLoRA.finalSteps
        adaLoRA.interval = options.interval ?? adaLoRA.interval
        adaLoRA.beta1 = options.beta1 ?? adaLoRA.beta1
        adaLoRA.beta2 = options.beta2 ?? adaLoRA.beta2
        adaLoRA.orthogonalWeight = options.orthogonalWeight ?? adaLoRA.orthogonalWeight
        self.adaLoRA = adaLoRA
        var bottleneck = BottleneckSettings()
        bottleneck.activation = options.activation ?? bottleneck.activation
        bottleneck.scaling = options.scaling ?? preset?.scaling ?? bottleneck.scaling
        self.bottleneck = bottleneck
        var vera = VeRASettings()
        vera.initialD = options.initialD ?? vera.initialD
        vera.projectionKey = options.projectionKey ?? vera.projectionKey
        self.vera = vera
    }

    private static func defaults(_ kind: AdapterKind) -> (rank: Int, alpha: Double) {
        switch kind {
        case .lora, .dora: (32, 16)
        case .adalora: (64, 32)
        case .adapter: (32, 16)
        case .vera: (256, 16)
        }
    }
}
