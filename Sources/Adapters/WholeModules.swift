import Models

/// Layers that are trained and saved whole beside the adapter (`modules_to_save`).
extension AdapterConfiguration {
    /// The modules of a Llama that `modulesToSave` names, each once, with their tensors, which are taken out of
    /// `tensors`.
    ///
    /// Throws `ModelError.notTrainableWhole` for a name that no Llama has, `AdapterError.missingTensor`, and
    /// `.wrongShape` for a tensor that is not of `shape`.
    func wholeModules(
        takenFrom tensors: inout [String: AdapterTensor], shape: [Int], source: String
    ) throws -> [(module: WholeModule, tensor: AdapterTensor)] {
        var found: [(module: WholeModule, tensor: AdapterTensor)] = []
        for name in modulesToSave {
            let module = try WholeModule(name)
            if found.contains(where: { $0.module == module }) { continue }
            let key = PEFTNames.key(module.path, PEFTNames.weight)
            guard let tensor = tensors.removeValue(forKey: key) else {
                throw AdapterError.missingTensor(file: source, tensor: key)
            }
            guard tensor.shape == shape else {
                throw AdapterError.wrongShape(file: source, tensor: key, expected: shape, found: tensor.shape)
            }
            found.append((module, tensor))
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
    ) throws -> [(module: WholeModule, tensor: AdapterTensor)] {
        var tensors = Dictionary(savedModules.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let found = try configuration.wholeModules(
            takenFrom: &tensors, shape: base.wholeModuleShape, source: displayName)
        if let stray = tensors.keys.min() {
            throw AdapterError.unknownTensor(
                file: displayName, tensor: stray, reason: "belongs to no layer of this model that can be trained whole")
        }
        return found
    }
}
