import CheckpointIO
import Compute

/// Qwen3.5's language model: of four layers three have a gated delta rule in attention's place, the fourth attention with
/// a gate on its output and a rotary embedding of a part of each head. Norms multiply by 1 + w, but for the delta rule's.
package struct Qwen35: Architecture {
    package static let names = ArchitectureNames(
        "qwen3_5_text", class: "Qwen3_5ForCausalLM", classifier: "Qwen3_5TextForSequenceClassification", gguf: "qwen35")

    private static let secondNorm = ModulePart("post_attention_layernorm", gguf: "post_attention_norm")
    private static let channels = ModulePart("linear_attn.in_proj_qkv", gguf: "attn_qkv")
    private static let gate = ModulePart("linear_attn.in_proj_z", gguf: "attn_gate")
    private static let decays = ModulePart("linear_attn.in_proj_a", gguf: "ssm_alpha")
    private static let shares = ModulePart("linear_attn.in_proj_b", gguf: "ssm_beta")
    private static let convolution = ModulePart("linear_attn.conv1d", gguf: "ssm_conv1d")
    private static let logRate = ModulePart("linear_attn.A_log", gguf: "ssm_a")
    private static let decayBias = ModulePart("linear_attn.dt_bias", gguf: "ssm_dt.bias")
    private static let deltaNorm = ModulePart("linear_attn.norm", gguf: "ssm_norm")
    private static let deltaOutput = ModulePart("linear_attn.out_proj", gguf: "ssm_out")

    package static var modules: [ModuleTemplate<Qwen35>] {
        func addingOne(_ norm: ModuleTemplate<Qwen35>) -> ModuleTemplate<Qwen35> {
            norm.with { $0.ggufValues = .plusOne }
        }
        let full: [ModuleTemplate<Qwen35>] =
            [addingOne(.headNorm(.queryNorm)), addingOne(.headNorm(.keyNorm))]
            + [
                // Each head's rows are its queries, then its gate.
                ModuleTemplate(.query, .projection, hasBias: { $0.configuration.hasAttentionBias }) {
                    [2 * $0.configuration.querySize, $0.configuration.hiddenSize]
                }
            ]
            + ModuleTemplate.attention(
                hasBias: { $0.configuration.hasAttentionBias }, outputHasBias: { $0.configuration.hasAttentionBias }
            ).dropFirst()
        return [.embedding, addingOne(.norm(.inputNorm)), addingOne(.norm(secondNorm))]
            + full.map { $0.with { $0.isInLayers = { !$0.linear.contains($1) } } }
            + deltaModules.map { $0.with { $0.isInLayers = { $0.linear.contains($1) } } }
            + ModuleTemplate.feedForward() + [addingOne(.finalNorm), .outputHead]
    }

    private static var deltaModules: [ModuleTemplate<Qwen35>] {
        func heads(_ part: ModulePart) -> ModuleTemplate<Qwen35> {
            ModuleTemplate(part, .projection, ggufRows: { $0.delta.heads(of: 1) }) {
                [$0.delta.valueHeadCount, $0.configuration.hiddenSize]
            }
        }
        func vector(_ part: ModulePart) -> ModuleTemplate<Qwen35> {
            ModuleTemplate(part, .other, ggufRows: { $0.delta.heads(of: 1) }) { [$0.delta.valueHeadCount] }
                .with { $0.isTensor = true }
        }
        return [
            ModuleTemplate(channels, .projection, ggufRows: { $0.delta.channelRows }) {
                [$0.delta.channelCount, $0.configuration.hiddenSize]
            },
            ModuleTemplate(gate, .projection, ggufRows: { $0.delta.heads(of: $0.delta.valueSize) }) {
                [$0.delta.innerSize, $0.configuration.hiddenSize]
            },
            heads(shares), heads(decays),
            ModuleTemplate(convolution, .other, ggufRows: { $0.delta.channelRows }) {
                [$0.delta.channelCount, 1, $0.delta.taps]
            },
            vector(logRate).with { $0.ggufValues = .negatedExponential }, vector(decayBias),
            ModuleTemplate(deltaNorm, .norm) { [$0.delta.valueSize] },
            ModuleTemplate(deltaOutput, .projection) { [$0.configuration.hiddenSize, $0.delta.innerSize] }
                .with { $0.ggufColumns = { $0.delta.heads(of: $0.delta.valueSize) } },
        ]
    }

    package let configuration: ModelConfiguration
    let delta: DeltaSizes
    /// The layers with a delta rule.
    let linear: LayerPattern
    /// Pairs of the rotary embedding for each of an image's three axes.
    let sections: [Int]

    /// The sizes of the delta rule.
    struct DeltaSizes: Sendable, Equatable {
        let keyHeadCount: Int
        let valueHeadCount: Int
        let keySize: Int
        let valueSize: Int
        let taps: Int

        var innerSize: Int { valueHeadCount * valueSize }
        var channelCount: Int { 2 * keyHeadCount * keySize + innerSize }
        var shape: DeltaShape {
            DeltaShape(
                keyHeadCount: keyHeadCount, valueHeadCount: valueHeadCount, keySize: keySize, valueSize: valueSize)
        }
        var channelRows: RowOrder { order(first: 2 * keyHeadCount * keySize, headSize: valueSize) }

        /// The order of value heads of so many rows.
        func heads(of size: Int) -> RowOrder { order(first: 0, headSize: size) }

        private func order(first: Int, headSize: Int) -> RowOrder {
            guard keyHeadCount < valueHeadCount else { return .asInHuggingFace }
            return .transposedGroups(
                first: first, groupCount: keyHeadCount, groupSize: valueHeadCount / keyHeadCount, headSize: headSize)
        }
    }

    private static let interval = Field("full_attention_interval", gguf: "full_attention_interval")
    private static let kinds = ["linear_attention", RotaryLayers.full.rawValue]

    package init(_ fields: ModelFields) throws {
        try fields.refuseUnknownForms()
        try fields.refuseExpertsScalesAndWindows()
        configuration = try ModelConfiguration(
            fields, Self.names,
            assuming: .init(
                maximumPositions: 32768, keyValueHeadCount: 4, headSize: 256, turnedShare: 0.25),
            biases: .init(attention: try fields.hasBias(flag: "attention_bias", .key)),
            rotaryKinds: [.standard, .linear, .yarn])
        guard try fields.json?.flag("attn_output_gate") ?? true else {
            throw fields.unsupported("attn_output_gate", "false", "true")
        }
        delta = try Self.sizes(fields)
        guard delta.valueHeadCount % delta.keyHeadCount == 0 else {
            throw fields.unsupported(
                "linear_num_value_heads", "\(delta.valueHeadCount)", "a multiple of the \(delta.keyHeadCount) key heads"
            )
        }
        sections = try Self.sections(fields)
        guard let json = fields.json, json.isPresent("layer_types") else {
            let period = try fields.optionalSize(Self.interval)
            linear = (period == nil ? Self.layers(fields, configuration.layerCount) : nil) ?? .allButEvery(period ?? 4)
            return
        }
        let names = try json.names("layer_types", count: configuration.layerCount, of: Self.kinds)
        linear = .each(names.map { $0 == Self.kinds[0] })
    }

    /// The layers of a GGUF file that have the delta rule's projection, for one that does not tell their distance.
    private static func layers(_ fields: ModelFields, _ count: Int) -> LayerPattern? {
        guard fields.gguf != nil, let checkpoint = fields.checkpoint else { return nil }
        let name = ModulePart.Kind.weight.name(of:)
        return .each(
            (0..<min(count, checkpoint.tensors.count)).map { checkpoint.record(name(channels.gguf(layer: $0))) != nil })
    }

    private static func sections(_ fields: ModelFields) throws -> [Int] {
        let key = "mrope_section"
        if let gguf = fields.gguf {
            return Array(
                (gguf.metadata[gguf.prefix + "rope.dimension_sections"]?
                    .integers(in: .sizesOrNone) ?? [11, 11, 10]).prefix(3))
        }
        let parameters = try fields.json?.rotaryParameters()
        guard let list = parameters?.member(key)?.arrayValue else { return [11, 11, 10] }
        let numbers = list.compactMap { $0.integer(in: .sizesOrNone) }
        guard numbers.count == 3, list.count == 3 else {
            throw fields.unsupported(key, "something else", "a list of three counts")
        }
        return numbers
    }

    private static func sizes(_ fields: ModelFields) throws(ModelError) -> DeltaSizes {
        func size(_ json: String, _ gguf: String, assumed: Int) throws(ModelError) -> Int {
            try fields.size(Field(json, gguf: gguf), assumed: assumed)
        }
        let values = try size("linear_num_value_heads", "ssm.time_step_rank", assumed: 32)
        let valueSize: Int
        if let gguf = fields.gguf {
            let inner = try gguf.requiredPositiveInteger(gguf.prefix + "ssm.inner_size")
            guard inner % values == 0 else {
                throw gguf.bad(gguf.prefix + "ssm.inner_size", "a multiple of the \(values) value heads", "\(inner)")
            }
            valueSize = inner / values
        } else {
            valueSize = try fields.json?.positiveInteger("linear_value_head_dim") ?? 128
        }
        return DeltaSizes(
            keyHeadCount: try size("linear_num_key_heads", "ssm.group_count", assumed: 16), valueHeadCount: values,
            keySize: try size("linear_key_head_dim", "ssm.state_size", assumed: 128), valueSize: valueSize,
            taps: try size("linear_conv_kernel_dim", "ssm.conv_kernel", assumed: 4))
    }

    /// The period of the layers with attention; nil where they have none.
    private var period: Int? {
        let first = (0..<configuration.layerCount).first { !linear.contains($0) }
        let period = (first ?? configuration.layerCount) + 1
        let usual = LayerPattern.allButEvery(period)
        return (0..<configuration.layerCount).allSatisfy { usual.contains($0) == linear.contains($0) } ? period : nil
    }

    package var ggufProblem: String? {
        period == nil ? "layers with attention that do not come at one distance ('layer_types')" : nil
    }

    package func write(to fields: inout WrittenFields) {
        configuration.write(names, to: &fields)
        fields.setJSON("attention_bias", .bool(configuration.hasAttentionBias))
        fields.setJSON("linear_num_key_heads", .integer(delta.keyHeadCount))
        fields.setJSON("linear_num_value_heads", .integer(delta.valueHeadCount))
        fields.setJSON("linear_key_head_dim", .integer(delta.keySize))
        fields.setJSON("linear_value_head_dim", .integer(delta.valueSize))
        fields.setJSON("linear_conv_kernel_dim", .integer(delta.taps))
        configuration.writeTurnedShare(to: &fields)
        var rotary = configuration.rotaryScaling.parameters(base: configuration.rotaryBase)
        rotary["partial_rotary_factor"] = .real(Double(configuration.turnedSize) / Double(configuration.headSize))
        rotary["mrope_section"] = .array(sections.map { .integer($0) })
        rotary["mrope_interleaved"] = .bool(true)
        fields.setJSON("rope_parameters", .object(rotary))
        writeGGUFKeys(to: &fields)
        fields.setJSON(
            "layer_types",
            .array((0..<configuration.layerCount).map { .string(Self.kinds[linear.contains($0) ? 0 : 1]) }))
    }

    private func writeGGUFKeys(to fields: inout WrittenFields) {
        func set(_ key: String, _ value: Int) { fields.setGGUF(key, .uint32(UInt32(value))) }
        set("rope.dimension_count", configuration.turnedSize)
        // What pairs turn by for each axis of an image; in a text all axes are one.
        fields.setGGUF("rope.dimension_sections", .int32s((sections + [0]).map(Int32.init)))
        set("ssm.conv_kernel", delta.taps)
        set("ssm.state_size", delta.keySize)
        set("ssm.group_count", delta.keyHeadCount)
        set("ssm.time_step_rank", delta.valueHeadCount)
        set("ssm.inner_size", delta.innerSize)
        set(Self.interval.gguf, period ?? 0)
    }

    package func makeModel(_ weights: WeightLoader) throws -> any Model {
        let rotary = configuration.rotary.table(weights.context)
        return try Decoder(weights, DecoderForm(finalNormAddsOne: true)) { layer in
            let block: any LayerBlock =
                linear.contains(layer.index) ? try deltaBlock(layer) : try attentionBlock(layer, rotary)
            return DecoderLayer(
                attention: Sublayer(norm: try layer.norm(.inputNorm, addsOne: true), block: block),
                feedForward: Sublayer(
                    norm: try layer.norm(Self.secondNorm, addsOne: true), block: try FeedForwardBlock(layer)))
        }
    }

    private func attentionBlock(_ layer: LayerWeights, _ rotary: RotaryTable) throws -> AttentionBlock {
        var form = AttentionForm(rotary: rotary)
        form.norms = (
            query: try layer.norm(.queryNorm, addsOne: true), key: try layer.norm(.keyNorm, addsOne: true)
        )
        form.hasOutputGate = true
        return try AttentionBlock(layer, configuration, form)
    }

    private func deltaBlock(_ layer: LayerWeights) throws -> DeltaBlock {
        func vector(_ part: ModulePart) throws -> [Float] { try layer.vector(part.path).toArray() }
        return DeltaBlock(
            channels: try layer.projection(Self.channels), gate: try layer.projection(Self.gate),
            output: try layer.projection(Self.deltaOutput), decays: try layer.projection(Self.decays),
            shares: try layer.projection(Self.shares),
            taps: try layer.vector(CheckpointNames.weight(of: Self.convolution.path)).toArray(),
            decay: DeltaDecay(logRate: try vector(Self.logRate), bias: try vector(Self.decayBias)),
            norm: try layer.norm(Self.deltaNorm), shape: delta.shape)
    }
}
