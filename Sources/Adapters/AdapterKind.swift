/// A kind of adapter update M(x), dense or gated: the table of what this program knows.
///
/// A further kind is a case here, its tensors in `tensors`, and the file with its arithmetic.
package enum AdapterKind: String, Sendable, CaseIterable {
    /// M(x) = scaling B A dropout(x); Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv
    /// 2106.09685.
    case lora

    /// The extent of one axis of an adapter tensor.
    package enum Dimension: Sendable, Hashable { case rank, outputSize, inputSize, one }

    /// One tensor that every module of a kind has.
    package struct TensorRole: Sendable {
        /// What its key ends in, such as `.lora_A.weight`.
        package let suffix: String
        /// Its axes, outermost first.
        package let axes: [Dimension]

        /// The shape in a module of these sizes.
        package func shape(rank: Int, outputSize: Int, inputSize: Int) -> [Int] {
            axes.map {
                switch $0 {
                case .rank: rank
                case .outputSize: outputSize
                case .inputSize: inputSize
                case .one: 1
                }
            }
        }
    }

    /// The tensors of one module, in the order of the file.
    package var tensors: [TensorRole] {
        switch self {
        case .lora:
            [
                TensorRole(suffix: PEFTNames.loraA, axes: [.rank, .inputSize]),
                TensorRole(suffix: PEFTNames.loraB, axes: [.outputSize, .rank]),
            ]
        }
    }

    /// The `peft_type` of a dense adapter of this kind; a gated one has `PEFTNames.gatedPrefix` before it.
    package var peftType: String {
        switch self {
        case .lora: "LORA"
        }
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

    /// The kind and gating of a `peft_type`; throws `.unknownAdapterType`.
    package static func ofPEFTType(
        _ type: String, file: String
    ) throws(AdapterError) -> (kind: AdapterKind, isGated: Bool) {
        for kind in allCases {
            if type == kind.peftType { return (kind, false) }
            if type == PEFTNames.gatedPrefix + kind.peftType { return (kind, true) }
        }
        let known = allCases.flatMap { [$0.peftType, PEFTNames.gatedPrefix + $0.peftType] }
        throw .unknownAdapterType(file: file, found: type, known: known)
    }
}
