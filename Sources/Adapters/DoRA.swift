import CKernels
import CheckpointIO
import Compute
import Models
import TensorCore

extension AdapterKind {
    /// Weight-decomposed low-rank adaptation, arXiv 2402.09353.
    package static let dora = AdapterKind("dora", DoRASettings.self)
}

/// What a DoRA is set to.
package struct DoRASettings: LowRankSettings {
    package static var kind: AdapterKind { .dora }
    package static var method: any AdapterMethod.Type { DoRA.self }
    package static let peftType = "LORA"
    /// A gated DoRA has no field that peft would need.
    package static let gatedType = "DORA"
    package static let fields = PEFTField.loRA
    package static let options = lowRankOptions + patternOptions

    package var numbers: LowRankNumbers

    /// A DoRA of these numbers.
    package init(_ numbers: LowRankNumbers) { self.numbers = numbers }

    package init(reading fields: FieldReader) throws(AdapterError) {
        self.init(try LowRankNumbers(reading: fields))
        guard try fields.bool("lora_bias") != true else {
            throw .badSetting(
                name: "lora_bias", expected: "left out, as it belongs to lora", found: "given with dora")
        }
    }

    package init(options: FieldReader, paper: PaperNumbers?) throws(AdapterError) {
        self.init(try LowRankNumbers(options: options, paper: paper))
    }

    package static func claims(_ fields: FieldReader) throws(AdapterError) -> Bool {
        try fields.bool("use_dora") ?? false
    }

    package var fieldValues: [(name: String, value: JSONValue)] {
        lowRankValues + [("use_dora", .bool(true)), ("lora_bias", .bool(false))]
    }

    package func facts(of adapter: AdapterDirectory) -> [(name: String, value: String)] { lowRankFacts(of: adapter) }
}

/// Weight-decomposed low-rank adaptation (Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", arXiv 2402.09353):
/// the weight W0 + scaling B A with its rows brought to the learned lengths m,
///
///     M(x) = (m/n - 1) W0 x + (m/n) scaling B A x,    n_o = |row o of W0 + scaling B A|
///
/// n is a constant in back-propagation, a layer's bias is not scaled, and while dropout is active both products see the
/// dropped x, as in peft. Where the run rounds the base's weights (bf16), n is that of the rounded ones, so that an
/// untrained adapter's m/n - 1 is some 1e-4 and not 0, as in peft too. M(x) is as wide as the layer, so |M(x)| is that
/// of the whole vector.
package final class DoRA: BottleneckMethod {
    private let a: AdapterParameter
    private let b: AdapterParameter
    private let magnitude: AdapterParameter
    private let scaling: Float
    private let site: AdapterSite
    package let bottleneck: Bottleneck
    /// m/n - 1, [outputSize] F32.
    fileprivate let excess: Tensor
    /// 1/n, [outputSize] F32; 1 for a row of zeros.
    private let inverseNorms: Tensor
    private var context: ComputeContext { bottleneck.context }
    fileprivate var frozen: FrozenLinear { site.frozen }

    package static func tensorRoles(
        _ configuration: AdapterConfiguration, of path: String
    ) -> [AdapterTensorRole] {
        [
            AdapterTensorRole(PEFTNames.loraA, [.rank, .inputSize]),
            AdapterTensorRole(PEFTNames.loraB, [.outputSize, .rank]),
            AdapterTensorRole(PEFTNames.magnitude, [.outputSize]),
        ]
    }

    /// LoRA's factors, and the norms of W0's rows as magnitudes.
    package static func initialTensors(
        _ module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream, weights: BaseWeights
    ) throws -> [AdapterTensor] {
        var norms = [Float](repeating: 0, count: module.outputSize)
        try weights(module).withUnsafeBufferPointer {
            WeightChange.rowNorms($0.baseAddress!, into: &norms, rows: module.outputSize, width: module.inputSize)
        }
        return LoRA.initialFactors(module, configuration, stream) + [
            AdapterTensor(PEFTNames.key(module.path, PEFTNames.magnitude), [module.outputSize], norms)
        ]
    }

    package static func weightChange(
        of module: String, inputSize: Int, in adapter: AdapterDirectory
    ) -> WeightChange {
        .rescaled(
            LoRA.lowRankChange(of: module, in: adapter), magnitude: adapter.values(module, PEFTNames.magnitude),
            share: 1)
    }

    package init(_ site: AdapterSite) throws {
        self.site = site
        a = try site.parameter(PEFTNames.loraA)
        b = try site.parameter(PEFTNames.loraB)
        magnitude = try site.parameter(PEFTNames.magnitude)
        scaling = site.configuration.scaling(for: site.path)
        bottleneck = Bottleneck(
            BottleneckShape(
                inputSize: site.frozen.inputSize, outputSize: site.frozen.outputSize, innerSize: a.value.rows),
            dropoutRate: Float(site.configuration.dropout), site.context)
        excess = site.context.tensor([site.frozen.outputSize], .f32)
        inverseNorms = site.context.tensor([site.frozen.outputSize], .f32)
    }

    package var parameters: [AdapterParameter] { [a, b, magnitude] }

    /// Rows of W0 + scaling B A that are formed at a time.
    private static let normRows = 8

    package var preparationScratchCount: Int { (Self.normRows * frozen.inputSize + 1) / 2 }

    package func prepare(scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool) {
        let (rows, width, rank) = (frozen.outputSize, frozen.inputSize, b.value.columns)
        scratch.withMemoryRebound(to: Float.self, capacity: Self.normRows * width) { sums in
            for start in stride(from: 0, to: rows, by: Self.normRows) {
                let count = min(Self.normRows, rows - start)
                frozen.matrix.readRows(start..<start + count, into: sums)
                _ = tspeft_merge_rows(
                    sums, sums, DType.f32.kernelCode, b.value.floats + start * rank, a.value.floats, scaling, count,
                    rank, width)
                WeightChange.rowNorms(sums, into: inverseNorms.floats + start, rows: count, width: width)
            }
        }
        bottleneck.setOuter(from: b.value) { row in
            let norm = inverseNorms.floats[row]
            inverseNorms.floats[row] = norm == 0 ? 1 : 1 / norm
            // As a quotient, so that an untrained adapter's is exactly 1.
            let ratio = norm == 0 ? 1 : magnitude.value.floats[row] / norm
            excess.floats[row] = ratio - 1
            return ratio * scaling
        }
        bottleneck.prepare(inner: a.value, scratch: scratch, wantsNorms: false)
    }

    package func update(of output: Tensor, input: Tensor, dropoutKey: UInt64?) -> any AdapterUpdate {
        DoRAUpdate(self, output: output, input: input, dropoutKey: dropoutKey)
    }

    /// Adds to m's gradient: dl/dm_o = sum_i S_i dl/dh_io (W0 x_i + scaling B A x_i)_o / n_o.
    ///
    /// - Parameters:
    ///   - gradient: dl/dh of the active tokens.
    ///   - base: W0 x of the same.
    fileprivate func addMagnitudeGradient(_ gradient: Tensor, base: Tensor) {
        let sums = context.columnDots(gradient, base)
        for row in 0..<sums.count {
            magnitude.gradient.floats[row] += inverseNorms.floats[row] * sums.floats[row]
        }
        withExtendedLifetime(sums) {}
    }
}

extension DoRA {
    package var innerGradient: Tensor? { a.gradient }

    package func addOuterGradient(_ write: (Tensor, Bool, Float) -> Void) {
        let sums = context.tensor(b.value.shape, .f32)
        write(sums, false, scaling)
        let rank = b.value.columns
        for row in 0..<sums.rows {
            let ratio = excess.floats[row] + 1
            var share: Float = 0
            for index in row * rank..<(row + 1) * rank {
                b.gradient.floats[index] += ratio * sums.floats[index]
                share += sums.floats[index] * b.value.floats[index]
            }
            magnitude.gradient.floats[row] += inverseNorms.floats[row] * share
        }
        withExtendedLifetime(sums) {}
    }
}

/// One batch through a `DoRA`.
private final class DoRAUpdate: AdapterUpdate {
    private let method: DoRA
    private let low: BottleneckUpdate
    /// W0 dropout(x), without the bias, [tokens, outputSize].
    private let base: Tensor
    /// M(x).
    private let whole: WholeUpdate

    private var context: ComputeContext { method.bottleneck.context }

    init(_ method: DoRA, output: Tensor, input: Tensor, dropoutKey: UInt64?) {
        let context = method.bottleneck.context
        self.method = method
        low = BottleneckUpdate(method.bottleneck, method, input: input, dropoutKey: dropoutKey)
        base = context.tensor(output.shape, output.dtype)
        if let key = low.dropoutKey {
            let dropped = context.tensor(input.shape, input.dtype)
            context.dropout(input, into: dropped, key: key, rate: method.bottleneck.dropoutRate)
            method.frozen.matrix.multiply(dropped, bias: nil, into: base, context.products)
        } else {
            context.copy(output, into: base)
            if let bias = method.frozen.bias { context.addToRows(bias, of: base, factor: -1) }
        }
        let whole = context.tensor(output.shape, output.dtype)
        context.products.multiplyRows(
            low.computeZ, method.bottleneck.computeOuter, .transposed, into: whole, n: output.columns,
            k: method.bottleneck.width)
        context.addScaledColumns(base, method.excess, to: whole)
        self.whole = WholeUpdate(whole, context)
    }

    var innerActivations: Tensor? { nil }

    func norms() -> Tensor { whole.norms() }

    func apply(to output: Tensor, _ active: ActiveTokens) { whole.apply(to: output, active) }

    func backward(_ gradient: Tensor, input: Variable, _ active: ActiveTokens, wantsMu: Bool) -> Tensor? {
        let bottleneck = method.bottleneck
        let v = context.tensor(low.z.shape, .f32)
        context.products.multiplyRows(
            gradient, bottleneck.computeOuter, .plain, into: v, n: bottleneck.width, k: gradient.columns)
        var mu: Tensor?
        if wantsMu {
            let narrow = context.rowDots(low.z, v)
            let wide = context.weightedRowDots(gradient, base, method.excess)
            for index in 0..<narrow.count { narrow.floats[index] += wide.floats[index] }
            withExtendedLifetime(wide) {}
            mu = narrow
        }
        low.addGradients(gradient, v, input, active)
        var rows: [Int32]?
        if case .rows(let some) = active {
            if some.isEmpty { return mu }
            rows = some
        }
        let activeGradient = rows.map { context.gatherRows(gradient, $0) } ?? gradient
        if bottleneck.collectsGradients {
            method.addMagnitudeGradient(activeGradient, base: rows.map { context.gatherRows(base, $0) } ?? base)
        }
        // What is left is (m/n - 1) W0 x.
        if low.dropoutKey == nil {
            context.scaleColumns(of: gradient, rows: rows, by: method.excess)
        } else if input.needsGradient {
            let weighted = context.zeros(activeGradient.shape, activeGradient.dtype)
            context.addScaledColumns(activeGradient, method.excess, to: weighted)
            input.addGradient(context) { dx, accumulates in
                if !accumulates { dx.clear() }
                let part = context.tensor([weighted.rows, dx.columns], dx.dtype)
                method.frozen.matrix.multiplyTransposed(weighted, into: part, accumulates: false, context.products)
                low.addMasked(part, to: dx, active)
            }
        }
        return mu
    }
}
