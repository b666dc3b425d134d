import Compute
import Models
import TensorCore

/// Low-rank adaptation: M(x) = scaling (B A dropout(x) + c) (Hu et al., "LoRA: Low-Rank Adaptation of Large Language
/// Models", arXiv 2106.09685). scaling is alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv 2312.03732); A is
/// [rank, inputSize], B is [outputSize, rank], the bias c of peft's `lora_bias` [outputSize] or absent.
package final class LoRA: BottleneckMethod {
    private let a: AdapterParameter
    private let b: AdapterParameter
    private let bias: AdapterParameter?
    private let scaling: Float
    package let bottleneck: Bottleneck

    package static func tensorRoles(_ configuration: AdapterConfiguration) -> [AdapterTensorRole] {
        [
            AdapterTensorRole(PEFTNames.loraA, [.rank, .inputSize]),
            AdapterTensorRole(PEFTNames.loraB, [.outputSize, .rank], scalesUpdate: true),
        ]
            + (configuration.hasLoRABias
                ? [AdapterTensorRole(PEFTNames.loraBias, [.outputSize], scalesUpdate: true)] : [])
    }

    package static func initialTensors(
        _ module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream, weights: BaseWeights
    ) -> [AdapterTensor] {
        let factors = initialFactors(module, configuration, stream)
        guard configuration.hasLoRABias else { return factors }
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
            module, size: configuration.rank(for: module.path), inner: PEFTNames.loraA, outer: PEFTNames.loraB, stream)
    }

    package static func weightChange(
        of module: String, inputSize: Int, in adapter: AdapterDirectory
    ) -> WeightChange {
        .added(lowRankChange(of: module, in: adapter))
    }

    /// scaling (B A, c) of a module.
    static func lowRankChange(of module: String, in adapter: AdapterDirectory) -> LowRankChange {
        let scale = adapter.configuration.scaling(for: module)
        return LowRankChange(
            a: adapter.values(module, PEFTNames.loraA), b: adapter.values(module, PEFTNames.loraB),
            rank: adapter.configuration.rank(for: module), scale: scale,
            bias: adapter.tensor(module, PEFTNames.loraBias)?.values.map { scale * $0 })
    }

    package convenience init(_ site: AdapterSite) throws {
        self.init(
            a: try site.parameter(PEFTNames.loraA), b: try site.parameter(PEFTNames.loraB),
            bias: site.configuration.hasLoRABias ? try site.parameter(PEFTNames.loraBias) : nil,
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
            inputSize: a.value.columns, outputSize: b.value.rows, innerSize: a.value.rows,
            hasOutputBias: bias != nil, dropoutRate: dropoutRate, context)
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
