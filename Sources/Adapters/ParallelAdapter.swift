import CheckpointIO
import Compute
import Models
import TensorCore

extension AdapterKind {
    /// The parallel adapter, arXiv 2110.04366.
    package static let adapter = AdapterKind("adapter", ParallelAdapterSettings.self)
}

/// What a parallel adapter is set to; LLM-Adapters' names in parentheses.
package struct ParallelAdapterSettings: MethodSettings {
    package static var kind: AdapterKind { .adapter }
    package static var method: any AdapterMethod.Type { ParallelAdapter.self }
    package static let peftType = "BOTTLENECK"
    package static let isInPEFT = false
    package static let selectorFields: [String] = []

    /// Width of the narrow layer (`bottleneck_size`).
    package var size = 256
    /// Dropout of x in training (`adapter_dropout`).
    package var dropout = 0.0
    /// f (`non_linearity`).
    package var activation = Activation.tanh
    /// The factor on the update (`scaling`).
    package var scaling = 1.0

    /// LLM-Adapters' defaults.
    package init() {}

    package init(reading fields: FieldReader) throws(AdapterError) {
        size = try fields.integer("bottleneck_size") ?? size
        dropout = try fields.number("adapter_dropout") ?? dropout
        scaling = try fields.number("scaling") ?? scaling
        if let name = try fields.string("non_linearity") {
            let names = Activation.allCases.map(\.rawValue)
            guard let activation = Activation(rawValue: name == "swish" ? Activation.silu.rawValue : name) else {
                throw .unsupportedField(
                    file: fields.file, field: "non_linearity", value: "\"\(name)\"",
                    remedy: "known ones: \(names.joined(separator: ", "))")
            }
            self.activation = activation
        }
    }

    package static let options: [MethodOption] = [
        .rank(initial: "32"), .dropout,
        MethodOption(
            "adapter_size", .integer, "width of the narrow layer", valueName: "size", initial: "32",
            sameAs: "rank"),
        MethodOption(
            "non_linearity", .word(Activation.allCases.map(\.rawValue)),
            Activation.allCases.map(\.rawValue).joined(separator: ", "), valueName: "function", initial: "tanh"),
        MethodOption("scaling", .number, "factor on the update", valueName: "factor", initial: "1"),
    ]

    /// Size 32, the paper's for language understanding, and scaling 1.
    package init(options: FieldReader, paper: PaperNumbers?) throws(AdapterError) {
        size = try options.integer("rank", or: "adapter_size") ?? paper?.adapterSize ?? 32
        dropout = try options.number("dropout") ?? paper?.dropout ?? dropout
        activation = try options.string("non_linearity").flatMap(Activation.init(rawValue:)) ?? activation
        scaling = try options.number("scaling") ?? paper?.scaling ?? scaling
    }

    package static let fields: [PEFTField] =
        PEFTField.common + PEFTField.selectors
        + PEFTField.understood("adapter_dropout", "bottleneck_size", "non_linearity", "scaling") + [
            .bias,
            PEFTField(
                name: "use_parallel_adapter", initial: .bool(true),
                effect: .harmlessOnly(
                    [.bool(true)], remedy: "only adapters that stand beside a projection are known, not behind it")),
            .refused("use_adapterp"),
            .harmless("init_weights", nil),
            .harmless("enable_lora", nil),
            .harmless("merge_weights", nil),
        ]

    package var fieldValues: [(name: String, value: JSONValue)] {
        [
            ("bottleneck_size", .integer(size)), ("adapter_dropout", .real(dropout)),
            ("non_linearity", .string(activation.rawValue)), ("scaling", .real(scaling)),
            ("use_parallel_adapter", .bool(true)),
        ]
    }

    package func check(targets: TargetSpecification) throws(AdapterError) {
        try Self.check(rank: size)
        try Self.check(finite: scaling, "scaling")
    }

    package var rank: Int? { size }
    package func scaling(for path: String) -> Float { Float(scaling) }

    package func facts(of adapter: AdapterDirectory) -> [(name: String, value: String)] {
        let biases = adapter.tensors.contains {
            $0.name.hasSuffix(PEFTNames.adapterDownBias) || $0.name.hasSuffix(PEFTNames.adapterUpBias)
        }
        return [
            ("size", "\(size)" + (biases ? ", with biases" : "")), ("non-linearity", activation.rawValue),
            ("scaling", adapter.distinctScalings),
        ]
    }

    package func torchSettings(for module: String) -> JSONObject {
        ["non_linearity": .string(activation.rawValue)]
    }
}

/// The parallel adapter (He et al., "Towards a Unified View of Parameter-Efficient Transfer Learning", arXiv
/// 2110.04366, in the form of LLM-Adapters, arXiv 2304.01933):
///
///     M(x) = scaling (U f(D dropout(x) + d) + u)
///
/// D is [size, inputSize], U [outputSize, size]; a bias that the file lacks is 0. No weight can hold it.
package final class ParallelAdapter: BottleneckMethod {
    private let down: AdapterParameter
    private let downBias: AdapterParameter?
    private let up: AdapterParameter
    private let upBias: AdapterParameter?
    private let scaling: Float
    package let bottleneck: Bottleneck

    package static func tensorRoles(
        _ configuration: AdapterConfiguration, of path: String
    ) -> [AdapterTensorRole] {
        [
            AdapterTensorRole(PEFTNames.adapterDown, [.rank, .inputSize]),
            AdapterTensorRole(PEFTNames.adapterDownBias, [.rank], isOptional: true),
            AdapterTensorRole(PEFTNames.adapterUp, [.outputSize, .rank], scalesUpdate: true),
            AdapterTensorRole(PEFTNames.adapterUpBias, [.outputSize], isOptional: true, scalesUpdate: true),
        ]
    }

    /// D uniform as PyTorch's linear layers, U zero, no biases.
    package static func initialTensors(
        _ module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream, weights: BaseWeights
    ) -> [AdapterTensor] {
        Bottleneck.initialFactors(
            module, size: configuration.narrowSize(of: module.path), inner: PEFTNames.adapterDown,
            outer: PEFTNames.adapterUp, stream)
    }

    package static func weightChange(
        of module: String, inputSize: Int, in adapter: AdapterDirectory
    ) -> WeightChange {
        .none(reason: "a parallel adapter is not linear in x, so no weight can hold it")
    }

    package init(_ site: AdapterSite) throws {
        down = try site.parameter(PEFTNames.adapterDown)
        downBias = try site.find(PEFTNames.adapterDownBias)
        up = try site.parameter(PEFTNames.adapterUp)
        upBias = try site.find(PEFTNames.adapterUpBias)
        scaling = site.configuration.scaling(for: site.path)
        bottleneck = Bottleneck(
            BottleneckShape(
                inputSize: site.frozen.inputSize, outputSize: site.frozen.outputSize, innerSize: down.value.rows,
                hasOutputBias: upBias != nil),
            activation: site.configuration.own(ParallelAdapterSettings.self).activation,
            dropoutRate: Float(site.configuration.dropout), site.context)
        bottleneck.innerBias = downBias?.value
    }

    package var parameters: [AdapterParameter] { [down, downBias, up, upBias].compactMap { $0 } }

    package func prepare(scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool) {
        bottleneck.setOuter(from: up.value, bias: upBias?.value) { _ in scaling }
        bottleneck.prepare(inner: down.value, scratch: scratch, wantsNorms: wantsNorms)
    }

    package var innerGradient: Tensor? { down.gradient }

    package var innerBiasGradient: Tensor? { downBias?.gradient }

    package func addOuterGradient(_ write: (Tensor, Bool, Float) -> Void) {
        bottleneck.addOuterGradient(to: up.gradient, bias: upBias?.gradient, scale: scaling, write)
    }
}
