import Adapters
import CheckpointIO
import TensorCore

extension AdapterExport {
    /// Writes the adapter's own files, the Python module that puts it into a transformers model, and the settings that
    /// the module reads: what a regular expression or a pattern of the configuration says, said for each module.
    func writeTorch(to output: OutputTarget) throws -> [String] {
        try adapter.write(to: output, rechecking: inputs) { directory in
            try directory.write(TorchModule.fileName, text: TorchModule.text)
            try directory.write(TorchModule.settingsFile, text: torchSettings.text(indent: 2) + "\n")
        }
        return []
    }

    private var torchSettings: JSONValue {
        let configuration = adapter.configuration
        let modules = adapter.modules.map { module -> JSONValue in
            var suffixes = configuration.tensorSuffixes.filter { adapter.tensor(module, $0) != nil }
            if adapter.threshold(module) != nil { suffixes.append(PEFTNames.tau) }
            var settings: JSONObject = [
                "module": .string(module), "update": .string(configuration.kind.name),
                "scaling": .real(Double(configuration.scaling(for: module))),
                "tensors": .array(suffixes.map { .string(String($0.dropFirst())) }),
            ]
            for (name, value) in configuration.settings.torchSettings(for: module).members { settings[name] = value }
            return .object(settings)
        }
        return .object([
            "format": .integer(TorchModule.format), "tspeft": .string(ToolVersion.current),
            "method": .string(configuration.methodName),
            "base_model_name_or_path": configuration.baseModelPath.map { .string($0) } ?? .null,
            "modules": .array(modules),
            "saved_tensors": .array(
                adapter.savedModules.map { .string(String($0.name.dropFirst(PEFTNames.prefix.count))) }),
        ])
    }
}
