import Compute
import Models
import TensorCore

/// Low-rank adaptation: M(x) = scaling (B A dropout(x) + c) (Hu et al., "LoRA: Low-Rank Adaptation of Large Language
/// Models", arXiv 2106.09685). scaling is alpha / r, or alpha / sqrt(r) for rsLoRA (arXiv 2312.03732); A is
/// [rank, inputSize], B is [outputSize, rank], the bias c of peft's `lora_bias` [outputSize] or absent.
package final class LoRA: AdapterMethod {
    private let a: AdapterParameter
    private let b: AdapterParameter
    private let bias: AdapterParameter?
    private let scaling: Float
    private let bottleneck: Bottleneck

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
            (
                PEFTNames.key(module.path, PEFTNames.loraBias), [module.outputSize],
                [Float](repeating: 0, count: module.outputSize)
            )
        ]
    }

    /// A uniform in +-1/sqrt(inputSize) (He et al. 2015 with a = sqrt(5), PyTorch's default for a linear layer) and B
    /// zero.
    static func initialFactors(
        _ module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream
    ) -> [AdapterTensor] {
        var stream = stream
        let rank = configuration.rank(for: module.path)
        let bound = 1 / Double(module.inputSize).squareRoot()
        return [
            (
                PEFTNames.key(module.path, PEFTNames.loraA), [rank, module.inputSize],
                stream.uniforms(rank * module.inputSize, bound: bound)
            ),
            (
                PEFTNames.key(module.path, PEFTNames.loraB), [module.outputSize, rank],
                [Float](repeating: 0, count: module.outputSize * rank)
            ),
        ]
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

    package var collectsGradients: Bool {
        get { bottleneck.collectsGradients }
        set { bottleneck.collectsGradients = newValue }
    }

    package var preparationScratchCount: Int { bottleneck.preparationScratchCount }

    package func prepare(scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool) {
        let outer = bottleneck.outer
        if let bias {
            let rank = b.value.columns
            for row in 0..<outer.rows {
                for column in 0..<rank {
                    outer.floats[row * (rank + 1) + column] = scaling * b.value.floats[row * rank + column]
                }
                outer.floats[row * (rank + 1) + rank] = scaling * bias.value.floats[row]
            }
        } else {
            let (target, source) = (outer.floats, b.value.floats)
            for index in 0..<b.value.count { target[index] = scaling * source[index] }
        }
        bottleneck.prepare(inner: a.value, scratch: scratch, wantsNorms: wantsNorms)
    }

    package func update(of output: Tensor, input: Tensor, dropoutKey: UInt64?) -> any AdapterUpdate {
        BottleneckUpdate(bottleneck, self, input: input, dropoutKey: dropoutKey)
    }
}

extension LoRA: BottleneckGradients {
    var innerGradient: Tensor? { a.gradient }

    var innerBiasGradient: Tensor? { nil }

    func addOuterGradient(_ write: (Tensor, Bool, Float) -> Void) {
        guard let bias else { return write(b.gradient, true, scaling) }
        let both = bottleneck.context.tensor(bottleneck.outer.shape, .f32)
        write(both, false, scaling)
        let rank = b.value.columns
        for row in 0..<both.rows {
            for column in 0..<rank {
                b.gradient.floats[row * rank + column] += both.floats[row * (rank + 1) + column]
            }
            bias.gradient.floats[row] += both.floats[row * (rank + 1) + rank]
        }
        withExtendedLifetime(both) {}
    }
}
