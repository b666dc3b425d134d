import Compute
import Models
import TensorCore

/// How a parallel adapter is built.
package struct BottleneckSettings: Sendable, Equatable {
    /// f (`non_linearity`).
    package var activation = Activation.tanh
    /// The factor on the update (`scaling`).
    package var scaling = 1.0

    /// LLM-Adapters' defaults.
    package init() {}
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

    package static func tensorRoles(_ configuration: AdapterConfiguration) -> [AdapterTensorRole] {
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
            module, size: configuration.rank(for: module.path), inner: PEFTNames.adapterDown,
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
            inputSize: site.frozen.inputSize, outputSize: site.frozen.outputSize, innerSize: down.value.rows,
            hasOutputBias: upBias != nil, activation: site.configuration.bottleneck.activation,
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
