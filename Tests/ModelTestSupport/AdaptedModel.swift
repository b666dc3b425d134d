import Adapters
import Compute
import Models
import TensorCore
import TestSupport

/// A small model with a LoRA adapter in it.
package struct AdaptedModel {
    /// The folder of a model of three layers with random weights, 64 wide, with a vocabulary of 160 and 128 positions.
    package static let randomModel = fixture("golden/llama-lora/model")
    /// The folder of a trained model of six layers, 192 wide, with a vocabulary of 2048.
    package static let tinyModel = fixture("tiny-llama")

    /// What of the adapter may differ between tests.
    package struct Settings {
        /// Where the weights are; a test that changes them needs copies.
        package var storage = WeightStorage.inPlace
        /// The model's folder.
        package var path = AdaptedModel.randomModel
        /// The type of computation.
        package var dtype = DType.f32
        /// Threads; one, since a second is no gain at this size and tests run side by side.
        package var threadCount = 1
        /// Whether there are gates.
        package var isGated = true
        /// The threshold of each gate.
        package var tau: Float = 0
        /// r.
        package var rank = 4
        /// Dropout of x in training.
        package var dropout = 0.0
        /// The largest element of B; 0 for a new adapter, which changes nothing.
        package var updateSize: Float = 0.1
        /// The modules' names.
        package var targets = "q_proj,k_proj,v_proj,up_proj,down_proj"
        /// Packed parameters of experts, which are adapted beside the modules.
        package var parameters: [String] = []

        /// Gated, in F32, on the random model.
        package init() {}
    }

    /// Type, memory, threads.
    package let context: ComputeContext
    /// The model, with the adapter.
    package let model: any Model
    /// The adapter.
    package let adapter: InjectedAdapter

    /// Loads the model and puts the same adapter into it for the same settings.
    package init(_ change: (inout Settings) -> Void = { _ in }) throws {
        var settings = Settings()
        change(&settings)
        let checkpoint = try ModelCheckpoint.open(settings.path)
        context = ComputeContext(dtype: settings.dtype, threadCount: settings.threadCount)
        model = try checkpoint.makeModel(context, settings.storage)
        var configuration = try AdapterConfiguration(
            LoRASettings(
                LowRankNumbers(rank: settings.rank, alpha: Double(settings.rank), dropout: settings.dropout)),
            isGated: settings.isGated, targets: TargetSpecification(argument: settings.targets))
        configuration.targetParameters = settings.parameters
        let modules = try configuration.match(checkpoint.modules(for: configuration)).modules
        let stream = RandomStream(seed: 5)
        let tensors = modules.flatMap { module in
            LoRA.initialTensors(module, configuration, stream.forked(module.path)) { _ in [] }
        }.map { tensor -> AdapterTensor in
            guard tensor.name.hasSuffix(PEFTNames.loraB) else { return tensor }
            let size = settings.updateSize
            let seed = stream.forked(tensor.name).key
            return AdapterTensor(
                tensor.name, tensor.shape, randomValues(tensor.values.count, seed: seed, in: -size...size))
        }
        adapter = try InjectedAdapter(
            into: model, configuration, tensors: tensors,
            thresholds: settings.isGated
                ? NameTable(uniqueKeysWithValues: modules.map { ($0.path, settings.tau) }) : [:], source: "test")
    }

    /// The logits of every token of sequences laid end to end, [tokens, vocabulary].
    package static func logits(
        _ model: any Model, _ sequences: [[Int32]], observer: (any PassObserver)? = nil
    ) throws -> [Float] {
        let tokens = sequences.flatMap { $0 }
        let tape = Tape(model.context, isRecording: false)
        let hidden = try model.forward(
            tokens, TokenLayout(lengths: sequences.map(\.count)), in: Pass(tape, observer: observer))
        return tape.logits(hidden, head: model.head!, rows: tokens.indices.map(Int32.init)).toArray()
    }

    /// The same of the bare base.
    package static func baseLogits(
        path: String = randomModel, _ dtype: DType, _ sequences: [[Int32]]
    ) throws -> [Float] {
        let context = ComputeContext(dtype: dtype, threadCount: 1)
        return try logits(ModelCheckpoint.open(path).makeModel(context), sequences)
    }

    /// The logits of every token with the adapter as it is.
    package func logits(_ sequences: [[Int32]], observer: (any PassObserver)? = nil) throws -> [Float] {
        try Self.logits(model, sequences, observer: observer)
    }

    /// Sets each gate's tau to the mean r of these sequences' tokens, so that it skips some of them and passes others.
    package func closeGatesHalfway(over sequences: [[Int32]]) throws {
        let collector = StatisticsCollector(collectingInnerSums: false)
        _ = try logits(sequences, observer: collector)
        for (projection, statistics) in zip(adapter.projections, collector.statistics) {
            projection.gate?.tau = Float(statistics.meanRatio ?? 0)
        }
    }

    /// `count` ids of the vocabulary, the same for the same seed.
    package static func tokens(_ count: Int, seed: UInt64, below bound: Int = 160) -> [Int32] {
        var stream = RandomStream(seed: seed)
        return (0..<count).map { _ in Int32(stream.nextIndex(below: bound)) }
    }
}

/// The largest difference of two lists, as a part of the largest size in `expected`; infinity for lists of other
/// lengths or a NaN.
package func relativeError(_ found: [Float], _ expected: [Float]) -> Double {
    guard found.count == expected.count else { return .infinity }
    let largest = expected.reduce(0) { max($0, abs(Double($1))) }
    var worst = 0.0
    for (one, other) in zip(found, expected) {
        let difference = abs(Double(one) - Double(other))
        if difference.isNaN { return .infinity }
        worst = max(worst, difference)
    }
    return largest > 0 ? worst / largest : worst
}

extension FrozenLinear {
    /// The weight of a layer that was copied.
    package var copiedWeight: Tensor { (matrix as! DenseMatrix).tensor }
}
