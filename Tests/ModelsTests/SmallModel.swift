import CheckpointIO
import TestSupport

/// A Llama of a few hundred numbers that a test can change before it is written in either layout.
struct SmallModel {
    /// `config.json`.
    var configuration: JSONObject = [
        "model_type": .string("llama"), "architectures": .array([.string("LlamaForCausalLM")]),
        "hidden_size": .integer(8),
        "intermediate_size": .integer(12), "num_hidden_layers": .integer(2), "num_attention_heads": .integer(4),
        "num_key_value_heads": .integer(2),
        "head_dim": .integer(4), "vocab_size": .integer(10), "max_position_embeddings": .integer(32),
        "rms_norm_eps": .number("1e-05"),
        "hidden_act": .string("silu"), "bos_token_id": .integer(1), "eos_token_id": .integer(2),
        "rope_theta": .integer(10000),
    ]
    /// Hugging Face's tensors.
    var tensors: [(name: String, shape: [Int], values: [Float])] = []

    init() {
        add("model.embed_tokens.weight", [10, 8])
        for layer in 0..<2 {
            let prefix = "model.layers.\(layer)."
            add(prefix + "input_layernorm.weight", [8])
            add(prefix + "self_attn.q_proj.weight", [16, 8])
            add(prefix + "self_attn.k_proj.weight", [8, 8])
            add(prefix + "self_attn.v_proj.weight", [8, 8])
            add(prefix + "self_attn.o_proj.weight", [8, 16])
            add(prefix + "post_attention_layernorm.weight", [8])
            add(prefix + "mlp.gate_proj.weight", [12, 8])
            add(prefix + "mlp.up_proj.weight", [12, 8])
            add(prefix + "mlp.down_proj.weight", [8, 12])
        }
        add("model.norm.weight", [8])
        add("lm_head.weight", [10, 8])
    }

    /// Adds a tensor whose every number differs from all others.
    mutating func add(_ name: String, _ shape: [Int]) {
        let start = Float(tensors.count * 1000)
        tensors.append((name, shape, (0..<shape.reduce(1, *)).map { start + Float($0) }))
    }

    mutating func remove(_ name: String) { tensors.removeAll { $0.name == name } }

    /// The values of a tensor.
    func values(_ name: String) -> [Float] { tensors.first { $0.name == name }!.values }

    /// Writes `model.safetensors` and `config.json` into a folder.
    func write(to folder: String) throws {
        try SafetensorsWriter.write(tensors, to: folder + "/model.safetensors", replacing: true)
        try writeFile(folder + "/config.json", JSONValue.object(configuration).text(indent: 2))
    }

    /// The metadata that a GGUF file of this model has, before what a test adds.
    func ggufBuilder() -> GGUFBuilder {
        var builder = GGUFBuilder()
        builder.add("general.architecture", text: "llama")
        builder.add("llama.block_count", integer: 2)
        builder.add("llama.context_length", integer: 32)
        builder.add("llama.embedding_length", integer: 8)
        builder.add("llama.feed_forward_length", integer: 12)
        builder.add("llama.attention.head_count", integer: 4)
        builder.add("llama.attention.head_count_kv", integer: 2)
        builder.add("llama.attention.key_length", integer: 4)
        builder.add("llama.attention.layer_norm_rms_epsilon", float: 1e-5)
        return builder
    }

    /// Writes a GGUF file; rows of the query and key projections go to where GGUF has them: a head of four rows
    /// (a0 a1 b0 b1), of which a and b are rotated together, is stored as (a0 b0 a1 b1).
    func writeGGUF(to path: String, _ change: (inout GGUFBuilder) -> Void = { _ in }) throws {
        var builder = ggufBuilder()
        change(&builder)
        for tensor in tensors {
            var values = tensor.values
            if tensor.name.contains("q_proj") || tensor.name.contains("k_proj") {
                let width = values.count / tensor.shape[0]
                let rows = stride(from: 0, to: tensor.shape[0], by: 4).flatMap { [$0, $0 + 2, $0 + 1, $0 + 3] }
                values = rows.flatMap { tensor.values[$0 * width..<($0 + 1) * width] }
            }
            builder.addTensor(Self.ggufName(tensor.name), shape: tensor.shape, floats: values)
        }
        try writeFile(path, builder.file)
    }

    private static func ggufName(_ name: String) -> String {
        var name = name
        for (from, to) in [
            ("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output"),
            ("model.layers", "blk"), ("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"),
            ("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"), ("mlp.gate_proj", "ffn_gate"), ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
        ] {
            if let range = name.range(of: from) { name.replaceSubrange(range, with: to) }
        }
        return name
    }
}
