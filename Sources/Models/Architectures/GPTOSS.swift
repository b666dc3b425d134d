import CheckpointIO
import Compute
import TensorCore

/// gpt-oss (arXiv 2508.10925): every other layer slides, each head has a sink, experts with limits inside, a bias on every
/// projection. Its files hold the experts packed, [experts, inputSize, outputSize]. Adapters wrap its attention,
/// and experts and router where they name them.
package struct GPTOSS: Architecture {
    package static let names = ArchitectureNames(
        "gpt_oss", class: "GptOssForCausalLM", classifier: "GptOssForSequenceClassification", gguf: "gpt-oss")
    package static let defaultTargets: [String]? = ["q_proj", "k_proj", "v_proj"]

    private static let router = ModulePart("mlp.router", gguf: "ffn_gate_inp")
    private static let secondNorm = ModulePart("post_attention_layernorm", gguf: "post_attention_norm")
    private static let sinks = ModulePart("self_attn.sinks", gguf: "attn_sinks.weight")
    private static let (gateUp, down) = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")

    package static var modules: [ModuleTemplate<GPTOSS>] {
        func packed(_ name: String, _ shape: @escaping @Sendable (GPTOSS) -> [Int]) -> ModuleTemplate<GPTOSS> {
            ModuleTemplate(ModulePart(name, gguf: ""), .experts, shape: shape).with {
                $0.isTensor = true
                $0.copies = { _ in 1 }
                $0.isOfMixture = true
            }
        }
        /// What holds a projection of the experts: numbers, or blocks of 32 in MXFP4 with a scale each, [out, in] then.
        func projection(
            _ name: String, _ size: @escaping @Sendable (GPTOSS) -> (output: Int, input: Int)
        ) -> [ModuleTemplate<GPTOSS>] {
            func quantized(_ suffix: String, _ inner: [Int]) -> ModuleTemplate<GPTOSS> {
                packed(name + suffix) {
                    [$0.experts.all, size($0).output, size($0).input / MXFP4Rows.blockSize] + inner
                }.with { $0.isInLayers = { model, _ in model.isMXFP4 } }
            }
            return [
                packed(name) { [$0.experts.all, size($0).input, size($0).output] }
                    .with { $0.isInLayers = { model, _ in !model.isMXFP4 } },
                quantized(MXFP4Rows.blocksSuffix, [MXFP4Rows.blockBytes]), quantized(MXFP4Rows.scalesSuffix, []),
                packed(name + "_bias") { [$0.experts.all, size($0).output] },
            ]
        }
        var modules: [ModuleTemplate<GPTOSS>] = [.embedding, .norm(.inputNorm), .norm(secondNorm)]
        modules.append(ModuleTemplate(sinks, .other) { [$0.configuration.headCount] }.with { $0.isTensor = true })
        modules += ModuleTemplate.attention(hasBias: { _ in true }, outputHasBias: { _ in true })
        modules.append(
            ModuleTemplate(router, .projection, hasBias: { _ in true }) {
                [$0.experts.all, $0.configuration.hiddenSize]
            }.with { $0.isOfMixture = true })
        modules += projection(gateUp) { (2 * $0.configuration.intermediateSize, $0.configuration.hiddenSize) }
        modules += projection(down) { ($0.configuration.hiddenSize, $0.configuration.intermediateSize) }
        return modules + [.finalNorm, .outputHead]
    }

    package static var expertParameters: [ExpertParameter<GPTOSS>] {
        func parameter(_ name: String, _ size: @escaping @Sendable (GPTOSS) -> (output: Int, input: Int))
            -> ExpertParameter<GPTOSS>
        {
            ExpertParameter(
                module: "mlp.experts", name: name, count: { $0.experts.all }, size: size, hasBias: true)
        }
        return [
            parameter("gate_up_proj") { (2 * $0.configuration.intermediateSize, $0.configuration.hiddenSize) },
            parameter("down_proj") { ($0.configuration.hiddenSize, $0.configuration.intermediateSize) },
        ]
    }

    package let configuration: ModelConfiguration
    let experts: ExpertCounts
    let window: Int?
    let sliding: LayerPattern
    let (alpha, limit): (Double, Double)
    /// Whether the files hold the experts in MXFP4.
    let isMXFP4: Bool

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms(decoding: [MXFP4Rows.method])
        isMXFP4 = fields.json?.member("quantization_config")?["quant_method"]?.stringValue == MXFP4Rows.method
        experts = try ExpertCounts(fields, keys: ["num_local_experts"], assumed: (128, 4))
        try fields.refuseRouterNoise()
        guard try fields.json?.flag("attention_bias") ?? true else {
            throw fields.unsupported("attention_bias", "false", "true")
        }
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: 131_072, keyValueHeadCount: 8, headSize: 64, rmsNormEpsilon: 1e-5,
                rotaryBase: 150_000, truncatesYarn: false),
            biases: .init(attention: true), rotaryKinds: [.standard, .linear, .yarn])
        for field in [Field.hiddenSize, .intermediateSize] where isMXFP4 {
            let size = try fields.size(field)
            guard size % MXFP4Rows.blockSize == 0 else {
                throw fields.unsupported(field, "\(size)", "experts in whole blocks of \(MXFP4Rows.blockSize) numbers")
            }
        }
        window = try fields.window(assumed: 128)
        sliding = try fields.slidingLayers(configuration.layerCount, assumed: .allButEvery(2))
        alpha = try fields.json?.positiveNumber("swiglu_alpha") ?? 1.702
        limit = try fields.json?.positiveNumber("swiglu_limit") ?? 7
    }

    package static func reads(_ fields: GGUFFields) -> Bool { false }

    package var ggufProblem: String? { "experts" }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("attention_bias", .bool(true))
        fields.setJSON("num_local_experts", .integer(experts.all))
        fields.setJSON("num_experts_per_tok", .integer(experts.used))
        fields.setJSON("sliding_window", window.map { .integer($0) } ?? .null)
        fields.setJSON("layer_types", sliding.layerTypes(configuration.layerCount))
        fields.setJSON("swiglu_alpha", .real(alpha))
        fields.setJSON("swiglu_limit", .real(limit))
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let rotary = configuration.rotary.table(weights.context)
        return try Decoder(weights) { layer in
            let sinks = try layer.vector(Self.sinks.path).toArray()
            let scoring = AttentionScoring(.sliding(sliding.contains(layer.index) ? window : nil), sinks: sinks)
            let form = AttentionForm(rotary: rotary, scoring: scoring)
            let parts = try (0..<experts.all).map { expert in
                Expert(
                    inputs: [try layer.packedExpert(Self.gateUp, expert)],
                    down: try layer.packedExpert(Self.down, expert), clamp: (Float(alpha), Float(limit)))
            }
            let mixture = ExpertBlock(
                router: try layer.slot(Self.router.path), experts: parts, count: experts.used, weights: .ofChosen)
            return DecoderLayer(
                attention: Sublayer(
                    norm: try layer.norm(.inputNorm), block: try AttentionBlock(layer, configuration, form)),
                feedForward: Sublayer(norm: try layer.norm(Self.secondNorm), block: mixture))
        }
    }
}

extension LayerWeights {
    /// One expert of a tensor [experts, inputSize, outputSize] of the layer, and of its biases `NAME_bias` [experts,
    /// outputSize].
    fileprivate func packedExpert(_ name: String, _ expert: Int) throws -> ProjectionSlot {
        let full = ModulePart.layerPrefix + "\(index)." + name
        let (checkpoint, context) = (loader.checkpoint, loader.context)
        func read(_ name: String, _ count: Int) throws -> [Float] {
            var values = [Float](repeating: 0, count: count)
            try values.withUnsafeMutableBufferPointer {
                try checkpoint.readFloats(name, rows: expert..<expert + 1, into: $0)
            }
            return values
        }
        let turned: Tensor
        if let blocks = MXFP4Rows(checkpoint, full) {
            turned = context.tensor([blocks.rowCount, blocks.width], .f32)
            try blocks.decode(expert, into: turned.floats)
        } else {
            let shape = checkpoint.shape(of: full) ?? [0, 0, 0]
            let stored = try read(full, shape[1] * shape[2])
            turned = context.tensor([shape[2], shape[1]], .f32)
            for row in 0..<shape[2] {
                for column in 0..<shape[1] { turned.floats[row * shape[1] + column] = stored[column * shape[2] + row] }
            }
        }
        let outputSize = turned.rows
        let matrix = context.tensor(turned.shape, context.weightType)
        context.convert(turned, into: matrix)
        let bias = context.tensor([outputSize], .f32)
        bias.copy(from: try read(full + "_bias", outputSize))
        let parameter = NamePath.components(full)
        let path = ExpertPath(NamePath.joined(parameter.dropLast()), expert, String(parameter.last ?? "")).path
        return ProjectionSlot(PlainProjection(path: path, frozen: FrozenLinear(DenseMatrix(matrix), bias: bias)))
    }
}
