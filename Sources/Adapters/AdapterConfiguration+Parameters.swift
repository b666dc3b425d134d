import CheckpointIO
import Models
import TensorCore

/// Packed parameters of experts (peft's `target_parameters`).
extension AdapterConfiguration {
    /// The parameters that have updates, each by its path or the end of it, such as `mlp.experts.gate_up_proj`.
    package var targetParameters: [String] {
        get {
            guard let value = otherFields[PEFTNames.parametersField], !value.isNull else { return [] }
            return value.arrayValue?.compactMap(\.stringValue) ?? value.stringValue.map { [$0] } ?? []
        }
        set {
            otherFields[PEFTNames.parametersField] = newValue.isEmpty ? .null : .array(newValue.map { .string($0) })
            // Which of the two factors is A in a square matrix only the version tells.
            if !newValue.isEmpty, otherFields[PEFTNames.versionField] == nil {
                otherFields[PEFTNames.versionField] = .string(Self.writtenVersion)
            }
        }
    }

    /// The version of peft whose form packed experts are written in.
    private static let writtenVersion = "0.21.2"

    /// The expert and the parameter that a module's path names, where that is one of the parameters that are adapted.
    package func expertPath(of path: String) -> ExpertPath? {
        let names = targetParameters
        guard !names.isEmpty, let place = ExpertPath(path),
            names.contains(where: { TargetMatch.name($0, matches: place.parameter) })
        else { return nil }
        return place
    }

    /// The path by which patterns of ranks and alphas know a module: the parameter's for an expert's part of one.
    func settingsPath(of path: String) -> String { expertPath(of: path)?.parameter ?? path }

    /// Throws `.badSetting` for what peft refuses beside packed parameters.
    package func checkParameters() throws(AdapterError) {
        guard !targetParameters.isEmpty else { return }
        func refused(_ name: String, _ found: String) -> AdapterError {
            .badSetting(
                name: name,
                expected: "LoRA without dropout and bias where packed parameters "
                    + "(\(targetParameters.joined(separator: ", "))) are adapted, as in peft", found: found)
        }
        guard let lora = settings as? LoRASettings else { throw refused("method", kind.name) }
        if dropout != 0 { throw refused("dropout", "\(dropout)") }
        if lora.hasBias { throw refused("lora_bias", "true") }
    }
}

extension ModelCheckpoint {
    /// Everything that an adapter of this configuration can be at, in the order of computation: linear modules, and the
    /// parts of the packed parameters that it names in the place of the modules which files have for them.
    package func modules(for configuration: AdapterConfiguration) -> [LinearModule] {
        let names = configuration.targetParameters
        guard !names.isEmpty else { return linearModules }
        let experts = expertModules.filter { expert in
            names.contains { TargetMatch.name($0, matches: expert.module.parameter ?? "") }
        }
        let taken = NameSet(experts.flatMap { $0.parts + [$0.module.path] })
        var ofLayer: NameTable<[LinearModule]> = [:]
        for expert in experts { ofLayer[Self.layer(of: expert.module.path), default: []].append(expert.module) }
        var modules: [LinearModule] = []
        var layer = ""
        for module in linearModules {
            let own = Self.layer(of: module.path)
            if !own.hasSameBytes(as: layer) {
                modules += ofLayer.removeValue(forKey: layer) ?? []
                layer = own
            }
            if !taken.contains(module.path) { modules.append(module) }
        }
        return modules + (ofLayer.removeValue(forKey: layer) ?? [])
    }

    /// `model.layers.3` of a path in the third layer.
    private static func layer(of path: String) -> String {
        path.split(separator: ".", omittingEmptySubsequences: false).prefix(3).joined(separator: ".")
    }

    /// Experts of each packed parameter of the configuration, by its path.
    package func expertCounts(for configuration: AdapterConfiguration) -> NameTable<Int> {
        var counts: NameTable<Int> = [:]
        for module in modules(for: configuration) {
            if let parameter = module.parameter { counts[parameter, default: 0] += 1 }
        }
        return counts
    }
}
