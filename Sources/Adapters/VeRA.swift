import CheckpointIO
import Compute
import Models
import TensorCore

extension AdapterKind {
    /// Vector-based random matrix adaptation, arXiv 2310.11454.
    package static let vera = AdapterKind("vera", VeRASettings.self)
}

/// What a VeRA is set to; peft's names in parentheses.
package struct VeRASettings: MethodSettings {
    package static var kind: AdapterKind { .vera }
    package static var method: any AdapterMethod.Type { VeRA.self }
    package static let peftType = "VERA"
    /// peft's VeRA has no excluded modules, and would size the shared projections for them.
    package static let selectorsInPEFT = [PEFTNames.layersField]
    package static let selectorFields = selectorsInPEFT

    /// r (`r`).
    package var size = 256
    /// Dropout of x in training (`vera_dropout`).
    package var dropout = 0.0
    /// The first value of d (`d_initial`).
    package var initialD = 0.1
    /// The seed of the shared projections (`projection_prng_key`).
    package var projectionKey = 0

    /// peft's defaults.
    package init() {}

    package init(reading fields: FieldReader) throws(AdapterError) {
        size = try fields.integer("r") ?? size
        dropout = try fields.number("vera_dropout") ?? dropout
        initialD = try fields.number("d_initial") ?? initialD
        projectionKey = try fields.integer("projection_prng_key") ?? projectionKey
    }

    package static let options: [MethodOption] = [
        .rank(initial: "256"), .dropout,
        MethodOption("d_initial", .number, "first value of d", valueName: "value", initial: "0.1"),
        MethodOption("projection_key", .integer, "seed of the shared projections", valueName: "seed", initial: "0"),
    ]

    package init(options: FieldReader, paper: PaperNumbers?) throws(AdapterError) {
        size = try options.integer("rank") ?? size
        dropout = try options.number("dropout") ?? paper?.dropout ?? dropout
        initialD = try options.number("d_initial") ?? initialD
        projectionKey = try options.integer("projection_key") ?? projectionKey
    }

    package static let fields: [PEFTField] =
        PEFTField.common + PEFTField.selectors
        + PEFTField.understood("d_initial", "projection_prng_key", "r", "save_projection", "vera_dropout")
        + [.bias, .harmless("init_weights", .bool(true))]

    package var fieldValues: [(name: String, value: JSONValue)] {
        [
            ("r", .integer(size)), ("vera_dropout", .real(dropout)), ("d_initial", .real(initialD)),
            ("projection_prng_key", .integer(projectionKey)), ("save_projection", .bool(true)),
        ]
    }

    package func check(targets: TargetSpecification) throws(AdapterError) {
        try Self.check(rank: size)
        try Self.check(finite: initialD, "d_initial")
    }

    package var rank: Int? { size }
    package func scaling(for path: String) -> Float { 1 }

    package func facts(of adapter: AdapterDirectory) -> [(name: String, value: String)] {
        [
            ("rank", adapter.distinctRanks),
            (
                "projections",
                "saved, \(adapter.sharedTensors.map { "\($0.shape)" }.joined(separator: " and ")), "
                    + "projection_prng_key \(projectionKey)"
            ),
        ]
    }
}

/// Vector-based random matrix adaptation (Kopiczko et al., "VeRA: Vector-based Random Matrix Adaptation", arXiv
/// 2310.11454):
///
///     M(x) = b * (B' (d * (A' dropout(x))))
///
/// A' [rank, inputSize] and B' [outputSize, rank] are random, frozen, shared by all modules and cut to each one's size;
/// the vectors d [rank] and b [outputSize] are trained.
package final class VeRA: BottleneckMethod {
    private let d: AdapterParameter
    private let b: AdapterParameter
    /// B' of the largest module, [maximum outputSize, rank] F32; the first rows are this module's.
    private let sharedB: Tensor
    package let bottleneck: Bottleneck

    package static func tensorRoles(
        _ configuration: AdapterConfiguration, of path: String
    ) -> [AdapterTensorRole] {
        [
            AdapterTensorRole(PEFTNames.veraD, [.rank]),
            AdapterTensorRole(PEFTNames.veraB, [.outputSize], scalesUpdate: true),
        ]
    }

    package static let sharedRoles = [
        AdapterTensorRole(PEFTNames.sharedA, [.rank, .inputSize]),
        AdapterTensorRole(PEFTNames.sharedB, [.outputSize, .rank]),
    ]

    /// d constant, b zero.
    package static func initialTensors(
        _ module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream, weights: BaseWeights
    ) -> [AdapterTensor] {
        let settings = configuration.own(VeRASettings.self)
        let rank = settings.size
        return [
            AdapterTensor(
                PEFTNames.key(module.path, PEFTNames.veraD), [rank],
                [Float](repeating: Float(settings.initialD), count: rank)
            ),
            AdapterTensor(
                PEFTNames.key(module.path, PEFTNames.veraB), [module.outputSize],
                [Float](repeating: 0, count: module.outputSize)
            ),
        ]
    }

    /// Uniform in +-sqrt(6 / columns) (He et al. 2015, as peft has it), from `RandomStream` with the seed
    /// `projection_prng_key`: A' row by row from the stream "vera_A", B' from "vera_B". The values are always saved, so
    /// that no reader needs the stream.
    package static func initialSharedTensors(
        _ modules: [LinearModule], _ configuration: AdapterConfiguration, _ stream: RandomStream
    ) -> [AdapterTensor] {
        let settings = configuration.own(VeRASettings.self)
        let rank = settings.size
        let inputSize = modules.map(\.inputSize).max() ?? 0
        let outputSize = modules.map(\.outputSize).max() ?? 0
        let seed = RandomStream(seed: UInt64(bitPattern: Int64(settings.projectionKey)))
        var (ofA, ofB) = (seed.forked("vera_A"), seed.forked("vera_B"))
        return [
            AdapterTensor(
                PEFTNames.sharedA, [rank, inputSize],
                ofA.uniforms(rank * inputSize, bound: (6 / Double(inputSize)).squareRoot())
            ),
            AdapterTensor(
                PEFTNames.sharedB, [outputSize, rank],
                ofB.uniforms(outputSize * rank, bound: (6 / Double(rank)).squareRoot())
            ),
        ]
    }

    package static func weightChange(
        of module: String, inputSize: Int, in adapter: AdapterDirectory
    ) -> WeightChange {
        let d = adapter.values(module, PEFTNames.veraD)
        let b = adapter.values(module, PEFTNames.veraB)
        let (rank, outputSize) = (d.count, b.count)
        let (sharedA, sharedB) = (adapter.shared(PEFTNames.sharedA), adapter.shared(PEFTNames.sharedB))
        // Values that stay in their file are decoded each time that they are asked for.
        let (stride, rows) = (sharedA.shape[1], sharedA.values)
        var a = [Float](repeating: 0, count: rank * inputSize)
        for row in 0..<rank {
            for column in 0..<inputSize { a[row * inputSize + column] = rows[row * stride + column] }
        }
        var outer = [Float](unsafeUninitializedCapacity: outputSize * rank) { outer, count in
            sharedB.copyRows(0..<outputSize, to: outer.baseAddress!)
            count = outputSize * rank
        }
        for row in 0..<outputSize {
            for column in 0..<rank { outer[row * rank + column] *= b[row] }
        }
        return .added(LowRankChange(a: a, inner: d, b: outer, rank: rank, scale: 1))
    }

    package init(_ site: AdapterSite) throws {
        d = try site.parameter(PEFTNames.veraD)
        b = try site.parameter(PEFTNames.veraB)
        sharedB = site.shared.tensor(PEFTNames.sharedB)
        let (context, rank, inputSize) = (site.context, d.value.count, site.frozen.inputSize)
        let sharedA = site.shared.tensor(PEFTNames.sharedA)
        let inner = site.shared.derived("\(PEFTNames.sharedA)[:\(inputSize)]") {
            let slice = context.firstColumns(inputSize, of: sharedA)
            if context.dtype == .f32 { return slice }
            let rounded = context.tensor(slice.shape)
            context.convert(slice, into: rounded)
            return rounded
        }
        bottleneck = Bottleneck(
            BottleneckShape(inputSize: inputSize, outputSize: site.frozen.outputSize, innerSize: rank),
            dropoutRate: Float(site.configuration.dropout), inner: inner, context)
    }

    package var parameters: [AdapterParameter] { [d, b] }

    package func prepare(scratch: UnsafeMutablePointer<Double>, wantsNorms: Bool) {
        bottleneck.setOuter(from: sharedB, columns: d.value) { row in b.value.floats[row] }
        bottleneck.prepare(inner: nil, scratch: scratch, wantsNorms: wantsNorms)
    }
}

extension VeRA {
    package var innerGradient: Tensor? { nil }

    /// With P = (dl/dh)' z: dl/db_o = sum_k P_ok B'_ok d_k and dl/dd_k = sum_o P_ok B'_ok b_o.
    package func addOuterGradient(_ write: (Tensor, Bool, Float) -> Void) {
        let sums = bottleneck.context.tensor(bottleneck.outer.shape, .f32)
        write(sums, false, 1)
        let rank = d.value.count
        let (p, shared, ofD, ofB) = (sums.floats, sharedB.floats, d.value.floats, b.value.floats)
        var dGradient = [Float](repeating: 0, count: rank)
        for row in 0..<sums.rows {
            var sum: Float = 0
            for column in 0..<rank {
                let product = p[row * rank + column] * shared[row * rank + column]
                sum += product * ofD[column]
                dGradient[column] += product * ofB[row]
            }
            b.gradient.floats[row] += sum
        }
        for column in 0..<rank { d.gradient.floats[column] += dGradient[column] }
        withExtendedLifetime(sums) {}
    }
}
