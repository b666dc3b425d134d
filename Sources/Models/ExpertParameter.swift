/// A parameter in which transformers 5 holds one projection of all experts of a layer, whatever the files do: peft adapts
/// it by its name (`target_parameters`), each expert's part by itself.
package struct ExpertParameter<Model: Architecture>: Sendable {
    /// The path inside a layer of the module that has it, such as `mlp.experts`.
    let module: String
    /// Its name, such as `gate_up_proj`.
    let name: String
    /// Experts of a layer.
    let count: @Sendable (Model) -> Int
    /// Outputs and inputs of one expert's projection.
    let size: @Sendable (Model) -> (output: Int, input: Int)
    /// The paths inside a layer of the modules of files that are parts of it, `*` for the expert's number; none where
    /// files have it as it is.
    var parts: [String] = []
    /// Whether each expert's has a bias.
    var hasBias = false
    /// The layers that have one.
    var isInLayers: @Sendable (Model, Int) -> Bool = { _, _ in true }
}

/// One expert's part of such a parameter.
package struct ExpertModule: Sendable, Equatable {
    /// Its sizes; its path has the expert's number before the parameter's name:
    /// `model.layers.0.mlp.experts.3.gate_up_proj`.
    package let module: LinearModule
    /// The modules of the files that are parts of it.
    package let parts: [String]
}

extension Architecture {
    /// None: layers without experts.
    package static var expertParameters: [ExpertParameter<Self>] { [] }

    /// Every expert's part of every packed parameter, layer by layer, in the order of computation.
    package var expertModules: [ExpertModule] {
        let parameters = Self.expertParameters
        guard !parameters.isEmpty else { return [] }
        return (0..<configuration.layerCount).flatMap { layer in
            let prefix = ModulePart.layerPrefix + "\(layer)."
            let own = parameters.filter { $0.isInLayers(self, layer) }
            return (0..<(own.map { $0.count(self) }.max() ?? 0)).flatMap { expert in
                own.map { parameter in
                    let size = parameter.size(self)
                    return ExpertModule(
                        module: LinearModule(
                            path: prefix + ExpertPath(parameter.module, expert, parameter.name).path,
                            outputSize: size.output, inputSize: size.input, hasBias: parameter.hasBias,
                            isOfMixture: true, parameter: prefix + parameter.module + "." + parameter.name),
                        parts: parameter.parts.map { path in
                            prefix
                                + path.split(separator: "*", omittingEmptySubsequences: false).joined(
                                    separator: "\(expert)")
                        })
                }
            }
        }
    }
}

/// The path of one expert's part of a packed parameter, such as `model.layers.0.mlp.experts.3.gate_up_proj`.
package struct ExpertPath: Sendable, Equatable {
    /// The module that has the parameter, such as `model.layers.0.mlp.experts`.
    package let module: String
    /// The expert, from 0.
    package let expert: Int
    /// The parameter's name in the module.
    package let name: String

    /// The path of an expert's part.
    package init(_ module: String, _ expert: Int, _ name: String) {
        self.module = module
        self.expert = expert
        self.name = name
    }

    /// What a path says; nil where it has no number before its last component.
    package init?(_ path: String) {
        let parts = path.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count > 2, let expert = Int(parts[parts.count - 2]), expert >= 0,
            String(expert) == parts[parts.count - 2]
        else { return nil }
        self.init(parts.dropLast(2).joined(separator: "."), expert, String(parts[parts.count - 1]))
    }

    /// The whole path.
    package var path: String { "\(module).\(expert).\(name)" }
    /// The parameter's path, such as `model.layers.0.mlp.experts.gate_up_proj`.
    package var parameter: String { module + "." + name }
}
