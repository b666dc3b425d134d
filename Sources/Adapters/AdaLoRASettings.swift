import CheckpointIO
import TensorCore

/// What an AdaLoRA is set to: its sizes, and when and how it moves its ranks; peft's names in parentheses.
package struct AdaLoRASettings: MethodSettings {
    package static var kind: AdapterKind { .adalora }
    package static var method: any AdapterMethod.Type { AdaLoRA.self }
    package static let peftType = "ADALORA"

    /// The rank of each module at first (`init_r`).
    package var initialRank = 12
    /// Alpha (`lora_alpha`); the first rank stands for one that is not above 0.
    package var scale = 8.0
    /// Dropout of x in training (`lora_dropout`).
    package var dropout = 0.0
    /// The mean rank of a module at the end (`target_r`).
    package var targetRank = 8
    /// Steps before the first rank goes (`tinit`).
    package var initialSteps = 0
    /// Steps at the end with the ranks fixed (`tfinal`).
    package var finalSteps = 0
    /// Steps between one choice of ranks and the next (`deltaT`).
    package var interval = 1
    /// Decay of the mean sensitivity (`beta1`), in 0..<1 without 0.
    package var beta1 = 0.85
    /// Decay of the mean uncertainty (`beta2`), in 0..<1 without 0.
    package var beta2 = 0.85
    /// The weight of the orthogonality penalty (`orth_reg_weight`).
    package var orthogonalWeight = 0.5
    /// Steps of the run that trained it (`total_step`); nil before any.
    package var totalSteps: Int?
    /// The ranks that each module has kept of its first ones, by path (`rank_pattern`); empty before any was taken.
    package var keptRanks: NameTable<[Bool]> = [:]

    /// peft's defaults.
    package init() {}

    package init(reading fields: FieldReader) throws(AdapterError) {
        initialRank = try fields.integer("init_r") ?? initialRank
        scale = try fields.number("lora_alpha") ?? scale
        dropout = try fields.number("lora_dropout") ?? dropout
        targetRank = try fields.integer("target_r") ?? targetRank
        initialSteps = try fields.integer("tinit") ?? initialSteps
        finalSteps = try fields.integer("tfinal") ?? finalSteps
        interval = try fields.integer("deltaT") ?? interval
        beta1 = try fields.number("beta1") ?? beta1
        beta2 = try fields.number("beta2") ?? beta2
        orthogonalWeight = try fields.number("orth_reg_weight") ?? orthogonalWeight
        totalSteps = try fields.integer("total_step")
        for (key, value) in try fields.members("rank_pattern") {
            let kept = value.arrayValue?.compactMap(\.boolValue)
            // peft 0.21 writes the path with ".lora_E"; a wrapped model's prefix may stand before it.
            guard let kept, kept.count == value.arrayValue?.count,
                let (module, _) = PEFTNames.split(
                    AdapterKey(key).written, suffixes: [PEFTNames.adaLoRAE])
            else {
                throw fields.wrong("rank_pattern", "lists of flags by '<module>.lora_E'", value)
            }
            keptRanks[module] = kept
        }
    }

    package static let options: [MethodOption] = [
        .rank(initial: "64"), .alpha(initial: "32"), .dropout,
        MethodOption("init_r", .integer, "the first rank", valueName: "rank", sameAs: "rank"),
        MethodOption(
            "target_r", .integer, "a module's mean rank at the end", valueName: "rank", initial: "half of the first"),
        MethodOption("tinit", .integer, "steps before the first rank goes", valueName: "steps", initial: "0"),
        MethodOption("tfinal", .integer, "steps at the end with fixed ranks", valueName: "steps", initial: "0"),
        MethodOption("deltaT", .integer, "steps between choices of ranks", valueName: "steps", initial: "1"),
        MethodOption("beta1", .number, "decay of the mean sensitivity", initial: "0.85"),
        MethodOption("beta2", .number, "decay of the mean uncertainty", initial: "0.85"),
        MethodOption(
            "orth_reg_weight", .number, "weight of the penalty on the loss", valueName: "weight", initial: "0.5"),
    ]

    /// First rank 64 and alpha 32, the paper's for commonsense tasks; its first rank is twice the target wherever it
    /// says so.
    package init(options: FieldReader, paper: PaperNumbers?) throws(AdapterError) {
        let paperRank = paper.map { 2 * $0.rank }
        initialRank = try options.integer("rank", or: "init_r") ?? paperRank ?? 64
        scale = try options.number("alpha") ?? paper.map { $0.scaling * Double(2 * $0.rank) } ?? 32
        dropout = try options.number("dropout") ?? paper?.dropout ?? 0
        // A half, the paper's ratio, unless all of the ranks come from the paper.
        let paperTarget = initialRank == paperRank ? paper?.rank : nil
        targetRank = try options.integer("target_r") ?? paperTarget ?? (initialRank + 1) / 2
        initialSteps = try options.integer("tinit") ?? initialSteps
        finalSteps = try options.integer("tfinal") ?? finalSteps
        interval = try options.integer("deltaT") ?? interval
        beta1 = try options.number("beta1") ?? beta1
        beta2 = try options.number("beta2") ?? beta2
        orthogonalWeight = try options.number("orth_reg_weight") ?? orthogonalWeight
    }

    package static let fields: [PEFTField] =
        // peft takes no AdaLoRA with DoRA's magnitudes; the first entry of a name counts.
        [PEFTField.refused("use_dora", .bool(false))] + PEFTField.lowRank
        + PEFTField.understood(
            "beta1", "beta2", "deltaT", "init_r", "orth_reg_weight", "target_r", "tfinal", "tinit", "total_step")
        + [
            .refused("alpha_pattern", .object([:])),
            .refused("lora_bias", .bool(false)),
            // AdaLoRA reads neither.
            .harmless("r", .integer(8)),
            .harmless("use_rslora", .bool(false)),
        ]

    package var fieldValues: [(name: String, value: JSONValue)] {
        [
            ("init_r", .integer(initialRank)), ("lora_alpha", JSONValue.shortest(scale)),
            ("lora_dropout", .real(dropout)), ("use_rslora", .bool(false)), ("use_dora", .bool(false)),
            ("lora_bias", .bool(false)), ("alpha_pattern", .object([:])),
            ("target_r", .integer(targetRank)), ("tinit", .integer(initialSteps)), ("tfinal", .integer(finalSteps)),
            ("deltaT", .integer(interval)), ("beta1", .real(beta1)), ("beta2", .real(beta2)),
            ("orth_reg_weight", .real(orthogonalWeight)),
            // peft loads none without; before the first run the fewest steps that the settings allow stand there.
            ("total_step", .integer(totalSteps ?? initialSteps + finalSteps + 1)),
            ("rank_pattern", keptRanksJSON),
        ]
    }

    private var keptRanksJSON: JSONValue {
        if keptRanks.isEmpty { return .null }
        var object = JSONObject()
        for path in keptRanks.keys.sorted() {
            object[path + PEFTNames.adaLoRAE] = .array(keptRanks[path]!.map { .bool($0) })
        }
        return .object(object)
    }

    /// More steps than any run has, and few enough to be added up.
    private static let stepLimit = 1 << 50

    package func check(targets: TargetSpecification) throws(AdapterError) {
        try Self.check(rank: initialRank)
        try Self.check(finite: scale, "alpha")
        for (name, value, least) in [
            ("target_r", targetRank, 0), ("tinit", initialSteps, 0), ("tfinal", finalSteps, 0), ("deltaT", interval, 1),
        ] where !(least...Self.stepLimit).contains(value) {
            throw .badSetting(name: name, expected: "between \(least) and \(Self.stepLimit)", found: "\(value)")
        }
        guard targetRank <= initialRank else {
            throw .badSetting(name: "target_r", expected: "at most init_r, \(initialRank)", found: "\(targetRank)")
        }
        for (name, value) in [("beta1", beta1), ("beta2", beta2)] where !(value > 0 && value < 1) {
            throw .badSetting(name: name, expected: "above 0 and below 1", found: "\(value)")
        }
        guard orthogonalWeight >= 0, orthogonalWeight.isFinite else {
            throw .badSetting(
                name: "orth_reg_weight", expected: "a number that is not negative", found: "\(orthogonalWeight)")
        }
        for kept in keptRanks.values where kept.count != initialRank {
            throw .badSetting(
                name: "rank_pattern", expected: "lists of init_r = \(initialRank) flags", found: "one of \(kept.count)")
        }
    }

    package var rank: Int? { initialRank }
    package var alpha: Double? { scale }
    package func rank(for path: String) -> Int? { keptRanks[path]?.count { $0 } ?? initialRank }

    /// alpha / (init_r + 1e-5), which stays as ranks go.
    package func scaling(for path: String) -> Float {
        Float((scale > 0 ? scale : Double(initialRank)) / (Double(initialRank) + 1e-5))
    }

    package func restricted(to kept: NameSet) -> AdaLoRASettings {
        var copy = self
        copy.keptRanks = keptRanks.filter { kept.contains($0.key) }
        return copy
    }

    package func renamed(_ names: [(old: String, new: String)]) -> AdaLoRASettings {
        var copy = restricted(to: NameSet(names.map(\.new)))
        for (old, new) in names { copy.keptRanks[new] = keptRanks[old] }
        return copy
    }

    package func facts(of adapter: AdapterDirectory) -> [(name: String, value: String)] {
        var text = "\(initialRank) at first, \(targetRank) a module in the mean at the end"
        if !keptRanks.isEmpty {
            let ranks = adapter.modules.compactMap { rank(for: $0) }
            text += "; now \(adapter.distinctRanks), \(ranks.reduce(0, +)) in all"
            let empty = ranks.count { $0 == 0 }
            if empty > 0 { text += ", none left in \(empty) of \(ranks.count) modules" }
        }
        return [
            ("rank", text),
            ("alpha", "\(factText(scale)); scaling alpha / first rank, \(adapter.distinctScalings)"),
            (
                "budget",
                "tinit \(initialSteps), tfinal \(finalSteps), deltaT \(interval), beta1 \(factText(beta1)), "
                    + "beta2 \(factText(beta2))"
            ),
            ("penalty", "orth_reg_weight \(factText(orthogonalWeight))"),
        ]
    }
}
