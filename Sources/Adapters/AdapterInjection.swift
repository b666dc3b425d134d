import CheckpointIO
import Compute
import Models
import TensorCore

/// One tensor of an adapter as its file has it, in F32.
package typealias AdapterTensor = (name: String, shape: [Int], values: [Float])

extension AdapterKind {
    /// The tensors of a new adapter at one module, so initialised that M(x) = 0, as peft does it.
    ///
    /// - Parameter stream: the module's own random numbers.
    package func initialTensors(
        module: LinearModule, _ configuration: AdapterConfiguration, _ stream: RandomStream
    ) -> [AdapterTensor] {
        switch self {
        case .lora: LoRA.initialTensors(module: module, rank: configuration.rank(for: module.path), stream)
        }
    }

    /// The method at one module, from the tensors that `tensor` finds by the ends of their keys.
    fileprivate func method(
        path: String, _ configuration: AdapterConfiguration, _ context: ComputeContext,
        tensor: (_ suffix: String) throws -> AdapterParameter
    ) throws -> any AdapterMethod {
        switch self {
        case .lora:
            LoRA(
                a: try tensor(PEFTNames.loraA), b: try tensor(PEFTNames.loraB),
                scaling: configuration.scaling(for: path), dropoutRate: Float(configuration.dropout), context)
        }
    }
}

extension LoRA {
    /// A uniform in +-1/sqrt(inputSize) (He et al. 2015 with a = sqrt(5), PyTorch's default for a linear layer) and B
    /// zero.
    fileprivate static func initialTensors(module: LinearModule, rank: Int, _ stream: RandomStream) -> [AdapterTensor] {
        var stream = stream
        let bound = 1 / Double(module.inputSize).squareRoot()
        let a = (0..<rank * module.inputSize).map { _ in Float((2 * stream.nextUniform() - 1) * bound) }
        return [
            (PEFTNames.key(module.path, PEFTNames.loraA), [rank, module.inputSize], a),
            (
                PEFTNames.key(module.path, PEFTNames.loraB), [module.outputSize, rank],
                [Float](repeating: 0, count: module.outputSize * rank)
            ),
        ]
    }
}

/// An adapter in a model: the wrapped projections, with everything of them that training changes.
///
/// Owns the adapter's parameters and gates; the model holds the wrapped projections.
package final class InjectedAdapter {
    /// What the adapter is.
    package let configuration: AdapterConfiguration
    /// The wrapped projections in the model's order.
    package let projections: [GatedProjection]

    private let context: ComputeContext

    /// Swaps the projections of `model` that `tensors` belong to for adapted ones.
    ///
    /// Throws `AdapterError` where a tensor is missing, belongs to no projection of the model or has a shape that does
    /// not fit.
    ///
    /// - Parameters:
    ///   - tensors: as the adapter's file has them.
    ///   - thresholds: tau by module; needed for each module of a gated adapter.
    ///   - source: what to call the adapter in errors.
    package init(
        into model: LlamaModel, _ configuration: AdapterConfiguration, tensors: [AdapterTensor],
        thresholds: [String: Float], source: String
    ) throws {
        let context = model.context
        var unused = Dictionary(tensors.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let suffixes = configuration.kind.tensors.map(\.suffix)
        let adapted = Set(tensors.compactMap { PEFTNames.split($0.name, suffixes: suffixes)?.module })
        var wrapped: [GatedProjection] = []
        try model.replaceProjections { projection in
            let path = projection.path
            guard adapted.contains(path) else { return nil }
            let method = try configuration.kind.method(path: path, configuration, context) { suffix in
                let key = PEFTNames.key(path, suffix)
                guard let tensor = unused.removeValue(forKey: key) else {
                    throw AdapterError.missingTensor(file: source, tensor: key)
                }
                let role = configuration.kind.tensors.first { $0.suffix == suffix }!
                let expected = role.shape(
                    rank: configuration.rank(for: path), outputSize: projection.frozen.outputSize,
                    inputSize: projection.frozen.inputSize)
                guard tensor.shape == expected else {
                    throw AdapterError.wrongShape(file: source, tensor: key, expected: expected, found: tensor.shape)
                }
                let value = context.tensor(tensor.shape, .f32)
                value.copy(from: tensor.values)
                return AdapterParameter(name: key, value: value, context)
            }
            var gate: TokenGate?
            if configuration.isGated {
                guard let tau = thresholds[path] else {
                    throw AdapterError.missingTensor(file: source, tensor: PEFTNames.key(path, PEFTNames.tau))
                }
                gate = TokenGate(tau: tau)
            }
            let replacement = GatedProjection(projection, method: method, gate: gate)
            wrapped.append(replacement)
            return replacement
        }
        if let stray = tensors.first(where: { unused[$0.name] != nil }) {
            throw AdapterError.unknownTensor(
                file: source, tensor: stray.name, reason: "belongs to no projection of this model")
        }
        self.configuration = configuration
        self.context = context
        projections = wrapped
        prepare()
    }

    /// All trainable tensors, module by module.
    package var parameters: [AdapterParameter] { projections.flatMap(\.method.parameters) }

    /// The tensors as a file has them, with the values of now.
    package var tensors: [AdapterTensor] { parameters.map { ($0.name, $0.value.shape, $0.value.toArray()) } }

    /// tau by module; empty for a dense adapter.
    package var thresholds: [String: Float] {
        Dictionary(
            uniqueKeysWithValues: projections.compactMap { projection in
                projection.gate.map { (projection.path, $0.tau) }
            })
    }

    /// Brings what methods derive from their parameters up to date; needed after each change of a parameter.
    package func prepare() {
        let needed = projections.reduce(0) { max($0, $1.method.preparationScratchCount) }
        // Doubles in a vector of floats, as behind the rows of a matrix there would be room that is cleared.
        let scratch = context.tensor([context.threadCount * max(16, 2 * needed)], .f32)
        context.parallelItems(projections.count) { item, thread in
            let part = scratch.address + thread * scratch.rowByteCount / context.threadCount
            let projection = projections[item]
            projection.method.prepare(
                scratch: part.assumingMemoryBound(to: Double.self),
                wantsNorms: projection.gate != nil || projection.observer != nil)
        }
    }

    /// Starts an optimizer step: gradients and gates' sums back to zero.
    package func beginStep() {
        for parameter in parameters { parameter.gradient.clear() }
        for projection in projections { projection.gate?.beginStep() }
    }

    /// Chooses the dropout masks of the next batch (nil for none): one stream of keys, one key a module.
    package func useDropout(_ stream: RandomStream?) {
        for projection in projections {
            projection.dropoutKey = stream.map { $0.forked(projection.path).key }
        }
    }

    /// Has `observer` told of every gate's decisions; nil for nobody.
    package func observe(_ observer: (any GateObserver)?) {
        for projection in projections { projection.observer = observer }
        if observer != nil { prepare() }
    }
}
