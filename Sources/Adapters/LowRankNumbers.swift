import CheckpointIO

/// The numbers that LoRA and DoRA have in common; peft's names in parentheses.
package struct LowRankNumbers: Sendable, Equatable {
    /// r where no pattern says otherwise (`r`).
    package var rank: Int
    /// Alpha where no pattern says otherwise (`lora_alpha`).
    package var alpha: Double
    /// Dropout of x in training (`lora_dropout`).
    package var dropout: Double
    /// Whether scaling is alpha / sqrt(r) (Kalajdzievski, arXiv 2312.03732) in place of alpha / r (`use_rslora`).
    package var usesRSLoRA: Bool
    /// Ranks of some modules; the first match counts (`rank_pattern`).
    package var rankPattern: [PatternEntry<Int>] {
        get { ranks.entries }
        set { ranks = PatternTable(newValue) }
    }
    /// Alphas of some modules; the first match counts (`alpha_pattern`).
    package var alphaPattern: [PatternEntry<Double>] {
        get { alphas.entries }
        set { alphas = PatternTable(newValue) }
    }
    private var ranks: PatternTable<Int>
    private var alphas: PatternTable<Double>

    /// These numbers; peft's defaults for the rest.
    package init(
        rank: Int = 8, alpha: Double = 8, dropout: Double = 0, usesRSLoRA: Bool = false,
        rankPattern: [PatternEntry<Int>] = [], alphaPattern: [PatternEntry<Double>] = []
    ) {
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.usesRSLoRA = usesRSLoRA
        ranks = PatternTable(rankPattern)
        alphas = PatternTable(alphaPattern)
    }

    init(reading fields: FieldReader) throws(AdapterError) {
        self.init(
            rank: try fields.integer("r") ?? 8, alpha: try fields.number("lora_alpha") ?? 8,
            dropout: try fields.number("lora_dropout") ?? 0, usesRSLoRA: try fields.bool("use_rslora") ?? false,
            rankPattern: try fields.integerPattern("rank_pattern"),
            alphaPattern: try fields.numberPattern("alpha_pattern"))
    }

    /// r of the module at `path`.
    package func rank(for path: String) -> Int { ranks.first(matching: path) ?? rank }

    /// Alpha of the module at `path`.
    package func alpha(for path: String) -> Double { alphas.first(matching: path) ?? alpha }

    /// Rank 32 and alpha 16, the paper's for commonsense tasks, unless something else is said.
    init(options: FieldReader, paper: PaperNumbers?) throws(AdapterError) {
        self.init(
            rank: try options.integer("rank") ?? paper?.rank ?? 32,
            alpha: try options.number("alpha") ?? paper.map { $0.scaling * Double($0.rank) } ?? 16,
            dropout: try options.number("dropout") ?? paper?.dropout ?? 0,
            usesRSLoRA: try options.bool("rslora") ?? false,
            rankPattern: try options.integerPattern("rank_pattern"),
            alphaPattern: try options.numberPattern("alpha_pattern"))
    }
}

/// Settings that hold `LowRankNumbers`.
package protocol LowRankSettings: MethodSettings {
    /// The numbers.
    var numbers: LowRankNumbers { get set }
}

extension LowRankSettings {
    /// Options of LoRA and DoRA.
    static var lowRankOptions: [MethodOption] {
        [
            .rank(initial: "32"), .alpha(initial: "16"), .dropout,
            MethodOption("rslora", .flag, "scale by alpha / sqrt(rank) (rsLoRA)"),
        ]
    }

    /// Options of LoRA and DoRA by module patterns.
    static var patternOptions: [MethodOption] {
        [
            MethodOption(
                "rank_pattern", .integers, "rank of some modules, such as 'down_proj=64'; may be repeated",
                valueName: "name=rank"),
            MethodOption(
                "alpha_pattern", .numbers, "alpha of some modules, such as 'down_proj=32'; may be repeated",
                valueName: "name=alpha"),
        ]
    }

    /// The fields that the two write.
    var lowRankValues: [(name: String, value: JSONValue)] {
        [
            ("r", .integer(numbers.rank)), ("lora_alpha", JSONValue.shortest(numbers.alpha)),
            ("lora_dropout", .real(numbers.dropout)), ("use_rslora", .bool(numbers.usesRSLoRA)),
            ("rank_pattern", .object(numbers.rankPattern.json { .integer($0) })),
            ("alpha_pattern", .object(numbers.alphaPattern.json { JSONValue.shortest($0) })),
        ]
    }

    package func check(targets: TargetSpecification) throws(AdapterError) {
        for rank in [numbers.rank] + numbers.rankPattern.map(\.value) { try Self.check(rank: rank) }
        for alpha in [numbers.alpha] + numbers.alphaPattern.map(\.value) { try Self.check(finite: alpha, "alpha") }
        try numbers.rankPattern.check()
        try numbers.alphaPattern.check()
    }

    package var rank: Int? { numbers.rank }
    package var alpha: Double? { numbers.alpha }
    package var dropout: Double { numbers.dropout }

    /// r of the module at `path`.
    package func rank(for path: String) -> Int? { numbers.rank(for: path) }

    /// alpha / r, or alpha / sqrt(r), each of the module at `path`.
    package func scaling(for path: String) -> Float {
        let rank = Double(numbers.rank(for: path))
        return Float(numbers.alpha(for: path) / (numbers.usesRSLoRA ? rank.squareRoot() : rank))
    }

    package func renamed(_ names: [(old: String, new: String)]) -> Self {
        var copy = self
        if !numbers.rankPattern.isEmpty {
            copy.numbers.rankPattern = names.map { .init($0.new, numbers.rank(for: $0.old)) }
        }
        if !numbers.alphaPattern.isEmpty {
            copy.numbers.alphaPattern = names.map { .init($0.new, numbers.alpha(for: $0.old)) }
        }
        return copy
    }

    /// The facts of both.
    func lowRankFacts(of adapter: AdapterDirectory) -> [(name: String, value: String)] {
        var alpha = factText(numbers.alpha)
        if !numbers.alphaPattern.isEmpty { alpha += ", others by pattern" }
        let divisor = numbers.usesRSLoRA ? "sqrt(rank), rsLoRA" : "rank"
        return [
            ("rank", adapter.distinctRanks),
            ("alpha", "\(alpha); scaling alpha / \(divisor), \(adapter.distinctScalings)"),
        ]
    }
}

extension PEFTField {
    /// The starts that leave the base's weights alone. PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA subtract from the base
    /// what they put into the adapter, and peft does so again at loading.
    private static let plainStarts: [JSONValue] = [
        .bool(true), .bool(false), .string("gaussian"), .string("eva"), .string("orthogonal"),
    ]

    /// What LoRA's, DoRA's and AdaLoRA's configurations have in common.
    static let lowRank: [PEFTField] =
        common + selectors + understood("lora_alpha", "lora_dropout", "rank_pattern", "use_dora") + [
            bias,
            refused("alora_invocation_tokens"),
            refused("arrow_config"),
            harmless("corda_config"),
            addsTensors("ensure_weight_tying", .bool(false)),
            harmless("eva_config"),
            PEFTField(
                name: "init_lora_weights", initial: .bool(true),
                effect: .harmlessOnly(
                    plainStarts,
                    remedy: "that start changes the base's weights; convert the adapter with peft's "
                        + "path_initial_model_for_weight_conversion first")),
            refused("kasa_config"),
            refused("layer_replication"),
            harmless("loftq_config", .object([:])),
            harmless("lora_ga_config"),
            refused("megatron_config"),
            harmless("megatron_core", .string("megatron.core")),
            refused("monteclora_config"),
            harmless("qalora_group_size", .integer(16)),
            harmless(PEFTNames.parametersField),
            addsTensors(PEFTNames.tokensField),
            refused("use_bdlora"),
            refused("use_qalora", .bool(false)),
            refused("velora_config"),
        ]

    /// LoRA's and DoRA's.
    static let loRA = lowRank + understood("alpha_pattern", "lora_bias", "r", "use_rslora")
}
