import CheckpointIO
import Compute

/// Mixtral (Jiang et al., arXiv 2401.04088): Llama's attention, and experts of which a token goes to two. An adapter wraps
/// experts, one by one or packed, and routers where it names them.
package struct Mixtral: Architecture {
    package static let names = ArchitectureNames(
        "mixtral", class: "MixtralForCausalLM", classifier: "MixtralForSequenceClassification", gguf: "llama")
    package static let defaultTargets: [String]? = ["q_proj", "k_proj", "v_proj"]

    private static let router = ModulePart("block_sparse_moe.gate", gguf: "ffn_gate_inp")

    package static var modules: [ModuleTemplate<Mixtral>] {
        func expert(_ name: String, _ shape: @escaping @Sendable (Mixtral) -> [Int]) -> ModuleTemplate<Mixtral> {
            ModuleTemplate(ModulePart("block_sparse_moe.experts.*.\(name)", gguf: ""), .projection, shape: shape)
                .with {
                    $0.copies = { $0.experts.all }; $0.isOfMixture = true
                }
        }
        return [.embedding, .norm(.inputNorm), .norm(.postAttentionNorm)]
            + ModuleTemplate.attention(
                hasBias: { _ in false }, outputHasBias: { _ in false },
                rotatedRows: { .rotaryPairs(headSize: $0.configuration.headSize) })
            + [
                ModuleTemplate(router, .projection) { [$0.experts.all, $0.configuration.hiddenSize] }
                    .with { $0.isOfMixture = true },
                expert("w1") { [$0.configuration.intermediateSize, $0.configuration.hiddenSize] },
                expert("w3") { [$0.configuration.intermediateSize, $0.configuration.hiddenSize] },
                expert("w2") { [$0.configuration.hiddenSize, $0.configuration.intermediateSize] },
                .finalNorm, .outputHead,
            ]
    }

    package static var expertParameters: [ExpertParameter<Mixtral>] {
        func parameter(
            _ name: String, _ parts: [String], _ size: @escaping @Sendable (Mixtral) -> (output: Int, input: Int)
        )
            -> ExpertParameter<Mixtral>
        {
            ExpertParameter(
                module: "mlp.experts", name: name, count: { $0.experts.all }, size: size,
                parts: parts.map { "block_sparse_moe.experts.*.\($0)" })
        }
        return [
            parameter("gate_up_proj", ["w1", "w3"]) {
                (2 * $0.configuration.intermediateSize, $0.configuration.hiddenSize)
            },
            parameter("down_proj", ["w2"]) { ($0.configuration.hiddenSize, $0.configuration.intermediateSize) },
        ]
    }

    package let configuration: ModelConfiguration
    let experts: ExpertCounts
    let window: Int?

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        experts = try ExpertCounts(fields, keys: ["num_local_experts"], assumed: (8, 2))
        try fields.refuseRouterNoise()
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: 4096 * 32, keyValueHeadCount: 8, rmsNormEpsilon: 1e-5, rotaryBase: 1_000_000,
                bosTokenID: 1, eosTokenID: 2),
            biases: .init(), rotaryKinds: [.standard, .linear, .dynamic, .yarn])
        window = try fields.window(assumed: nil)
    }

    /// llama.cpp's files of experts are read without a graph.
    package static func reads(_ fields: GGUFFields) -> Bool { false }

    package var ggufProblem: String? { "experts" }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("num_local_experts", .integer(experts.all))
        fields.setJSON("num_experts_per_tok", .integer(experts.used))
        fields.setJSON("sliding_window", window.map { .integer($0) } ?? .null)
        configuration.writeLlamaKeys(to: &fields)
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let rotary = configuration.rotary.table(weights.context)
        let form = AttentionForm(rotary: rotary, scoring: AttentionScoring(.sliding(window)))
        return try Decoder(weights) { layer in
            let parts = try (0..<experts.all).map {
                try layer.expert(
                    $0, path: "block_sparse_moe.experts.\($0).", ("w1", "w3", "w2"), packedIn: "mlp.experts")
            }
            let mixture = ExpertBlock(
                router: try layer.slot(Self.router.path), experts: parts, count: experts.used, weights: .ofChosen)
            return DecoderLayer(
                attention: Sublayer(
                    norm: try layer.norm(.inputNorm), block: try AttentionBlock(layer, configuration, form)),
                feedForward: Sublayer(norm: try layer.norm(.postAttentionNorm), block: mixture))
        }
    }
}

extension ModelFields {
    /// Refuses what routers do in training alone: noise, and a loss of their own.
    func refuseRouterNoise() throws(ModelError) {
        guard let json else { return }
        if let noise = json.member("router_jitter_noise")?.doubleValue, noise != 0 {
            throw json.unsupported("router_jitter_noise", "\(noise)", "0")
        }
        if try json.flag("output_router_logits") ?? false {
            throw json.unsupported("output_router_logits", "true", "false, a loss of the text alone")
        }
    }
}
