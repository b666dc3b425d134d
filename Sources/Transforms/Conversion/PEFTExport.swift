import Adapters
import CheckpointIO
import TensorCore

extension AdapterExport {
    /// Writes the adapter without gates as a plain peft directory: by its own method, or folded into LoRA.
    ///
    /// The factor of a gate goes into the tensors that the update is proportional to.
    func writePEFT(to output: OutputTarget) throws -> [String] {
        let dense = isFolded ? try foldedLoRA() : try denseAdapter()
        try dense.write(to: output, rechecking: inputs)
        return [foldingNote].compactMap { $0 }
    }

    private func denseAdapter() throws -> AdapterDirectory {
        let kept = written.map(\.module)
        var configuration = adapter.configuration
        configuration.isGated = false
        if kept.count < adapter.modules.count { configuration = configuration.restricted(to: kept) }
        var tensors: [AdapterTensor] = []
        for entry in written {
            let factor = entry.replacement?.factor ?? 1
            for role in configuration.tensorRoles(of: entry.module) {
                guard var tensor = adapter.tensor(entry.module, role.suffix) else { continue }
                if role.scalesUpdate, factor != 1 {
                    let origin = Double(role.origin)
                    tensor.values = tensor.values.map { Float(origin + (Double($0) - origin) * factor) }
                }
                tensors.append(tensor)
            }
        }
        return try exported(configuration, kept, tensors + sharedTensors(kept))
    }

    /// The shared tensors, cut to the largest of the kept modules where some are left out: peft sizes its own by the
    /// modules that it finds.
    private func sharedTensors(_ kept: [String]) throws -> [AdapterTensor] {
        guard kept.count < adapter.modules.count, !adapter.sharedTensors.isEmpty else { return adapter.sharedTensors }
        guard let base else {
            throw TransformError.unsupported(
                path: adapter.displayName,
                reason:
                    "cannot be exported to peft without the base, as modules are left out and the shared projections "
                    + "must be cut to the others' sizes; give \(.base), or \(.asLoRA) with it")
        }
        let modules = base.modules(for: adapter.configuration).filter { kept.contains($0.path) }
        let outputSize = modules.map(\.outputSize).max() ?? 0
        let inputSize = modules.map(\.inputSize).max() ?? 0
        return zip(adapter.configuration.kind.method.sharedRoles, adapter.sharedTensors).map { role, tensor in
            let shape = role.shape(rank: adapter.configuration.rank, outputSize: outputSize, inputSize: inputSize)
            let (rows, width) = (shape[0], tensor.shape[1])
            let values = (0..<rows).flatMap { tensor.values[$0 * width..<$0 * width + shape[1]] }
            return AdapterTensor(tensor.name, shape, values)
        }
    }

    /// LoRA with alpha / r = 1 at the largest rank; each module's own scale is in its B.
    private func foldedLoRA() throws -> AdapterDirectory {
        let folded = foldedModules
        let rank = folded.map(\.rank).max() ?? 1
        let own = adapter.configuration
        let isWhole = written.count == adapter.modules.count
        let kept = folded.map(\.module)
        let hasBias = written.contains { change(of: $0).change.bias != nil }
        var configuration = try AdapterConfiguration(
            LoRASettings(
                LowRankNumbers(
                    rank: rank, alpha: Double(rank), dropout: own.dropout,
                    rankPattern: folded.filter { $0.rank != rank }.map { .init($0.module, $0.rank) }),
                hasBias: hasBias),
            isGated: false, targets: own.targets, excluded: own.excluded, modulesToSave: own.modulesToSave,
            layersToTransform: own.layersToTransform, layersPattern: own.layersPattern)
        configuration.taskType = own.taskType
        configuration.baseModelPath = own.baseModelPath
        if !isWhole { configuration = configuration.restricted(to: kept) }
        var tensors: [AdapterTensor] = []
        for (entry, module) in zip(written, folded) {
            let low = change(of: entry).change
            let scaling = configuration.scaling(for: module.module)
            let factor = low.scale / scaling
            func key(_ suffix: String) -> String { PEFTNames.key(module.module, suffix) }
            tensors.append(AdapterTensor(key(PEFTNames.loraA), [low.rank, module.inputSize], low.a))
            tensors.append(
                AdapterTensor(key(PEFTNames.loraB), [module.outputSize, low.rank], low.b.map { $0 * factor }))
            if let bias = low.bias {
                tensors.append(AdapterTensor(key(PEFTNames.loraBias), [module.outputSize], bias.map { $0 / scaling }))
            }
        }
        return try exported(configuration, kept, tensors)
    }

    private func exported(
        _ configuration: AdapterConfiguration, _ modules: [String], _ tensors: [AdapterTensor]
    ) throws -> AdapterDirectory {
        var event: JSONObject = [
            "event": .string("exported"), "tspeft": .string(ToolVersion.current),
            "parent": .string(adapter.displayName), "method": .string(adapter.configuration.methodName),
        ]
        event["gates"] = gates.map { .string($0.rawValue) } ?? .null
        var origin = adapter.origin.ofDerived
        origin.history.append(.object(event))
        return try AdapterDirectory(
            configuration: configuration, modules: modules, tensors: tensors + adapter.savedModules,
            origin: origin)
    }
}
