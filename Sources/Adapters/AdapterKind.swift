/// A kind of adapter update M(x), dense or gated: the table of what this program knows.
///
/// A further kind is a case with a line in `method` and `peftType` here, and one file with everything else about it.
package enum AdapterKind: String, Sendable, CaseIterable {
    /// Low-rank adaptation, arXiv 2106.09685.
    case lora
    /// Weight-decomposed low-rank adaptation, arXiv 2402.09353.
    case dora
    /// Adaptive budget allocation, arXiv 2303.10512.
    case adalora
    /// The parallel adapter, arXiv 2110.04366.
    case adapter
    /// Vector-based random matrix adaptation, arXiv 2310.11454.
    case vera

    /// Everything about the kind but its name.
    package var method: any AdapterMethod.Type {
        switch self {
        case .lora: LoRA.self
        case .dora: DoRA.self
        case .adalora: AdaLoRA.self
        case .adapter: ParallelAdapter.self
        case .vera: VeRA.self
        }
    }

    /// The `peft_type` of a dense adapter of this kind. peft calls DoRA a LORA with `use_dora`.
    package var peftType: String {
        switch self {
        case .lora, .dora: "LORA"
        case .adalora: "ADALORA"
        case .adapter: "BOTTLENECK"
        case .vera: "VERA"
        }
    }

    /// The `peft_type` of a gated adapter of this kind, which peft refuses: the prefix and the kind's own name, as a
    /// gated DoRA has no field that peft would need.
    package var gatedType: String {
        PEFTNames.gatedPrefix + (self == .dora ? "DORA" : peftType)
    }

    /// The method's name on the command line, `lora` or `ts-lora`.
    package func methodName(gated: Bool) -> String { gated ? "ts-" + rawValue : rawValue }

    /// Every method's name.
    package static var methodNames: [String] {
        allCases.flatMap { [$0.methodName(gated: false), $0.methodName(gated: true)] }
    }

    /// The kind and gating that a method's name (`lora`, `ts-lora`, in any case) stands for; throws `.unknownMethod`.
    package static func named(_ method: String) throws(AdapterError) -> (kind: AdapterKind, isGated: Bool) {
        let name = method.lowercased()
        for kind in allCases {
            if name == kind.methodName(gated: false) { return (kind, false) }
            if name == kind.methodName(gated: true) { return (kind, true) }
        }
        throw .unknownMethod(method, known: methodNames)
    }

    /// The kind and gating of a `peft_type`, with peft's flag `use_dora`; throws `.unknownAdapterType`.
    package static func ofPEFTType(
        _ type: String, usesDoRA: Bool, file: String
    ) throws(AdapterError) -> (kind: AdapterKind, isGated: Bool) {
        for kind in allCases {
            let found = kind == .lora && usesDoRA ? dora : kind
            if type == kind.peftType { return (found, false) }
            if type == PEFTNames.gatedPrefix + kind.peftType || type == kind.gatedType { return (found, true) }
        }
        let known = allCases.filter { $0 != .dora }.map(\.peftType) + allCases.map(\.gatedType)
        throw .unknownAdapterType(file: file, found: type, known: known)
    }
}
