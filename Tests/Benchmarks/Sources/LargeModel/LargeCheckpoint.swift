import BenchmarkSupport
import Foundation

/// Makes a checkpoint of the exact shapes of LLaMA-3.1-8B in BF16: random small values, norms of ones, in shards.
struct LargeCheckpoint {
    let folder: String

    /// Bytes of a shard at most, unless one tensor is larger.
    private static let shardBytes = 4_600_000_000

    private struct Tensor {
        let name: String
        let shape: [Int]
        var bytes: Int { shape.reduce(2, *) }
    }

    /// Bytes of all tensors.
    var bytes: Int { tensors.reduce(0) { $0 + $1.bytes } }

    /// Writes the folder, with the tokenizer of another one.
    func write(tokenizerFrom tokenizer: String) throws {
        let files = FileManager.default
        try files.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try files.copyItem(atPath: tokenizer + "/" + name, toPath: folder + "/" + name)
        }
        try Self.config.write(toFile: folder + "/config.json", atomically: true, encoding: .utf8)
        let shards = shards()
        let block = randomBlock()
        var places: [String: String] = [:]
        for (index, shard) in shards.enumerated() {
            let name = String(format: "model-%05d-of-%05d.safetensors", index + 1, shards.count)
            for tensor in shard { places[tensor.name] = name }
            try write(shard, to: folder + "/" + name, block)
        }
        // Last, so that its presence says that the rest is whole.
        let list: [String: Any] = ["metadata": ["total_size": bytes], "weight_map": places]
        try JSONSerialization.data(withJSONObject: list, options: [.sortedKeys, .prettyPrinted])
            .write(to: URL(fileURLWithPath: folder + "/model.safetensors.index.json"))
    }

    private static let config = """
        {
          "architectures": ["LlamaForCausalLM"],
          "attention_bias": false,
          "bos_token_id": 0,
          "eos_token_id": 0,
          "head_dim": 128,
          "hidden_act": "silu",
          "hidden_size": 4096,
          "initializer_range": 0.02,
          "intermediate_size": 14336,
          "max_position_embeddings": 131072,
          "mlp_bias": false,
          "model_type": "llama",
          "num_attention_heads": 32,
          "num_hidden_layers": 32,
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
          "vocab_size": 128256
        }

        """

    private var tensors: [Tensor] {
        let (hidden, inner, keys) = (4096, 14336, 1024)
        var tensors = [Tensor(name: "model.embed_tokens.weight", shape: [128256, hidden])]
        for layer in 0..<32 {
            let matrices = [
                ("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", keys, hidden),
                ("self_attn.v_proj", keys, hidden), ("self_attn.o_proj", hidden, hidden),
                ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden), ("mlp.down_proj", hidden, inner),
            ]
            for (name, rows, columns) in matrices {
                tensors.append(Tensor(name: "model.layers.\(layer).\(name).weight", shape: [rows, columns]))
            }
            for name in ["input_layernorm", "post_attention_layernorm"] {
                tensors.append(Tensor(name: "model.layers.\(layer).\(name).weight", shape: [hidden]))
            }
        }
        return tensors + [
            Tensor(name: "model.norm.weight", shape: [hidden]),
            Tensor(name: "lm_head.weight", shape: [128256, hidden]),
        ]
    }

    private func shards() -> [[Tensor]] {
        var shards: [[Tensor]] = [[]]
        var filled = 0
        for tensor in tensors {
            if filled > 0, filled + tensor.bytes > Self.shardBytes {
                shards.append([])
                filled = 0
            }
            shards[shards.count - 1].append(tensor)
            filled += tensor.bytes
        }
        return shards
    }

    /// BF16 values of about normal distribution, deviation 0.02; their count is odd, so that rows never repeat in step.
    private func randomBlock() -> [UInt16] {
        var state: UInt64 = 0x9E37_79B9_7F4A_7C15
        return (0..<8_388_593).map { _ in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            // Four uniform numbers of 16 bits: their sum has the deviation 65536 / sqrt(3).
            let sum = (0..<4).reduce(0) { $0 + Int(state >> (16 * UInt64($1)) & 0xFFFF) } - 131_070
            return UInt16(truncatingIfNeeded: (Float(sum) * (0.02 * 1.7320508 / 65536)).bitPattern >> 16)
        }
    }

    private func write(_ tensors: [Tensor], to path: String, _ block: [UInt16]) throws {
        var header: [String: Any] = ["__metadata__": ["format": "pt"]]
        var offset = 0
        for tensor in tensors {
            header[tensor.name] = [
                "dtype": "BF16", "shape": tensor.shape, "data_offsets": [offset, offset + tensor.bytes],
            ]
            offset += tensor.bytes
        }
        var text = try JSONSerialization.data(withJSONObject: header, options: [.sortedKeys, .withoutEscapingSlashes])
        text.append(contentsOf: [UInt8](repeating: 0x20, count: (8 - text.count % 8) % 8))
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        guard file >= 0 else { throw ChildFailure(description: "\(path): \(String(cString: strerror(errno)))") }
        defer { close(file) }
        try withUnsafeBytes(of: UInt64(text.count).littleEndian) { try writeAll($0, file, path) }
        try text.withUnsafeBytes { try writeAll($0, file, path) }
        for tensor in tensors {
            if tensor.shape.count == 1 {
                let ones = [UInt16](repeating: 0x3F80, count: tensor.shape[0])
                try ones.withUnsafeBytes { try writeAll($0, file, path) }
                continue
            }
            try block.withUnsafeBytes { block in
                var left = tensor.bytes
                var start = 2 * (tensor.name.utf8.reduce(7) { ($0 * 31 + Int($1)) % (block.count / 2) })
                while left > 0 {
                    let count = min(left, block.count - start)
                    try writeAll(UnsafeRawBufferPointer(rebasing: block[start..<start + count]), file, path)
                    left -= count
                    start = 0
                }
            }
        }
    }

    private func writeAll(_ bytes: UnsafeRawBufferPointer, _ file: Int32, _ path: String) throws {
        var done = 0
        while done < bytes.count {
            let count = Foundation.write(file, bytes.baseAddress! + done, bytes.count - done)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw ChildFailure(description: "\(path): \(String(cString: strerror(errno)))") }
            done += count
        }
    }
}
