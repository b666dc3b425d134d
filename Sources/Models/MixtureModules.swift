import TensorCore

/// The matrices of a mixture of experts that transformers 5 does not hold as linear layers: the experts of a layer lie in
/// packed parameters, and a router beside them keeps its weight as a parameter of its own, whatever the files say.
struct MixtureModules {
    /// Modules that have experts.
    private let owners: NameSet
    private let hasLinearRouter: Bool

    private static let experts: Substring = "experts"
    /// What routers are called beside `experts`.
    private static let routers: Set<Substring> = ["gate", "router"]
    /// GraniteMoE's router within its module of experts.
    private static let innerRouter: [Substring] = ["router", "layer"]
    /// Model types whose router is a linear layer for all that.
    private static let linearRouters: NameSet = ["llama4", "llama4_text"]

    /// The experts among modules of these paths.
    init(_ modules: some Sequence<String>, modelType: String) {
        var owners: NameSet = []
        for module in modules {
            let parts = NamePath.components(module)
            if let place = parts.firstIndex(of: Self.experts) {
                owners.insert(NamePath.joined(parts[..<place]))
            } else if let last = parts.last, GenericNames.packedExperts.contains(String(last)) {
                owners.insert(NamePath.joined(parts.dropLast()))
            }
        }
        self.owners = owners
        hasLinearRouter = Self.linearRouters.contains(modelType)
    }

    /// Whether a module is one of them.
    func contain(_ module: String) -> Bool {
        let parts = NamePath.components(module)
        if let place = parts.firstIndex(of: Self.experts), place + 1 < parts.count {
            return NamePath.isNumber(parts[place + 1])
        }
        guard !hasLinearRouter, let last = parts.last else { return false }
        if parts.suffix(2) == Self.innerRouter[...] { return owners.contains(NamePath.joined(parts.dropLast(2))) }
        return Self.routers.contains(last) && owners.contains(NamePath.joined(parts.dropLast()))
    }
}
