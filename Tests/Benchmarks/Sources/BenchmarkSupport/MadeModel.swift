import Foundation

/// A model that is made up: the names and shapes of a real one, random values.
public struct MadeModel: Sendable {
    /// Its tensors, in the order of the files.
    public let tensors: [MadeTensor]
    /// `config.json`.
    public let configuration: String
    /// Bytes of a shard at most.
    public let shardBytes: Int

    /// Bytes of all tensors.
    public var bytes: Int { tensors.reduce(0) { $0 + $1.bytes } }

    /// The weights of the modules with these names.
    public func weights(of modules: Set<String>) -> [MadeTensor] {
        tensors.filter { tensor in
            let parts = tensor.name.split(separator: ".")
            return parts.count > 1 && parts.last == "weight" && modules.contains(String(parts[parts.count - 2]))
        }
    }

    /// Whether a folder has a checkpoint, whole.
    public static func isMade(in folder: String) -> Bool {
        FileManager.default.fileExists(atPath: folder + "/model.safetensors.index.json")
    }

    /// Writes it.
    public func write(to folder: String) throws {
        try SafetensorsMaker().write(tensors, shardBytes: shardBytes, configuration: configuration, to: folder)
    }
}

extension MadeModel {
    /// The exact shapes of LLaMA-3.1-8B, 16 GB in four shards.
    public static var llama8B: MadeModel { llama(hidden: 4096, inner: 14336, layers: 32, shardBytes: 4_600_000_000) }

    /// The shapes of LLaMA-3.2-1B with a head of its own, 3 GB in three shards.
    public static var llama1B: MadeModel { llama(hidden: 2048, inner: 8192, layers: 16, shardBytes: 1_100_000_000) }

    /// A Llama with 32 heads, a quarter as many for keys and values.
    private static func llama(hidden: Int, inner: Int, layers: Int, shardBytes: Int) -> MadeModel {
        let (keys, vocabulary) = (hidden / 4, 128_256)
        var tensors = [MadeTensor("model.embed_tokens.weight", [vocabulary, hidden])]
        for layer in 0..<layers {
            let matrices = [
                ("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", keys, hidden),
                ("self_attn.v_proj", keys, hidden), ("self_attn.o_proj", hidden, hidden),
                ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden), ("mlp.down_proj", hidden, inner),
            ]
            for (name, rows, columns) in matrices {
                tensors.append(MadeTensor("model.layers.\(layer).\(name).weight", [rows, columns]))
            }
            for name in ["input_layernorm", "post_attention_layernorm"] {
                tensors.append(MadeTensor("model.layers.\(layer).\(name).weight", [hidden], .ones))
            }
        }
        tensors += [
            MadeTensor("model.norm.weight", [hidden], .ones), MadeTensor("lm_head.weight", [vocabulary, hidden]),
        ]
        let configuration = """
            {
              "architectures": ["LlamaForCausalLM"],
              "attention_bias": false,
              "bos_token_id": 0,
              "eos_token_id": 0,
              "head_dim": \(hidden / 32),
              "hidden_act": "silu",
              "hidden_size": \(hidden),
              "initializer_range": 0.02,
              "intermediate_size": \(inner),
              "max_position_embeddings": 131072,
              "mlp_bias": false,
              "model_type": "llama",
              "num_attention_heads": 32,
              "num_hidden_layers": \(layers),
              "num_key_value_heads": 8,
              "rms_norm_eps": 1e-05,
              "rope_scaling": {
                "factor": 8.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3"
              },
              "rope_theta": 500000.0,
              "tie_word_embeddings": false,
              "torch_dtype": "bfloat16",
              "vocab_size": \(vocabulary)
            }

            """
        return MadeModel(tensors: tensors, configuration: configuration, shardBytes: shardBytes)
    }

    /// A mixture of 128 experts in each of 48 layers, as a matrix each for gate, up and down: 18,432 small tensors, 4 GB in
    /// four shards, and nothing else.
    public static var experts: MadeModel {
        let (hidden, inner) = (384, 282)
        let tensors = (0..<48).flatMap { layer in
            (0..<128).flatMap { expert in
                [("gate_proj", inner, hidden), ("up_proj", inner, hidden), ("down_proj", hidden, inner)].map {
                    MadeTensor("model.layers.\(layer).mlp.experts.\(expert).\($0).weight", [$1, $2])
                }
            }
        }
        return MadeModel(
            tensors: tensors,
            configuration: #"{"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2"}"# + "\n",
            shardBytes: 1_000_000_000)
    }
}
