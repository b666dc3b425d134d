import CheckpointIO
import Compute

/// Qwen3's models with experts (arXiv 2505.09388): Qwen3's attention, and experts in some layers or in all. An adapter
/// wraps experts and routers where it names them.
package struct Qwen3MoE: Architecture {
    package static let names = ArchitectureNames(
        "qwen3_moe", class: "Qwen3MoeForCausalLM", classifier: "Qwen3MoeForSequenceClassification", gguf: "qwen3moe")

    private static let router = ModulePart("mlp.gate", gguf: "ffn_gate_inp")

    package static var modules: [ModuleTemplate<Qwen3MoE>] {
        func expert(_ name: String, _ shape: @escaping @Sendable (Qwen3MoE) -> [Int]) -> ModuleTemplate<Qwen3MoE> {
            ModuleTemplate(ModulePart("mlp.experts.*.\(name)", gguf: ""), .projection, shape: shape).with {
                $0.copies = { $0.experts.all }
                $0.isOfMixture = true
                $0.isInLayers = { $0.sparse.contains($1) }
            }
        }
        let (inner, outer): (@Sendable (Qwen3MoE) -> Int, @Sendable (Qwen3MoE) -> Int) = (
            { $0.expertSize }, { $0.configuration.hiddenSize }
        )
        return [.embedding, .norm(.inputNorm), .norm(.postAttentionNorm), .headNorm(.queryNorm), .headNorm(.keyNorm)]
            + ModuleTemplate.attention(
                hasBias: { $0.configuration.hasAttentionBias }, outputHasBias: { $0.configuration.hasAttentionBias })
            + ModuleTemplate.feedForward().map { $0.with { $0.isInLayers = { !$0.sparse.contains($1) } } }
            + [
                ModuleTemplate(router, .projection) { [$0.experts.all, $0.configuration.hiddenSize] }.with {
                    $0.isOfMixture = true
                    $0.isInLayers = { $0.sparse.contains($1) }
                },
                expert("gate_proj") { [inner($0), outer($0)] }, expert("up_proj") { [inner($0), outer($0)] },
                expert("down_proj") { [outer($0), inner($0)] }, .finalNorm, .outputHead,
            ]
    }

    package static var expertParameters: [ExpertParameter<Qwen3MoE>] {
        func parameter(
            _ name: String, _ parts: [String], _ size: @escaping @Sendable (Qwen3MoE) -> (output: Int, input: Int)
        )
            -> ExpertParameter<Qwen3MoE>
        {
            ExpertParameter(
                module: "mlp.experts", name: name, count: { $0.experts.all }, size: size,
                parts: parts.map { "mlp.experts.*.\($0)" }, isInLayers: { $0.sparse.contains($1) })
        }
        return [
            parameter("gate_up_proj", ["gate_proj", "up_proj"]) { (2 * $0.expertSize, $0.configuration.hiddenSize) },
            parameter("down_proj", ["down_proj"]) { ($0.configuration.hiddenSize, $0.expertSize) },
        ]
    }

    package let configuration: ModelConfiguration
    let experts: ExpertCounts
    /// Width inside an expert.
    let expertSize: Int
    /// Whether the chosen experts' weights are divided by their sum.
    let normalizes: Bool
    /// The layers with experts.
    let sparse: SparseLayers

    /// Every `step`-th layer but those of a list.
    struct SparseLayers: Sendable, Equatable {
        let step: Int
        let dense: [Int]

        func contains(_ layer: Int) -> Bool { (layer + 1) % step == 0 && !dense.contains(layer) }
    }

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        experts = try ExpertCounts(fields, keys: ["num_experts", "num_local_experts"], assumed: (128, 8))
        try fields.refuseRouterNoise()
        configuration = try ModelConfiguration(
            fields, Self.names, assuming: .init(maximumPositions: 32768, keyValueHeadCount: 4),
            biases: .init(attention: try fields.hasBias(flag: "attention_bias", .query)),
            rotaryKinds: [.standard, .linear, .dynamic, .yarn])
        expertSize = try fields.json?.positiveInteger("moe_intermediate_size") ?? 768
        normalizes = try fields.json?.flag("norm_topk_prob") ?? false
        let listed = fields.json?.member("mlp_only_layers")?.arrayValue ?? []
        let dense = listed.compactMap { $0.integer(in: .sizesOrNone) }
        guard dense.count == listed.count else {
            throw fields.unsupported("mlp_only_layers", "something else", "a list of layers")
        }
        sparse = SparseLayers(step: try fields.json?.positiveInteger("decoder_sparse_step") ?? 1, dense: dense)
        try fields.refuseSlidingLayers(
            layerCount: configuration.layerCount, maximumPositions: configuration.maximumPositions,
            assumedWindow: 4096, assumedFirstLayer: 0)
    }

    package static func reads(_ fields: GGUFFields) -> Bool { false }

    package var ggufProblem: String? { "experts" }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("attention_bias", .bool(configuration.hasAttentionBias))
        fields.setJSON("num_experts", .integer(experts.all))
        fields.setJSON("num_experts_per_tok", .integer(experts.used))
        fields.setJSON("moe_intermediate_size", .integer(expertSize))
        fields.setJSON("norm_topk_prob", .bool(normalizes))
        fields.setJSON("decoder_sparse_step", .integer(sparse.step))
        fields.setJSON("mlp_only_layers", .array(sparse.dense.map { .integer($0) }))
        fields.setJSON("sliding_window", .null)
        fields.setJSON("use_sliding_window", .bool(false))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let rotary = configuration.rotary.table(weights.context)
        return try Decoder(weights) { layer in
            let norms = (query: try layer.norm(.queryNorm), key: try layer.norm(.keyNorm))
            let form = AttentionForm(rotary: rotary, norms: norms)
            let block: any LayerBlock =
                sparse.contains(layer.index) ? try mixture(layer) : try FeedForwardBlock(layer)
            return DecoderLayer(
                attention: Sublayer(
                    norm: try layer.norm(.inputNorm), block: try AttentionBlock(layer, configuration, form)),
                feedForward: Sublayer(norm: try layer.norm(.postAttentionNorm), block: block))
        }
    }

    private func mixture(_ layer: LayerWeights) throws -> ExpertBlock {
        let parts = try (0..<experts.all).map {
            try layer.expert(
                $0, path: "mlp.experts.\($0).", ("gate_proj", "up_proj", "down_proj"), packedIn: "mlp.experts")
        }
        return ExpertBlock(
            router: try layer.slot(Self.router.path), experts: parts, count: experts.used,
            weights: normalizes ? .ofChosen : .ofAll)
    }
}
