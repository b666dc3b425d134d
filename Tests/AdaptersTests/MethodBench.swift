import CheckpointIO
import Compute
import Foundation
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters

/// One projection with a method around it, random values in everything, and the method's formula (NUMERICS, "Adapter
/// updates M(x)") in double precision beside it.
struct MethodBench {
    /// A variant of a method.
    struct Variant: CustomTestStringConvertible, Sendable {
        let kind: AdapterKind
        var activation = Activation.tanh
        /// Whether the module is one of IA3's feed-forward modules.
        var isFeedforward = false
        /// Whether the tensors that a module can go without are there.
        var hasBiases = false

        static let all =
            [
                Variant(kind: .lora), Variant(kind: .lora, hasBiases: true), Variant(kind: .dora),
                Variant(kind: .adalora), Variant(kind: .vera), Variant(kind: .ia3),
                Variant(kind: .ia3, isFeedforward: true),
            ]
            + Activation.allCases.flatMap {
                [
                    Variant(kind: .adapter, activation: $0),
                    Variant(kind: .adapter, activation: $0, hasBiases: true),
                ]
            }

        var testDescription: String {
            kind.name + (kind == .adapter ? " \(activation.rawValue)" : "") + (hasBiases ? " with biases" : "")
                + (isFeedforward ? " of inputs" : "")
        }
    }

    static let (inputSize, outputSize, rank) = (7, 6, 3)
    /// The sizes of VeRA's shared tensors, larger than this module's, as another module might have it.
    static let (sharedInputSize, sharedOutputSize) = (9, 8)
    static let dropoutRate: Float = 0.4

    let variant: Variant
    let configuration: AdapterConfiguration
    /// The module's tensors by suffix, in order.
    private(set) var tensors: [(suffix: String, shape: [Int], values: [Float])]
    let shared: [AdapterTensor]
    let weight = randomValues(outputSize * inputSize, seed: 1)
    let bias = randomValues(outputSize, seed: 2)
    let tokens: Int
    let x: [Float]
    let dropoutKey: UInt64?

    init(_ variant: Variant, tokens: Int, dropoutKey: UInt64?) throws {
        self.variant = variant
        self.tokens = tokens
        self.dropoutKey = dropoutKey
        x = randomValues(tokens * Self.inputSize, seed: 3)
        configuration = try AdapterConfiguration(
            variant.kind.newSettings([
                "rank": .integer(Self.rank), "alpha": .real(2.0), "dropout": .real(Double(Self.dropoutRate)),
                "lora_bias": .bool(variant.hasBiases), "target_r": .integer(1), "scaling": .real(0.75),
                "non_linearity": .string(variant.activation.rawValue),
                "feedforward_modules": .string(variant.isFeedforward ? "layer" : "other"),
            ]), isGated: true, targets: .names(["layer", "other"]))
        tensors = configuration.tensorRoles(of: "layer").enumerated().compactMap { index, role in
            if role.isOptional, !variant.hasBiases { return nil }
            let shape = role.shape(rank: Self.rank, outputSize: Self.outputSize, inputSize: Self.inputSize)
            return (role.suffix, shape, randomValues(shape.reduce(1, *), seed: 10 + UInt64(index)))
        }
        shared = variant.kind.method.sharedRoles.enumerated().map { index, role in
            let shape = role.shape(rank: Self.rank, outputSize: Self.sharedOutputSize, inputSize: Self.sharedInputSize)
            return AdapterTensor(role.suffix, shape, randomValues(shape.reduce(1, *), seed: 20 + UInt64(index)))
        }
    }

    /// Sets a number of a tensor, where the method has that.
    mutating func setValue(_ value: Float, at index: Int, of suffix: String) {
        for place in tensors.indices where tensors[place].suffix == suffix { tensors[place].values[index] = value }
    }

    /// The method itself with these values.
    func method(_ context: ComputeContext) throws -> any AdapterMethod {
        func tensor(_ shape: [Int], _ values: [Float], _ dtype: DType? = nil) -> Tensor {
            let tensor = dtype.map { context.tensor(shape, $0) } ?? context.tensor(shape)
            tensor.copy(from: values)
            return tensor
        }
        let frozen = FrozenLinear(
            weight: tensor([Self.outputSize, Self.inputSize], weight), bias: tensor([Self.outputSize], bias, .f32))
        let site = AdapterSite(
            path: "layer", frozen: frozen, configuration: configuration, context: context,
            shared: SharedTensors(shared, context)
        ) { suffix in
            tensors.first { $0.suffix == suffix }.map {
                AdapterParameter(name: suffix, value: tensor($0.shape, $0.values, .f32), context)
            }
        }
        let method = try variant.kind.method.init(site)
        let scratch = UnsafeMutablePointer<Double>.allocate(capacity: max(1, method.preparationScratchCount))
        defer { scratch.deallocate() }
        method.prepare(scratch: scratch, wantsNorms: true)
        return method
    }

    /// The values of the module's tensors in double precision.
    var values: [String: [Double]] {
        Dictionary(uniqueKeysWithValues: tensors.map { ($0.suffix, $0.values.map(Double.init)) })
    }

    /// 0 or 1 / (1 - rate) of each element of x.
    func mask(_ context: ComputeContext) -> [Double] {
        guard let dropoutKey, configuration.dropout > 0 else { return [Double](repeating: 1, count: x.count) }
        let ones = context.tensor([tokens, Self.inputSize], .f32)
        ones.copy(from: [Float](repeating: 1, count: x.count))
        context.dropout(ones, into: ones, key: dropoutKey, rate: Self.dropoutRate)
        return ones.toArray().map(Double.init)
    }

    /// W0 x, [tokens, outputSize], with the bias or without.
    func base(_ x: [Double], hasBias: Bool = true) -> [Double] {
        let product = Self.product(x, weight.map(Double.init), width: Self.inputSize, outputs: Self.outputSize)
        return hasBias ? product.indices.map { product[$0] + Double(bias[$0 % Self.outputSize]) } : product
    }

    /// The row norms n of W0 + scaling B A, which back-propagation takes for constants.
    func rowNorms() -> [Double] {
        let values = values
        guard let a = values[PEFTNames.loraA], let b = values[PEFTNames.loraB] else { return [] }
        return (0..<Self.outputSize).map { row in
            (0..<Self.inputSize).reduce(0.0) { sum, column in
                let change = (0..<Self.rank).reduce(0.0) {
                    $0 + b[row * Self.rank + $1] * a[$1 * Self.inputSize + column]
                }
                let value = Double(weight[row * Self.inputSize + column]) + scaling * change
                return sum + value * value
            }.squareRoot()
        }
    }

    private var scaling: Double { Double(configuration.scaling(for: "layer")) }

    /// M(x), [tokens, outputSize], of a dropped x.
    func update(_ values: [String: [Double]], droppedX x: [Double], rowNorms n: [Double]) -> [Double] {
        let (rank, outputSize) = (Self.rank, Self.outputSize)
        func product(_ x: [Double], _ weight: [Double]?, _ width: Int, _ outputs: Int) -> [Double] {
            Self.product(x, weight!, width: width, outputs: outputs)
        }
        func adding(_ row: [Double]?, to x: [Double]) -> [Double] {
            row.map { row in x.indices.map { x[$0] + row[$0 % row.count] } } ?? x
        }
        func times(_ row: [Double]?, _ x: [Double]) -> [Double] { x.indices.map { x[$0] * row![$0 % row!.count] } }
        switch variant.kind {
        case .lora:
            let z = product(x, values[PEFTNames.loraA], Self.inputSize, rank)
            return adding(values[PEFTNames.loraBias], to: product(z, values[PEFTNames.loraB], rank, outputSize))
                .map { scaling * $0 }
        case .dora:
            let z = product(x, values[PEFTNames.loraA], Self.inputSize, rank)
            let low = product(z, values[PEFTNames.loraB], rank, outputSize)
            let (frozen, m) = (base(x, hasBias: false), values[PEFTNames.magnitude]!)
            return low.indices.map { index in
                let ratio = m[index % outputSize] / n[index % outputSize]
                return (ratio - 1) * frozen[index] + ratio * scaling * low[index]
            }
        case .adalora:
            let z = times(values[PEFTNames.adaLoRAE], product(x, values[PEFTNames.adaLoRAA], Self.inputSize, rank))
            return product(z, values[PEFTNames.adaLoRAB], rank, outputSize).map { scaling * $0 }
        case .adapter:
            let narrow = adding(
                values[PEFTNames.adapterDownBias],
                to: product(x, values[PEFTNames.adapterDown], Self.inputSize, rank))
            let wide = product(
                narrow.map { variant.activation.value($0) }, values[PEFTNames.adapterUp], rank, outputSize)
            return adding(values[PEFTNames.adapterUpBias], to: wide).map { scaling * $0 }
        case .vera:
            let (sharedA, sharedB) = (shared[0].values, shared[1].values)
            let a = (0..<rank).flatMap { row in
                (0..<Self.inputSize).map { Double(sharedA[row * Self.sharedInputSize + $0]) }
            }
            let z = times(values[PEFTNames.veraD], product(x, a, Self.inputSize, rank))
            let b = sharedB[..<(outputSize * rank)].map(Double.init)
            return times(values[PEFTNames.veraB], product(z, b, rank, outputSize))
        case .ia3:
            let excess = values[PEFTNames.ia3L]!.map { $0 - 1 }
            return variant.isFeedforward
                ? base(times(excess, x), hasBias: false) : times(excess, base(x, hasBias: false))
        default: preconditionFailure("the formula of \(variant.kind) is missing here")
        }
    }

    /// x W', x [rows, width], W [outputs, width].
    private static func product(_ x: [Double], _ weight: [Double], width: Int, outputs: Int) -> [Double] {
        (0..<x.count / width).flatMap { row in
            (0..<outputs).map { output in
                (0..<width).reduce(0.0) { $0 + x[row * width + $1] * weight[output * width + $1] }
            }
        }
    }
}

extension Activation {
    /// f in double precision.
    fileprivate func value(_ x: Double) -> Double {
        switch self {
        case .tanh: Foundation.tanh(x)
        case .relu: max(x, 0)
        case .gelu: 0.5 * x * erfc(-x / 2.0.squareRoot())
        case .silu: x / (1 + exp(-x))
        }
    }
}
