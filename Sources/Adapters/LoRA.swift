import CheckpointIO
import Compute
import Models
import TensorCore

extension AdapterKind {
    /// Low-rank adaptation, arXiv 2106.09685.
    package static let lora = AdapterKind("lora", LoRASettings.self)
}

/// What a LoRA is set to.
package struct LoRASettings: LowRankSettings {
    package static var kind: AdapterKind { .lora }
    package static var method: any AdapterMethod.Type { LoRA.self }
    package static let peftType = "LORA"
    package static let fields = PEFTField.loRA
    package static let options =
        lowRankOptions + [MethodOption("lora_bias", .flag, "B has a bias")] + patternOptions

    package var numbers: LowRankNumbers
    /// Whether B has a bias (`lora_bias`).
    package var hasBias: Bool

    /// A LoRA of these numbers.
    package init(_ numbers: LowRankNumbers, hasBias: Bool = false) {
        self.numbers = numbers
        self.hasBias = hasBias
    }

    /// A LoRA of this rank and alpha.
    package init(rank: Int, alpha: Double) { self.init(LowRankNumbers(rank: rank, alpha: alpha)) }

    package init(reading fields: FieldReader) throws(AdapterError) {
        self.init(try LowRankNumbers(reading: fields), hasBias: try fields.bool("lora_bias") ?? false)
    }

    package init(options: FieldReader, paper: PaperNumbers?) throws(AdapterError) {
        self.init(
            try LowRankNumbers(options: options, paper: paper), hasBias: try options.bool("lora_bias") ?? false)
    }

    /// peft calls DoRA a LORA with `use_dora`.
    package static func claims(_ fields: FieldReader) throws(AdapterError) -> Bool {
        !(try fields.bool("use_dora") ?? false)
    }

    package var fieldValues: [(name: String, value: JSONValue)] {
        lowRankValues + [("use_dora", .bool(false)), ("lora_bias", .bool(hasBias))]
    }

    package func facts(of adapter: AdapterDirectory) -> [(name: String, value: String)] {
        lowRankFacts(of: adapter) + (hasBias ? [("bias", "on B")] : [])
    }
}

/// Low-rank adaptation: M(x) = scaling (B A dropout(x) + c) (Hu et al., "LoRA: Low-Rank Adaptation of Large Language
/// Models", arXiv 2106.09685). scaling is alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv 2312.03732); A is
/// [rank, inputSize], B is [outputSize, rank], the bias c of peft's `lora_bias` [outputSize] or absent.
package final class LoRA: BottleneckMethod {
    private let a: AdapterParameter
    private let b: AdapterParameter
    private let bias: AdapterParameter?
    private let scaling: Float
    package let bottleneck: Bottleneck

    package static func tensorRoles(
        _ configuration: AdapterConfiguration, of path: String
    ) -> [AdapterTensorRole] {
        [
            AdapterTensorRole(PEFTNames.loraA, [.rank, .inputSize]),
            AdapterTensorRole(PEFTNames.loraB, [.outputSize, .rank], scalesUpdate: true),
        ]
            + (configuration.own(LoRASettings.self).hasBias
                ? [AdapterTensorRole(PEFTNames.loraBias, [.outputSize], scalesUpdate: true)] : [])
    }

    package static func initialTensors(
        _ module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream, weights: BaseWeights
    ) -> [AdapterTensor] {
        let factors = initialFactors(module, configuration, stream)
        guard configuration.own(LoRASettings.self).hasBias else { return factors }
        return factors + [
            AdapterTensor(
                PEFTNames.key(module.path, PEFTNames.loraBias), [module.outputSize],
                [Float](repeating: 0, count: module.outputSize)
            )
        ]
    }

    /// A random and B zero, as `Bottleneck.initialFactors` has it.
    static func initialFactors(
        _ module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream
    ) -> [AdapterTensor] {
        Bottleneck.initialFactors(
            module, size: configuration.narrowSize(of: module.path), inner: PEFTNames.loraA, outer: PEFTNames.loraB,
            stream)
    }

    package static func weightChange(
        of module: String, inputSize: Int, in adapter: AdapterDirectory
    ) -> WeightChange {
        .added(lowRankChange(of: module, in: adapter))
    }

    /// scaling (B A, c) of a module.
    package static func lowRankChange(of module: String, in adapter: AdapterDirectory) -> LowRankChange {
        let scale = adapter.configuration.scaling(for: module)
        return LowRankChange(
            a: adapter.values(module, PEFTNames.loraA), b: adapter.values(module, PEFTNames.loraB),
            rank: adapter.configuration.narrowSize(of: module), scale: scale,
            bias: adapter.tensor(module, PEFTNames.loraBias)?.values.map { scale * $0 })
    }

    package convenience init(_ site: AdapterSite) throws {
        self.init(
            a: try site.parameter(PEFTNames.loraA), b: try site.parameter(PEFTNames.loraB),
            bias: site.configuration.own(LoRASettings.self).hasBias ? try site.parameter(PEFTNames.loraBias) : nil,
            scaling: site.configuration.scaling(for: site.path), dropoutRate: Float(site.configuration.dropout),
            site.context)
    }

    /// An update with the given parameters.
    package init(
        a: AdapterParameter, b: AdapterParameter, bias: AdapterParameter? = nil, scaling: Float, dropoutRate: Float,
        _ context: ComputeContext
    ) {
        precondition(a.value.rows == b.value.columns, "A and B have one rank")
        self.a = a
        self.b = b
        self.bias = bias
        self.scaling = scaling
        bottleneck = Bottleneck(
            BottleneckShape(
                inputSize: a.value.columns, outputSize: b.value.rows, innerSize: a.value.rows,
                hasOutputBias: bias != nil),
            dropoutRate: dropoutRate, context)
    }

    package var parameters: [AdapterParameter] { [a, b] + [bias].compactMap { $0 } }

    package func prepare(scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool) {
        bottleneck.setOuter(from: b.value, bias: bias?.value) { _ in scaling }
        bottleneck.prepare(inner: a.value, scratch: scratch, wantsNorms: wantsNorms)
    }

    package var innerGradient: Tensor? { a.gradient }

    package func addOuterGradient(_ write: (Tensor, Bool, Float) -> Void) {
        bottleneck.addOuterGradient(to: b.gradient, bias: bias?.gradient, scale: scaling, write)
    }
}
