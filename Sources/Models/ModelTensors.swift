import TensorCore

/// All tensors of a model as its architecture specifies them, and what follows from that: names, linear modules, modules
/// that can be trained whole.
package struct ModelTensors: Sendable {
    /// Every tensor, in the order of computation.
    package let all: [TensorSpecification]
    private let places: NameTable<Int>
    private let ggufPlaces: NameTable<Int>
    private let modulePlaces: NameTable<Int>

    /// Every tensor of a model.
    package init(of architecture: any Architecture) { self.init(architecture.specifications()) }

    init(_ all: [TensorSpecification]) {
        self.all = all
        func places(_ key: (TensorSpecification) -> String?) -> NameTable<Int> {
            let pairs = all.enumerated().compactMap { place, tensor in key(tensor).map { ($0, place) } }
            return NameTable(pairs, uniquingKeysWith: { first, _ in first })
        }
        self.places = places(\.name)
        ggufPlaces = places(\.ggufName)
        modulePlaces = places { $0.name == CheckpointNames.weight(of: $0.module) ? $0.module : nil }
    }

    /// The tensor that Hugging Face's checkpoints call `name`.
    package subscript(name: String) -> TensorSpecification? { places[name].map { all[$0] } }

    /// The tensor that GGUF files call `name`.
    package subscript(gguf name: String) -> TensorSpecification? { ggufPlaces[name].map { all[$0] } }

    /// The weight of a module.
    package subscript(module path: String) -> TensorSpecification? { modulePlaces[path].map { all[$0] } }

    /// Whether `name` would be the bias of one of the model's modules.
    func hasModule(ofBias name: String, inGGUF isGGUF: Bool) -> Bool {
        let (bias, weight) = (ModulePart.Kind.bias.name(of: ""), ModulePart.Kind.weight.name(of: ""))
        guard name.hasSuffix(bias) else { return false }
        let weightName = String(name.dropLast(bias.count)) + weight
        return (isGGUF ? self[gguf: weightName] : self[weightName]) != nil
    }

    /// The embedding of tokens.
    package var embedding: TensorSpecification? { all.first { $0.role == .embedding } }

    /// The output head, also where it is tied to the embedding.
    package var outputHead: TensorSpecification? { all.last { $0.role == .outputHead } }

    /// The linear modules: those of the layers in the order of computation, then an output head.
    ///
    /// - Parameter withTiedHead: whether an output head that is the embedding counts as well.
    package func linearModules(withTiedHead: Bool = false) -> [LinearModule] {
        let biased = NameSet(all.filter { $0.role == .bias }.map(\.module))
        return all.compactMap { tensor in
            guard tensor.role == .projection || tensor.role == .outputHead && (withTiedHead || tensor.tiedTo == nil),
                let shape = tensor.linearShape
            else { return nil }
            return LinearModule(
                path: tensor.module, outputSize: shape.outputSize, inputSize: shape.inputSize,
                hasBias: biased.contains(tensor.module), isOfMixture: tensor.isOfMixture)
        }
    }

    /// The weights of the modules that can be trained whole beside an adapter (peft's `modules_to_save`): output head
    /// and embedding.
    package var wholeModules: [TensorSpecification] { [outputHead, embedding].compactMap { $0 } }

    /// The tensors of the head for whole sequences.
    package var head: [TensorSpecification] { all.filter(\.isOfHead) }

    /// The tensors that can be trained whole: those of the head for sequences, the output head's and the embedding's.
    package var wholeTensors: [TensorSpecification] { head + wholeModules }

    /// The tensors of the module to be trained whole that `name` means: of the head for sequences those of all layers in
    /// the module. Throws `ModelError.notTrainableWhole`.
    package func wholeTensors(named name: String) throws(ModelError) -> [TensorSpecification] {
        let found = all.filter { ("." + $0.module + ".").contains("." + name + ".") }
        if !found.isEmpty, found.allSatisfy(\.isOfHead) { return found }
        return [try wholeModule(named: name)]
    }

    /// The names by which the head's parts are trained whole, such as `classifier`.
    package var headNames: [String] {
        var names: [String] = []
        for tensor in head {
            let parts = tensor.module.split(separator: ".").map(String.init)
            let name = parts.first { name in
                all.allSatisfy { $0.isOfHead || !("." + $0.module + ".").contains("." + name + ".") }
            }
            if let name, !names.contains(name) { names.append(name) }
        }
        return names
    }

    /// The weight of the module to be trained whole that `name` means, its path or the end of it. Throws
    /// `ModelError.notTrainableWhole`.
    package func wholeModule(named name: String) throws(ModelError) -> TensorSpecification {
        guard
            let module = wholeModules.first(where: {
                $0.module.hasSameBytes(as: name) || $0.moduleName.hasSameBytes(as: name)
            })
        else {
            throw .notTrainableWhole(module: name, trainable: headNames + wholeModules.map(\.moduleName))
        }
        return module
    }
}
