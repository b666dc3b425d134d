import Models
import TensorCore

/// Layers that are trained and saved whole beside the adapter (`modules_to_save`).
extension AdapterConfiguration {
    /// The tensors of a model's modules that `modulesToSave` names, each once, with their values, which are taken out of
    /// `tensors`. A name that peft adds for its task without a look at the model may be none of the model's.
    ///
    /// Throws `ModelError.notTrainableWhole` for a name that the model has not, `AdapterError.missingTensor`, and
    /// `.wrongShape`.
    func wholeModules(
        takenFrom tensors: inout NameTable<AdapterTensor>, of model: ModelTensors, source: String
    ) throws -> [(module: TensorSpecification, tensor: AdapterTensor)] {
        var found: [(module: TensorSpecification, tensor: AdapterTensor)] = []
        for name in modulesToSave {
            let isAssumed = Self.classifiers.contains(name) && taskType?.hasSuffix("_CLS") == true
            if isAssumed, !model.headNames.contains(name), model.headNames.contains(where: Self.classifiers.contains) {
                continue
            }
            for module in try model.wholeTensors(named: name) {
                if found.contains(where: { $0.module == module }) { continue }
                let key = PEFTNames.prefix + module.name
                guard let tensor = tensors.removeValue(forKey: key) else {
                    throw AdapterError.missingTensor(file: source, tensor: key)
                }
                guard tensor.shape == module.shape else {
                    throw AdapterError.wrongShape(
                        file: source, tensor: key, expected: module.shape, found: tensor.shape)
                }
                found.append((module, tensor))
            }
        }
        return found
    }
}

extension AdapterDirectory {
    /// The whole layers that the adapter holds, checked against a base; their tensors stand in the place of its own.
    ///
    /// Throws `ModelError.notTrainableWhole`, `AdapterError.missingTensor`, `.wrongShape` or `.unknownTensor`.
    package func wholeModules(
        of base: ModelCheckpoint
    ) throws -> [(module: TensorSpecification, tensor: AdapterTensor)] {
        var tensors = NameTable(savedModules.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let found = try configuration.wholeModules(
            takenFrom: &tensors, of: base.specifications, source: displayName)
        if let stray = tensors.keys.min() {
            throw AdapterError.unknownTensor(
                file: displayName, tensor: stray, reason: "belongs to no layer of this model that can be trained whole")
        }
        return found
    }
}
