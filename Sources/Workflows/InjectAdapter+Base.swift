import Adapters
import Models
import TensorCore
import TensorCore

extension InjectRequest {
    /// Puts the packed parameters into a new adapter's configuration.
    ///
    /// Throws `AdapterError.badSetting` for what peft refuses beside them, and `WorkflowError.conflict` for layers, which
    /// peft does not heed at parameters.
    func apply(parametersTo configuration: inout AdapterConfiguration, _ base: ModelCheckpoint) throws {
        guard !targetParameters.isEmpty else { return }
        if layers != nil {
            throw WorkflowError.conflict(
                "\(.layers) does not choose among packed parameters; give \(.targetParameters) the whole path of each "
                    + "layer's, such as model.layers.0.\(targetParameters[0])")
        }
        configuration.targetParameters = targetParameters
        try configuration.checkParameters()
        configuration.expertCounts = base.expertCounts(for: configuration)
    }
}

/// What injection asks of a base of any architecture.
extension ModelCheckpoint {
    /// peft's `task_type`: `CAUSAL_LM` where the graph or the class says so, and none, with which peft wraps any model,
    /// where neither does.
    var taskType: String? {
        if architecture != nil { return "CAUSAL_LM" }
        let name = checkpoint.configuration?["architectures"]?.arrayValue?.first?.stringValue ?? ""
        return name.hasSuffix("ForCausalLM") || name.hasSuffix("LMHeadModel") ? "CAUSAL_LM" : nil
    }

    /// The parts of the head for sequences that are trained where nothing is said of them: all but those between the
    /// pooler and the last layer that the base has.
    var trainedHeads: [String] {
        specifications.headNames.filter { name in
            let own = (try? specifications.wholeTensors(named: name)) ?? []
            return name != "head" || own.contains { !contains($0.name) }
        }
    }

    /// The values with which training of a whole tensor begins: the base's; or, of a head that the base has not, those that
    /// transformers gives: normal for weights, 1 for norms, 0 for biases.
    func initialValues(of tensor: TensorSpecification, _ stream: RandomStream) throws -> [Float] {
        guard tensor.isOfHead else { return try initialWeight(of: tensor) }
        if contains(tensor.name) { return try floats(tensor.name) }
        let count = tensor.shape.reduce(1, *)
        guard tensor.role == .classifier else { return [Float](repeating: tensor.role == .norm ? 1 : 0, count: count) }
        let deviation = architecture?.headDeviation(of: tensor) ?? 0
        var own = stream.forked(tensor.name)
        return (0..<count).map { _ in Float(own.nextNormal() * deviation) }
    }

    /// Throws `WorkflowError.unsupported` for a target by name that no linear module has and another tensor's module
    /// does, with what that is.
    func refuseOtherModules(_ targets: TargetSpecification) throws(WorkflowError) {
        guard case .names(let names) = targets else { return }
        let linear = linearModules
        for name in names where !linear.contains(where: { TargetMatch.name(name, matches: $0.path) }) {
            let found = specifications.all.first { tensor in
                guard tensor.role != .projection, tensor.role != .outputHead, tensor.role != .bias else { return false }
                return TargetMatch.name(name, matches: tensor.module) || TargetMatch.name(name, matches: tensor.name)
            }
            guard let found else { continue }
            let problem: Wording = """
                \(checkpoint.path): the target '\(name)' names tensor '\(found.name)' \(found.shape), which \
                \(obstacle(found)); adapters go into linear modules
                """
            throw .unsupported(problem)
        }
    }

    /// Why a tensor is no linear module's weight, in words.
    private func obstacle(_ tensor: TensorSpecification) -> String {
        let encoding = record(of: tensor.name)?.encoding
        switch tensor.role {
        case .experts: return "holds the matrices of \(tensor.shape[0]) experts in one, which a target does not reach"
        case .embedding: return "is an embedding"
        case .norm: return "is a norm's"
        default:
            if let encoding, !encoding.holdsReals {
                if let packed = packedQuantization { return "is quantized by \(packed.words); \(packed.remedy)" }
                return "is stored as \(encoding), by another program's quantization"
            }
            return tensor.shape.count > 2
                ? "is a convolution's or another tensor of \(tensor.shape.count) axes"
                : "is no matrix that is multiplied with"
        }
    }
}
