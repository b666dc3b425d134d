import CheckpointIO
import Compute
import Models
import TensorCore

extension AdapterKind {
    /// Adaptive budget allocation, arXiv 2303.10512.
    package static let adalora = AdapterKind("adalora", AdaLoRASettings.self)
}

/// LoRA in the form of a singular value decomposition whose ranks move between modules while it trains (Zhang et al.,
/// "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", arXiv 2303.10512):
///
///     M(x) = alpha / (init_r + 1e-5) B (E * (A dropout(x)))
///
/// A is [rank, inputSize], B [outputSize, rank], E [rank, 1]. A penalty holds A and B near orthogonal; `RankAllocator`
/// moves the ranks.
package final class AdaLoRA: BottleneckMethod {
    /// The module's path.
    let path: String
    private(set) var a: AdapterParameter
    private(set) var b: AdapterParameter
    private(set) var e: AdapterParameter
    private let scaling: Float
    private let orthogonalWeight: Double
    package private(set) var bottleneck: Bottleneck

    package static func tensorRoles(
        _ configuration: AdapterConfiguration, of path: String
    ) -> [AdapterTensorRole] {
        [
            AdapterTensorRole(PEFTNames.adaLoRAA, [.rank, .inputSize]),
            AdapterTensorRole(PEFTNames.adaLoRAB, [.outputSize, .rank]),
            AdapterTensorRole(PEFTNames.adaLoRAE, [.rank, .one], scalesUpdate: true),
        ]
    }

    /// A and B normal with deviation 0.02, E zero.
    package static func initialTensors(
        _ module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream, weights: BaseWeights
    ) -> [AdapterTensor] {
        var stream = stream
        let rank = configuration.narrowSize(of: module.path)
        func normals(_ count: Int) -> [Float] { (0..<count).map { _ in Float(0.02 * stream.nextNormal()) } }
        return [
            AdapterTensor(
                PEFTNames.key(module.path, PEFTNames.adaLoRAA), [rank, module.inputSize],
                normals(rank * module.inputSize)
            ),
            AdapterTensor(
                PEFTNames.key(module.path, PEFTNames.adaLoRAB), [module.outputSize, rank],
                normals(module.outputSize * rank)
            ),
            AdapterTensor(
                PEFTNames.key(module.path, PEFTNames.adaLoRAE), [rank, 1], [Float](repeating: 0, count: rank)),
        ]
    }

    package static func weightChange(
        of module: String, inputSize: Int, in adapter: AdapterDirectory
    ) -> WeightChange {
        let configuration = adapter.configuration
        let settings = configuration.own(AdaLoRASettings.self)
        let first = Float(settings.initialRank)
        return .added(
            LowRankChange(
                a: adapter.values(module, PEFTNames.adaLoRAA), inner: adapter.values(module, PEFTNames.adaLoRAE),
                b: adapter.values(module, PEFTNames.adaLoRAB), rank: configuration.narrowSize(of: module),
                scale: configuration.scaling(for: module),
                quotient: (settings.scale > 0 ? Float(settings.scale) : first, first + 1e-5)))
    }

    package static func schedule(
        of methods: [any AdapterMethod], _ configuration: AdapterConfiguration, totalSteps: Int,
        _ context: ComputeContext
    ) throws(AdapterError) -> (any AdapterSchedule)? {
        try RankAllocator(
            methods.compactMap { $0 as? AdaLoRA }, configuration.own(AdaLoRASettings.self), totalSteps: totalSteps,
            context)
    }

    package init(_ site: AdapterSite) throws {
        path = site.path
        a = try site.parameter(PEFTNames.adaLoRAA)
        b = try site.parameter(PEFTNames.adaLoRAB)
        e = try site.parameter(PEFTNames.adaLoRAE)
        scaling = site.configuration.scaling(for: site.path)
        orthogonalWeight = site.configuration.own(AdaLoRASettings.self).orthogonalWeight
        bottleneck = Bottleneck(
            BottleneckShape(
                inputSize: site.frozen.inputSize, outputSize: site.frozen.outputSize, innerSize: a.value.rows),
            dropoutRate: Float(site.configuration.dropout), site.context)
    }

    package var parameters: [AdapterParameter] { [a, b, e] }

    package func prepare(scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool) {
        bottleneck.setOuter(from: b.value, columns: e.value) { _ in scaling }
        bottleneck.prepare(inner: a.value, scratch: scratch, wantsNorms: wantsNorms)
    }

    package func update(of output: Tensor, input: Tensor, dropoutKey: UInt64?) -> any AdapterUpdate {
        bottleneck.innerSize == 0
            ? EmptyUpdate(tokens: input.rows, bottleneck.context)
            : BottleneckUpdate(bottleneck, self, input: input, dropoutKey: dropoutKey)
    }

    package var penaltyTermCount: Int { 2 }

    /// weight / termCount (|A A' - 1| + |B' B - 1|), Frobenius norms, as peft adds it to the loss.
    package func addPenalty(termCount: Int) -> Double {
        let weight = orthogonalWeight / Double(termCount)
        if weight == 0 { return 0 }
        let products = bottleneck.context.products
        let rank = e.value.rows
        func term(_ product: (Tensor) -> Void, _ addGradient: (Tensor) -> Void) -> Double {
            let deviation = bottleneck.context.tensor([rank, rank], .f32)
            product(deviation)
            var squares = 0.0
            for row in 0..<rank {
                deviation.floats[row * rank + row] -= 1
                for column in 0..<rank {
                    let value = Double(deviation.floats[row * rank + column])
                    squares += value * value
                }
            }
            let norm = squares.squareRoot()
            if norm == 0 { return 0 }
            // d|C - 1| / dC = (C - 1) / |C - 1|, and C = A A' has A in it twice.
            let factor = Float(2 * weight / norm)
            for index in 0..<deviation.count { deviation.floats[index] *= factor }
            addGradient(deviation)
            return withExtendedLifetime(deviation) { weight * norm }
        }
        let ofA = term { target in
            products.multiply(
                a.value, a.value, into: target,
                MatrixProducts.Form(m: rank, n: rank, k: a.value.columns, right: .transposed))
        } _: { deviation in
            products.multiply(
                deviation, a.value, into: a.gradient,
                MatrixProducts.Form(m: rank, n: a.value.columns, k: rank, accumulates: true))
        }
        let ofB = term { target in
            products.multiply(
                b.value, b.value, into: target,
                MatrixProducts.Form(m: rank, n: rank, k: b.value.rows, left: .transposed))
        } _: { deviation in
            products.multiply(
                b.value, deviation, into: b.gradient,
                MatrixProducts.Form(m: b.value.rows, n: rank, k: rank, accumulates: true))
        }
        return ofA + ofB
    }

    /// Keeps only the rows of A and E and the columns of B that `kept` names.
    func trim(to kept: [Int]) {
        let context = bottleneck.context
        func parameter(_ old: AdapterParameter, _ shape: [Int], _ values: [Float]) -> AdapterParameter {
            let value = context.tensor(shape, .f32)
            value.copy(from: values)
            return AdapterParameter(name: old.name, value: value, context)
        }
        let (oldA, oldB, oldE) = (a.value.toArray(), b.value.toArray(), e.value.toArray())
        let (inputSize, outputSize, rank) = (a.value.columns, b.value.rows, e.value.rows)
        a = parameter(
            a, [kept.count, inputSize], kept.flatMap { oldA[$0 * inputSize..<($0 + 1) * inputSize] })
        b = parameter(
            b, [outputSize, kept.count], (0..<outputSize).flatMap { row in kept.map { oldB[row * rank + $0] } })
        e = parameter(e, [kept.count, 1], kept.map { oldE[$0] })
        bottleneck = Bottleneck(
            BottleneckShape(inputSize: inputSize, outputSize: outputSize, innerSize: kept.count),
            dropoutRate: bottleneck.dropoutRate, context)
    }
}

extension AdaLoRA {
    package var innerGradient: Tensor? { a.gradient }

    package func addOuterGradient(_ write: (Tensor, Bool, Float) -> Void) {
        let both = bottleneck.context.tensor(bottleneck.outer.shape, .f32)
        write(both, false, scaling)
        let rank = e.value.rows
        let (source, values, factors) = (both.floats, b.value.floats, e.value.floats)
        let (db, de) = (b.gradient.floats, e.gradient.floats)
        var sums = [Double](repeating: 0, count: rank)
        for row in 0..<both.rows {
            for column in 0..<rank {
                let index = row * rank + column
                db[index] += source[index] * factors[column]
                sums[column] += Double(source[index] * values[index])
            }
        }
        for column in 0..<rank { de[column] += Float(sums[column]) }
        withExtendedLifetime(both) {}
    }
}

/// M(x) = 0, of a module that has lost all its ranks.
private final class EmptyUpdate: AdapterUpdate {
    private let tokens: Int
    private let context: ComputeContext

    init(tokens: Int, _ context: ComputeContext) {
        self.tokens = tokens
        self.context = context
    }

    var innerActivations: Tensor? { nil }

    func norms() -> Tensor { context.zeros([tokens], .f32) }

    func apply(to output: Tensor, _ active: ActiveTokens) {}

    func backward(_ gradient: Tensor, input: Variable, _ active: ActiveTokens, wantsMu: Bool) -> Tensor? {
        wantsMu ? context.zeros([tokens], .f32) : nil
    }
}
