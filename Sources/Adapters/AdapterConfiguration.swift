import CheckpointIO
import Models
import TensorCore

/// What an adapter is: its method's settings and its targets. The content of `adapter_config.json`.
///
/// A gate's own settings (s, lambda, beta1, beta2, the update rule) belong to a training run and are kept with it in
/// `tspeft.json`; the file here differs from peft's by the prefix of `peft_type` alone.
package struct AdapterConfiguration: Sendable {
    /// The method's settings, of the kind's own type.
    package private(set) var settings: any MethodSettings
    /// Whether each module has a token gate.
    package var isGated: Bool
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
    package var otherFields: JSONObject = [:]
    /// Experts of each packed parameter that is adapted, by its path, as far as they are known; no field of the file, whose
    /// tensors tell it.
    package var expertCounts: NameTable<Int> = [:]

    /// Checks and takes the settings; throws `.badSetting`, `.badExpression`.
    package init(
        _ settings: any MethodSettings, isGated: Bool, targets: TargetSpecification,
        excluded: TargetSpecification? = nil, modulesToSave: [String] = [], layersToTransform: [Int]? = nil,
        layersPattern: [String] = []
    ) throws(AdapterError) {
        try settings.check(targets: targets)
        guard settings.dropout >= 0, settings.dropout < 1 else {
            throw .badSetting(name: "dropout", expected: "at least 0 and below 1", found: "\(settings.dropout)")
        }
        if layersToTransform?.isEmpty == false {
            guard case .names = targets else {
                throw .badSetting(
                    name: "targets", expected: "a list of names where layers_to_transform is given",
                    found: "'\(targets.summary)'")
            }
        }
        self.settings = settings
        self.isGated = isGated
        self.modulesToSave = modulesToSave
        self.targets = targets
        self.excluded = excluded
        self.layersToTransform = layersToTransform
        self.layersPattern = layersPattern
    }

    /// The largest rank that is taken for one: no projection is wider.
    package static let rankLimit = 1 << 20

    /// The kind of update.
    package var kind: AdapterKind { type(of: settings).kind }

    /// The method's name, `lora` or `ts-lora`.
    package var methodName: String { kind.methodName(gated: isGated) }

    /// The settings of an adapter that is known to be of a kind.
    package func own<Settings: MethodSettings>(_ type: Settings.Type) -> Settings {
        guard let own = settings as? Settings else { preconditionFailure("\(kind) has other settings") }
        return own
    }

    /// The same adapter with other settings of its kind, which are sound by their making: those that a run leaves.
    package func with(_ settings: any MethodSettings) -> AdapterConfiguration {
        precondition(type(of: settings).kind == kind, "settings of the same kind")
        var copy = self
        copy.settings = settings
        return copy
    }

    /// r where nothing else is said: AdaLoRA's first rank, a parallel adapter's size; nil for a method without a narrow
    /// middle.
    package var rank: Int? { settings.rank }

    /// Dropout of x in training.
    package var dropout: Double { settings.dropout }

    /// r of the module at `path`, 0 where the method took it away; nil for a method without a narrow middle.
    package func rank(for path: String) -> Int? { settings.rank(for: settingsPath(of: path)) }

    /// r of the module at `path` for a method that has a narrow middle.
    func narrowSize(of path: String) -> Int {
        guard let rank = rank(for: path) else { preconditionFailure("\(kind) has no narrow middle") }
        return rank
    }

    /// Whether the method has taken all of a module's rank away, so that its update is nothing.
    package func isRankZero(_ path: String) -> Bool { rank(for: path) == 0 }

    /// The tensors of the module at `path`, in the order of the file.
    package func tensorRoles(of path: String) -> [AdapterTensorRole] { kind.method.tensorRoles(self, of: path) }

    /// What the keys of a module's tensors end in, the same at each.
    package var tensorSuffixes: [String] { tensorRoles(of: "").map(\.suffix) }

    /// Throws `.unsupportedModule` where the method cannot be at a module.
    package func checkMethod(at module: LinearModule, source: String) throws(AdapterError) {
        if module.parameter != nil { try checkParameters() }
        guard let reason = kind.method.obstacle(at: module, self) else { return }
        var gated = self
        gated.isGated = true
        let canBeGated = kind.method.obstacle(at: module, gated) == nil
        let remedy = "leave the module out" + (canBeGated ? " or use \(gated.methodName), which can be there" : "")
        throw .unsupportedModule(module.path, source: source, reason: reason + "; " + remedy)
    }

    /// Whether a merge scales the bias of the module at `path` with its weight.
    package func scalesBias(of path: String) -> Bool { kind.method.scalesBias(of: path, self) }

    /// The factor on the update (NUMERICS, "Adapter updates M(x)").
    package func scaling(for path: String) -> Float { settings.scaling(for: settingsPath(of: path)) }

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
        // Of a layer with layers in it, such as a classifier of two, each.
        return TargetMatch.name(name, matches: module) || ("." + module).contains("." + name + ".")
    }

    /// Heads of which peft lists both for a task of classes, whichever the model has.
    static let classifiers = ["classifier", "score"]

    /// Whether peft adds `name` to `modulesToSave` for its task without a look at the model, and another that is there
    /// stands for it.
    func isAssumed(_ name: String, having tensors: [AdapterTensor]) -> Bool {
        Self.classifiers.contains(name) && taskType?.hasSuffix("_CLS") == true
            && Self.classifiers.contains { other in
                modulesToSave.contains(other) && tensors.contains { Self.isTensor($0.name, ofWhole: other) }
            }
    }

    /// The modules of a base that this configuration wraps; see `TargetMatch`.
    package func match(
        _ linearModules: [LinearModule], selection: [String]? = nil, outputHead: String? = nil
    ) throws(AdapterError) -> TargetMatch {
        try TargetMatch(
            targets, parameters: targetParameters, excluding: excluded,
            layers: LayerChoice(numbers: layersToTransform, patterns: layersPattern), selection: selection,
            in: linearModules, outputHead: outputHead ?? TargetMatch.usualHead)
    }

    /// The paths of a base's modules that this configuration wraps, as `TargetMatch.paths`.
    package func matchedPaths(_ linearModules: [LinearModule]) throws(AdapterError) -> [String] {
        try TargetMatch.paths(
            matching: targets, parameters: targetParameters, excluding: excluded, layersToTransform: layersToTransform,
            layersPattern: layersPattern, in: linearModules)
    }

    /// The same adapter over exactly `modules`, each named by its whole path.
    package func restricted(to modules: [String]) -> AdapterConfiguration {
        var (linear, parameters): ([String], [String]) = ([], [])
        var seen: NameSet = []
        for module in modules {
            guard let place = expertPath(of: module) else {
                linear.append(module)
                continue
            }
            if seen.insert(place.parameter).inserted { parameters.append(place.parameter) }
        }
        var copy = with(settings.restricted(to: NameSet(linear + parameters)))
        copy.targets = .names(linear)
        if !targetParameters.isEmpty {
            copy.otherFields[PEFTNames.parametersField] = .array(parameters.map { .string($0) })
        }
        copy.excluded = nil
        copy.layersToTransform = nil
        copy.layersPattern = []
        return copy
    }

    /// The same adapter over modules of other paths: `names` gives the new path of each. What was said by patterns is
    /// said for each module by its path.
    func renamed(_ names: [(old: String, new: String)]) -> AdapterConfiguration {
        restricted(to: names.map(\.new)).with(settings.renamed(names))
    }
}

extension AdapterConfiguration: Equatable {
    package static func == (left: AdapterConfiguration, right: AdapterConfiguration) -> Bool {
        left.settings.isEqual(to: right.settings) && left.isGated == right.isGated
            && left.modulesToSave == right.modulesToSave && left.targets == right.targets
            && left.excluded == right.excluded && left.layersToTransform == right.layersToTransform
            && left.layersPattern == right.layersPattern && left.taskType == right.taskType
            && left.baseModelPath == right.baseModelPath && left.otherFields == right.otherFields
    }
}
