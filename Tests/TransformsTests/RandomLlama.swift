import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// A Llama of random sizes, in a Hugging Face directory.
struct RandomLlama {
    /// Its tensors, in the order of the file.
    private(set) var tensors: [(name: String, dtype: DType, shape: [Int])] = []
    private let configuration: JSONObject

    /// One to three layers; heads, key and value heads and head sizes of any number, the head tied or not, biases or
    /// none, and matrices of one type, with vectors of that or of F32, or of a type each, with vectors of F32.
    init(_ random: inout RandomStream, types: [DType] = [.f32, .f16, .bf16]) {
        func upTo(_ count: Int) -> Int { 1 + random.nextIndex(below: count) }
        func flag() -> Bool { random.nextIndex(below: 2) == 1 }
        let keyValueHeads = upTo(3)
        let (heads, headSize) = (keyValueHeads * upTo(3), 2 * upTo(4))
        let (hidden, inner, layers) = (2 + upTo(24), upTo(20), upTo(3))
        // The tokenizer has eight tokens; rows without a token are usual.
        let vocabulary = 7 + upTo(4)
        let (isTied, hasBias, hasMLPBias) = (flag(), flag(), flag())
        let main = types[random.nextIndex(below: types.count)]
        let isMixed = flag()
        let vectors = isMixed || flag() ? DType.f32 : main
        var scaling: JSONValue = .null
        switch random.nextIndex(below: 3) {
        // A factor of 1 would come back as no scaling.
        case 1: scaling = .object(["rope_type": .string("linear"), "factor": .integer(1 + upTo(7))])
        case 2:
            scaling = HuggingFaceConfiguration.llama3(
                factor: Double(1 + upTo(31)), low: 1, high: Double(1 + upTo(7)), original: 1 << (5 + upTo(8)))
        default: break
        }
        configuration = [
            "model_type": .string("llama"), "architectures": .array([.string("LlamaForCausalLM")]),
            "hidden_size": .integer(hidden), "intermediate_size": .integer(inner),
            "num_hidden_layers": .integer(layers), "num_attention_heads": .integer(heads),
            "num_key_value_heads": .integer(keyValueHeads), "head_dim": .integer(headSize),
            "vocab_size": .integer(vocabulary), "max_position_embeddings": .integer(16 * upTo(64)),
            "rms_norm_eps": .number("1e-0\(4 + upTo(4))"), "hidden_act": .string("silu"), "bos_token_id": .integer(0),
            "eos_token_id": .integer(1), "rope_theta": .integer(1000 * upTo(1000)), "rope_scaling": scaling,
            "attention_bias": .bool(hasBias), "mlp_bias": .bool(hasMLPBias), "tie_word_embeddings": .bool(isTied),
        ]
        func matrix(_ name: String, _ shape: [Int]) {
            let dtype = isMixed ? types[random.nextIndex(below: types.count)] : main
            tensors.append((CheckpointNames.weight(of: name), dtype, shape))
        }
        func vector(_ name: String, _ size: Int) { tensors.append((name, vectors, [size])) }
        matrix("model.embed_tokens", [vocabulary, hidden])
        let (query, keys) = (heads * headSize, keyValueHeads * headSize)
        let parts: [(name: String, shape: [Int])] = [
            ("self_attn.q_proj", [query, hidden]), ("self_attn.k_proj", [keys, hidden]),
            ("self_attn.v_proj", [keys, hidden]), ("self_attn.o_proj", [hidden, query]),
            ("mlp.gate_proj", [inner, hidden]), ("mlp.up_proj", [inner, hidden]), ("mlp.down_proj", [hidden, inner]),
        ]
        for layer in 0..<layers {
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                vector(CheckpointNames.weight(of: LlamaNames.module(norm, layer: layer)), hidden)
            }
            for (part, shape) in parts {
                let module = LlamaNames.module(part, layer: layer)
                matrix(module, shape)
                if part.hasPrefix("self") ? hasBias : hasMLPBias {
                    vector(CheckpointNames.bias(of: module), shape[0])
                }
            }
        }
        vector(LlamaNames.finalNorm, hidden)
        if !isTied { matrix(LlamaNames.outputHeadModule, [vocabulary, hidden]) }
    }

    /// Writes it into the new folder `path`, with the tokenizer that lies in `tokenizer`: numbers between -1 and 1, or
    /// in matrices any bits, infinities and NaN among them.
    func write(to path: String, tokenizer: String, _ random: inout RandomStream, anyBits: Bool = false) throws {
        let directory = try AtomicDirectory(path)
        try directory.write("config.json", text: JSONValue.object(configuration).text(indent: 2))
        for name in try names(in: tokenizer) where name.hasPrefix("tokenizer") {
            try directory.write(name, readFile(tokenizer + "/" + name))
        }
        let entries = tensors.map { SafetensorsEntry(name: $0.name, dtype: $0.dtype, shape: $0.shape) }
        let writer = try SafetensorsWriter(try directory.writer("model.safetensors"), entries: entries)
        for (_, dtype, shape) in tensors {
            let count = shape.reduce(1, *)
            let bytes =
                anyBits && shape.count > 1
                ? (0..<count * dtype.byteCount).map { _ in UInt8(truncatingIfNeeded: random.nextBits()) }
                : encoded(random.uniforms(count, bound: 1), dtype)
            try bytes.withUnsafeBytes { try writer.append($0) }
        }
        try writer.finish()
        try directory.commit()
    }

    /// Makes a folder with a tokenizer of eight tokens.
    static func writeTokenizer(to path: String) throws {
        try CheckpointConversion(
            try Checkpoint.open(fixture("llama-quantized/q4_0.gguf")), to: .huggingFace, at: path
        ).write(threadCount: 1)
    }
}
