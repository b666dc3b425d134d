import CheckpointIO
import TensorCore

/// The parameters that `target_parameters` names.
struct ParameterTargets {
    /// Module and parameter of each entry, such as (`experts`, `gate_up_proj`).
    private let entries: [(module: String, name: String)]

    static let innerLayer = ".base_layer"
    /// The order in which modules of experts have their parameters, as peft wraps them: the first innermost.
    private static let order = [
        "gate_up_proj", "w1", "gate_proj", "up_proj", "input_linear", "w3", "w2", "down_proj", "output_linear",
    ]

    /// Names of a module's parameters in the order in which peft wraps them; those that it does not know behind the
    /// others.
    static func ordered(_ names: [String]) -> [String] {
        func place(_ name: String) -> Int { order.firstIndex(of: name) ?? order.count }
        return names.sorted { (place($0), $0) < (place($1), $1) }
    }

    /// Modules that hold several matrices, as the shapes of their factors tell.
    private let packed: NameSet

    init(_ fields: JSONObject, packed: NameSet) {
        self.packed = packed
        let texts = fields[PEFTNames.parametersField]?.arrayValue?.compactMap(\.stringValue) ?? []
        entries = texts.map { text in
            let parts = text.split(separator: ".")
            return (parts.dropLast().joined(separator: "."), String(parts.last ?? ""))
        }
    }

    /// Whether a module's factors are of a parameter.
    func have(_ path: String) -> Bool { !names(of: Self.module(path)).isEmpty }

    /// Throws `AdapterError.missingTensor` where a module has factors of some of its parameters, and not of all that are
    /// named: the inner ones are those of the first, so nothing else tells which are there.
    func checkComplete(_ paths: [String], file: String) throws(AdapterError) {
        let known = NameSet(paths)
        for path in paths where have(path) {
            let module = Self.module(path)
            var inner = module
            for _ in names(of: module) {
                guard known.contains(inner) else {
                    throw .missingTensor(file: file, tensor: PEFTNames.key(inner, PEFTNames.loraA))
                }
                inner += Self.innerLayer
            }
        }
    }

    private static func module(_ path: String) -> String {
        var path = path
        while path.hasSuffix(innerLayer) { path.removeLast(innerLayer.count) }
        return path
    }

    private func names(of module: String) -> [String] {
        var names: [String] = []
        for entry in entries where matches(entry.module, module) && !names.contains(where: entry.name.hasSameBytes(as:))
        {
            names.append(entry.name)
        }
        return names
    }

    /// Whether an entry is of a module: one without a module, as peft writes it for mixtures of experts, is of those that
    /// hold several matrices.
    private func matches(_ entry: String, _ module: String) -> Bool {
        guard entry.isEmpty else { return TargetMatch.name(entry, matches: module) }
        return packed.contains(module) || packed.contains(module + Self.innerLayer) || module.hasSuffix("experts")
    }

    /// The parameter whose factors `path` has: with several of one module the inner ones are those of the first. Throws
    /// `.unsupportedModule` where their order is not known.
    func parameter(at path: String, file: String) throws(AdapterError) -> (path: String, name: String)? {
        let module = Self.module(path)
        let names = names(of: module)
        guard !names.isEmpty else { return nil }
        let depth = (path.count - module.count) / Self.innerLayer.count
        guard names.count > 1 else { return (module, names[0]) }
        let places = names.map { Self.order.firstIndex(of: $0) }
        guard !places.contains(nil), depth < names.count else {
            throw .unsupportedModule(
                module, source: file,
                reason:
                    "which of its parameters \(names.joined(separator: ", ")) the tensors of '\(path)' belong to is "
                    + "not known")
        }
        let ordered = names.sorted { Self.order.firstIndex(of: $0)! < Self.order.firstIndex(of: $1)! }
        return (module, ordered[names.count - 1 - depth])
    }
}
