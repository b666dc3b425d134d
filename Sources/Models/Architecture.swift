import CheckpointIO

/// What checkpoints call an architecture.
package struct ArchitectureNames: Sendable {
    /// `model_type` in `config.json`; also what reports call the architecture.
    package let modelType: String
    /// The one class of `architectures` in `config.json` that is this graph.
    package let className: String
    /// `general.architecture` in GGUF files, and what their keys begin with.
    package let gguf: String
    /// The class of the same model with a head for whole sequences; nil where transformers has none.
    package let classifierName: String?
    /// Whether it is an encoder, which computes nothing of use without a head, and whose GGUF files are not read or written
    /// by its graph.
    package let isEncoder: Bool
    /// What messages call it: the type, with what is not built of it.
    package let known: String

    /// The names as given; `known` is the type unless something is to be said of it.
    init(
        _ modelType: String, class className: String, classifier: String? = nil, gguf: String, known: String? = nil
    ) {
        self.modelType = modelType
        self.className = className
        classifierName = classifier
        isEncoder = false
        self.gguf = gguf
        self.known = known ?? modelType
    }

    /// The names of an encoder.
    init(encoder modelType: String, class className: String, classifier: String, gguf: String) {
        self.modelType = modelType
        self.className = className
        classifierName = classifier
        isEncoder = true
        self.gguf = gguf
        known = "\(modelType) with a head for sequences"
    }
}

/// What a base model is: its names, its sizes and constants, its tensors and its graph. One file in `Architectures/` and
/// one line in `ArchitectureTable` make a model known to every command; see docs/add-a-model.md.
package protocol Architecture: Sendable {
    /// What checkpoints call it.
    static var names: ArchitectureNames { get }

    /// What is adapted where no modules are named and the model lacks some of the usual names, such as `up_proj`; nil for
    /// the usual ones.
    static var defaultTargets: [String]? { get }

    /// Every module that has tensors, in the order of computation; those inside the layers stand together.
    static var modules: [ModuleTemplate<Self>] { get }

    /// What stands before a layer's number in Hugging Face's checkpoints, such as `model.layers.`.
    static var layerPrefix: String { get }

    /// What the names of all modules but those of a head begin with, such as `bert.`, and are without in a checkpoint of
    /// the bare model; empty where there is no such checkpoint.
    static var basePrefix: String { get }

    /// The parameters in which transformers 5 holds the experts of a layer together.
    static var expertParameters: [ExpertParameter<Self>] { get }

    /// Reads `config.json` or the metadata of a GGUF file.
    ///
    /// Throws `ModelError.badConfiguration` for a value that is missing or unsound, and `.unsupportedConfiguration` for
    /// one that asks for what the graph cannot do.
    init(_ fields: ModelFields) throws

    /// Whether it reads GGUF files of its name with these metadata, of several architectures that share one.
    static func reads(_ fields: GGUFFields) -> Bool

    /// Sizes and constants.
    var configuration: ModelConfiguration { get }

    /// What of the model a GGUF file would not tell, so that it would be another model there; nil for nothing.
    var ggufProblem: String? { get }

    /// The deviation of the normal distribution from which transformers draws a head's weight that a checkpoint has not.
    func headDeviation(of tensor: TensorSpecification) -> Double

    /// Writes what `init` reads, for both kinds of checkpoints.
    func write(to fields: inout WrittenFields)

    /// The graph over the weights of a checkpoint, which have been checked against `modules`.
    func makeModel(_ weights: WeightLoader) throws -> any Model
}

extension Architecture {
    /// The usual ones.
    package static var defaultTargets: [String]? { nil }

    /// All files of its name.
    package static func reads(_ fields: GGUFFields) -> Bool { true }

    /// Nothing.
    package var ggufProblem: String? { nil }

    /// That of decoders.
    package static var layerPrefix: String { ModulePart.layerPrefix }

    /// None.
    package static var basePrefix: String { "" }

    /// That of all new weights.
    package func headDeviation(of tensor: TensorSpecification) -> Double { configuration.initializerRange }

    /// What a tensor of the model is called that a file calls `name`: as it is called there, or by older names of norms,
    /// or behind the prefix that a bare model's tensors lack.
    func ownName(of name: String, among tensors: ModelTensors) -> String {
        if tensors[name] != nil { return name }
        let older = [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")]
        let newer = older.first { name.hasSuffix($0.0) }.map { String(name.dropLast($0.0.count)) + $0.1 } ?? name
        if tensors[newer] != nil { return newer }
        let prefixed = Self.basePrefix + newer
        return tensors[prefixed] != nil ? prefixed : name
    }

    /// What checkpoints call it.
    package var names: ArchitectureNames { Self.names }

    /// Every tensor, outer ones and layer after layer, in the order of `modules`.
    ///
    /// - Parameter limit: no further layer is listed once so many tensors are, for a configuration that may claim any
    ///   number of layers.
    func specifications(limit: Int = .max) -> [TensorSpecification] {
        let modules = Self.modules.filter { $0.isPresent(self) } + (hasScore ? [ModuleTemplate<Self>.score] : [])
        guard let first = modules.firstIndex(where: \.isInLayer), let last = modules.lastIndex(where: \.isInLayer)
        else {
            return modules.flatMap { $0.specifications(self, layer: nil) }
        }
        var found = modules[..<first].flatMap { $0.specifications(self, layer: nil) }
        for layer in 0..<configuration.layerCount {
            if found.count > limit { break }
            found += modules[first...last].flatMap { $0.specifications(self, layer: layer) }
        }
        return found + modules[(last + 1)...].flatMap { $0.specifications(self, layer: nil) }
    }

    /// Whether it is a decoder with a head for sequences in the place of its output head.
    private var hasScore: Bool { configuration.task != nil && !names.isEncoder }

    /// The path in Hugging Face's layout of the module whose weight a GGUF file calls `name`, for files that say nothing
    /// of the model's sizes; nil where no module's is called so.
    package static func modulePath(ofGGUFWeight name: String) -> String? {
        for module in modules {
            if !module.isInLayer {
                if module.weightName(inGGUF: true) == name { return module.part.path }
                continue
            }
            let prefix = ModulePart.ggufLayerPrefix
            let suffix = "." + module.weightName(inGGUF: true)
            guard name.hasPrefix(prefix), name.hasSuffix(suffix), name.count > prefix.count + suffix.count - 1 else {
                continue
            }
            let number = name.dropFirst(prefix.count).dropLast(suffix.count)
            guard let layer = Int(number), layer >= 0, String(layer) == number else { continue }
            return module.part.path(layer: layer, behind: layerPrefix)
        }
        return nil
    }
}
