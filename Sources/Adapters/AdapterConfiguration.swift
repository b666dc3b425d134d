import CheckpointIO
import Models

/// What an adapter is: its method, sizes and targets. The content of `adapter_config.json`.
///
/// A gate's own settings (s, lambda, beta1, beta2, the update rule) belong to a training run and are kept with it in
/// `tspeft.json`; the file here differs from peft's by the prefix of `peft_type` alone.
package struct AdapterConfiguration: Sendable, Equatable {
    /// A value for the modules whose path matches `(.*\.)?(pattern)$`.
    package struct PatternEntry<Value: Sendable & Equatable>: Sendable, Equatable {
        /// A regular expression, mostly a module's name or path.
        package let pattern: String
        /// The rank or alpha there.
        package let value: Value

        /// `value` for what `pattern` matches.
        package init(_ pattern: String, _ value: Value) {
            self.pattern = pattern
            self.value = value
        }
    }

    /// The kind of update.
    package let kind: AdapterKind
    /// Whether each module has a token gate.
    package var isGated: Bool
    /// r where no pattern says otherwise; at least 1. AdaLoRA's first rank, a parallel adapter's size.
    package let rank: Int
    /// Alpha where no pattern says otherwise; finite. Without effect on a parallel adapter and VeRA.
    package let alpha: Double
    /// The probability with which training drops an element of x, in 0..<1.
    package let dropout: Double
    /// Whether scaling is alpha / sqrt(r) (Kalajdzievski, arXiv 2312.03732) in place of alpha / r.
    package let usesRSLoRA: Bool
    /// Whether LoRA's B has a bias (peft's `lora_bias`).
    package let hasLoRABias: Bool
    /// Ranks of some modules; the first match counts.
    package private(set) var rankPattern: [PatternEntry<Int>]
    /// Alphas of some modules; the first match counts.
    package private(set) var alphaPattern: [PatternEntry<Double>]
    /// How AdaLoRA moves its ranks; without effect on another kind, as the two that follow.
    package var adaLoRA: AdaLoRASettings
    /// How a parallel adapter is built.
    package let bottleneck: BottleneckSettings
    /// How VeRA starts.
    package let vera: VeRASettings
    /// Layers that are trained and saved whole, by peft's names (`modules_to_save`).
    package let modulesToSave: [String]
    /// What the adapter wraps.
    package var targets: TargetSpecification
    /// What it leaves out of that.
    package var excluded: TargetSpecification?
    /// The layers to which a list of targets is restricted.
    package var layersToTransform: [Int]?
    /// The names of the list of layers, such as `layers`.
    package var layersPattern: [String]
    /// peft's task type, such as `CAUSAL_LM`.
    package var taskType: String?
    /// The base's path or name as it was given.
    package var baseModelPath: String?
    /// peft's further fields, none of which changes what the adapter computes; written back as they were read.
    package let otherFields: JSONObject

    /// Checks and takes the settings; throws `.badSetting`, `.badExpression`.
    package init(
        kind: AdapterKind, isGated: Bool, rank: Int, alpha: Double, dropout: Double = 0, usesRSLoRA: Bool = false,
        hasLoRABias: Bool = false, targets: TargetSpecification, excluded: TargetSpecification? = nil,
        rankPattern: [PatternEntry<Int>] = [], alphaPattern: [PatternEntry<Double>] = [],
        adaLoRA: AdaLoRASettings = AdaLoRASettings(), bottleneck: BottleneckSettings = BottleneckSettings(),
        vera: VeRASettings = VeRASettings(), modulesToSave: [String] = [], layersToTransform: [Int]? = nil,
        layersPattern: [String] = [], taskType: String? = nil, baseModelPath: String? = nil,
        otherFields: JSONObject = [:]
    ) throws(AdapterError) {
        for rank in [rank] + rankPattern.map(\.value) where !(1...Self.rankLimit).contains(rank) {
            throw .badSetting(name: "rank", expected: "between 1 and \(Self.rankLimit)", found: "\(rank)")
        }
        for alpha in [alpha] + alphaPattern.map(\.value) where !Float(alpha).isFinite {
            throw .badSetting(name: "alpha", expected: "a finite number", found: "\(alpha)")
        }
        guard dropout >= 0, dropout < 1 else {
            throw .badSetting(name: "dropout", expected: "at least 0 and below 1", found: "\(dropout)")
        }
        if kind == .adalora { try Self.check(adaLoRA, rank: rank) }
        for (name, value) in [("scaling", bottleneck.scaling), ("d_initial", vera.initialD)]
        where !Float(value).isFinite {
            throw .badSetting(name: name, expected: "a finite number", found: "\(value)")
        }
        let hasPatterns = !rankPattern.isEmpty || !alphaPattern.isEmpty
        guard kind == .lora || kind == .dora || !hasPatterns && !usesRSLoRA else {
            throw .badSetting(
                name: "rsLoRA, rank and alpha patterns", expected: "left out, as they belong to lora and dora",
                found: "given with \(kind.rawValue)")
        }
        guard kind == .lora || !hasLoRABias else {
            throw .badSetting(
                name: "lora_bias", expected: "left out, as it belongs to lora", found: "given with \(kind.rawValue)")
        }
        if layersToTransform?.isEmpty == false {
            guard case .names = targets else {
                throw .badSetting(
                    name: "targets", expected: "a list of names where layers_to_transform is given",
                    found: "'\(targets.summary)'")
            }
        }
        for pattern in rankPattern.map(\.pattern) + alphaPattern.map(\.pattern) {
            _ = try Self.endingExpression(pattern)
        }
        self.kind = kind
        self.isGated = isGated
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.usesRSLoRA = usesRSLoRA
        self.hasLoRABias = hasLoRABias
        self.rankPattern = rankPattern
        self.alphaPattern = alphaPattern
        self.adaLoRA = adaLoRA
        self.bottleneck = bottleneck
        self.vera = vera
        self.modulesToSave = modulesToSave
        self.targets = targets
        self.excluded = excluded
        self.layersToTransform = layersToTransform
        self.layersPattern = layersPattern
        self.taskType = taskType
        self.baseModelPath = baseModelPath
        self.otherFields = otherFields
    }

    private static func check(_ settings: AdaLoRASettings, rank: Int) throws(AdapterError) {
        for (name, value, least) in [
            ("target_r", settings.targetRank, 0), ("tinit", settings.initialSteps, 0),
            ("tfinal", settings.finalSteps, 0), ("deltaT", settings.interval, 1),
        ] where !(least...Self.stepLimit).contains(value) {
            throw .badSetting(name: name, expected: "between \(least) and \(Self.stepLimit)", found: "\(value)")
        }
        guard settings.targetRank <= rank else {
            throw .badSetting(
                name: "target_r", expected: "at most init_r, \(rank)", found: "\(settings.targetRank)")
        }
        for (name, value) in [("beta1", settings.beta1), ("beta2", settings.beta2)] where !(value > 0 && value < 1) {
            throw .badSetting(name: name, expected: "above 0 and below 1", found: "\(value)")
        }
        guard settings.orthogonalWeight >= 0, settings.orthogonalWeight.isFinite else {
            throw .badSetting(
                name: "orth_reg_weight", expected: "a number that is not negative",
                found: "\(settings.orthogonalWeight)")
        }
        for kept in settings.keptRanks.values where kept.count != rank {
            throw .badSetting(
                name: "rank_pattern", expected: "lists of init_r = \(rank) flags", found: "one of \(kept.count)")
        }
    }

    /// More steps than any run has, and few enough to be added up.
    private static let stepLimit = 1 << 50

    /// The largest rank that is taken for one: no projection is wider.
    package static let rankLimit = 1 << 20

    /// The method's name, `lora` or `ts-lora`.
    package var methodName: String { kind.methodName(gated: isGated) }

    /// r of the module at `path`.
    package func rank(for path: String) -> Int {
        if kind == .adalora { return adaLoRA.keptRanks[path]?.count { $0 } ?? rank }
        return Self.firstMatch(rankPattern, path) ?? rank
    }

    /// The tensors of one module, in the order of the file.
    package var tensorRoles: [AdapterTensorRole] { kind.method.tensorRoles(self) }

    /// Alpha of the module at `path`.
    package func alpha(for path: String) -> Double {
        Self.firstMatch(alphaPattern, path) ?? alpha
    }

    /// The factor on the update (NUMERICS, "Adapter updates M(x)"): alpha / r, with rsLoRA alpha / sqrt(r); AdaLoRA's
    /// alpha / (init_r + 1e-5), which stays as ranks go; a parallel adapter's `scaling`; 1 for VeRA.
    package func scaling(for path: String) -> Float {
        switch kind {
        case .lora, .dora:
            let rank = Double(rank(for: path))
            return Float(alpha(for: path) / (usesRSLoRA ? rank.squareRoot() : rank))
        case .adalora: return Float((alpha > 0 ? alpha : Double(rank)) / (Double(rank) + 1e-5))
        case .adapter: return Float(bottleneck.scaling)
        case .vera: return 1
        }
    }

    /// Whether the tensor `key` of an adapter's file belongs to a layer that is saved whole, such as
    /// `base_model.model.lm_head.weight`.
    package func savesModule(ofKey key: String) -> Bool {
        modulesToSave.contains { Self.isTensor(key, ofWhole: $0) }
    }

    /// Whether the tensor `key` belongs to the layer that `name` of `modulesToSave` means.
    static func isTensor(_ key: String, ofWhole name: String) -> Bool {
        guard let (module, _) = PEFTNames.split(key, suffixes: [PEFTNames.weight, PEFTNames.bias]) else {
            return false
        }
        return TargetMatch.name(name, matches: module)
    }

    /// The modules of a base that this configuration wraps; see `TargetMatch`.
    package func match(
        _ linearModules: [LinearModule], selection: [String]? = nil
    ) throws(AdapterError) -> TargetMatch {
        try TargetMatch(
            targets, excluding: excluded, layersToTransform: layersToTransform, layersPattern: layersPattern,
            selection: selection, in: linearModules)
    }

    /// The paths of a base's modules that this configuration wraps, as `TargetMatch.paths`.
    func matchedPaths(_ linearModules: [LinearModule]) throws(AdapterError) -> [String] {
        try TargetMatch.paths(
            matching: targets, excluding: excluded, layersToTransform: layersToTransform, layersPattern: layersPattern,
            in: linearModules)
    }

    /// The same adapter over exactly `modules`, each named by its whole path.
    package func restricted(to modules: [String]) -> AdapterConfiguration {
        var copy = self
        copy.targets = .names(modules)
        copy.excluded = nil
        copy.layersToTransform = nil
        copy.layersPattern = []
        let kept = Set(modules)
        copy.adaLoRA.keptRanks = adaLoRA.keptRanks.filter { kept.contains($0.key) }
        return copy
    }

    /// The same adapter over modules of other paths: `names` gives the new path of each. What was said by patterns is
    /// said for each module by its path.
    func renamed(_ names: [(old: String, new: String)]) -> AdapterConfiguration {
        var copy = restricted(to: names.map(\.new))
        copy.rankPattern = rankPattern.isEmpty ? [] : names.map { .init($0.new, rank(for: $0.old)) }
        copy.alphaPattern = alphaPattern.isEmpty ? [] : names.map { .init($0.new, alpha(for: $0.old)) }
        for (old, new) in names { copy.adaLoRA.keptRanks[new] = adaLoRA.keptRanks[old] }
        return copy
    }

    private static func firstMatch<Value>(_ entries: [PatternEntry<Value>], _ path: String) -> Value? {
        entries.first { entry in
            if let answer = plainMatch(entry.pattern, path) { return answer }
            // `init` has compiled every pattern, so this one compiles.
            return (try? endingExpression(entry.pattern))?.matchesWhole(path) ?? false
        }?.value
    }

    /// What the expression for `pattern` says of `path` where both are plain paths, without compiling it: files with an
    /// entry for each of hundreds of modules are common. A dot matches any byte, as it does in the expression.
    private static func plainMatch(_ pattern: String, _ path: String) -> Bool? {
        let (pattern, path) = (Array(pattern.utf8), Array(path.utf8))
        guard pattern.allSatisfy(isPathByte), path.allSatisfy(isPathByte) else { return nil }
        guard !pattern.isEmpty, pattern.count <= path.count else { return false }
        let start = path.count - pattern.count
        let dot = UInt8(ascii: ".")
        return (start == 0 || path[start - 1] == dot)
            && zip(pattern, path[start...]).allSatisfy { $0 == $1 || $0 == dot }
    }

    private static func endingExpression(_ pattern: String) throws(AdapterError) -> PathExpression {
        try PathExpression.check(pattern)
        return try PathExpression(pattern, before: #"(.*\.)?("#, after: ")$")
    }

    private static func isPathByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }
}
