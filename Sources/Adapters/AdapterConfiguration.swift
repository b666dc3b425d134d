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
    package let isGated: Bool
    /// r where no pattern says otherwise; at least 1.
    package let rank: Int
    /// Alpha where no pattern says otherwise; finite.
    package let alpha: Double
    /// The probability with which training drops an element of x, in 0..<1.
    package let dropout: Double
    /// Whether scaling is alpha / sqrt(r) (Kalajdzievski, arXiv 2312.03732) in place of alpha / r.
    package let usesRSLoRA: Bool
    /// Ranks of some modules; the first match counts.
    package let rankPattern: [PatternEntry<Int>]
    /// Alphas of some modules; the first match counts.
    package let alphaPattern: [PatternEntry<Double>]
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
        targets: TargetSpecification, excluded: TargetSpecification? = nil, rankPattern: [PatternEntry<Int>] = [],
        alphaPattern: [PatternEntry<Double>] = [], layersToTransform: [Int]? = nil, layersPattern: [String] = [],
        taskType: String? = nil, baseModelPath: String? = nil, otherFields: JSONObject = [:]
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
        self.rankPattern = rankPattern
        self.alphaPattern = alphaPattern
        self.targets = targets
        self.excluded = excluded
        self.layersToTransform = layersToTransform
        self.layersPattern = layersPattern
        self.taskType = taskType
        self.baseModelPath = baseModelPath
        self.otherFields = otherFields
    }

    /// The largest rank that is taken for one: no projection is wider.
    package static let rankLimit = 1 << 20

    /// The method's name, `lora` or `ts-lora`.
    package var methodName: String { kind.methodName(gated: isGated) }

    /// r of the module at `path`.
    package func rank(for path: String) -> Int {
        Self.firstMatch(rankPattern, path) ?? rank
    }

    /// Alpha of the module at `path`.
    package func alpha(for path: String) -> Double {
        Self.firstMatch(alphaPattern, path) ?? alpha
    }

    /// The factor before B A: alpha / r, with rsLoRA alpha / sqrt(r).
    package func scaling(for path: String) -> Float {
        let rank = Double(rank(for: path))
        return Float(alpha(for: path) / (usesRSLoRA ? rank.squareRoot() : rank))
    }

    /// The modules of a base that this configuration wraps; see `TargetMatch`.
    package func match(
        _ linearModules: [LinearModule], selection: [String]? = nil
    ) throws(AdapterError) -> TargetMatch {
        try TargetMatch(
            targets, excluding: excluded, layersToTransform: layersToTransform, layersPattern: layersPattern,
            selection: selection, in: linearModules)
    }

    /// The same adapter over exactly `modules`, each named by its whole path.
    package func restricted(to modules: [String]) -> AdapterConfiguration {
        var copy = self
        copy.targets = .names(modules)
        copy.excluded = nil
        copy.layersToTransform = nil
        copy.layersPattern = []
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
        return try PathExpression(#"(.*\.)?("# + pattern + ")$")
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
