import Adapters
import CheckpointIO
import Models
import TensorCore
import TestSupport

@testable import Transforms

/// A Llama of one layer in a GGUF file whose wide matrices have rows of 256, and adapters for it.
enum BlockModel {
    static let layer = "model.layers.0."
    /// The tensors that are stored in the type asked for, by Hugging Face's names, with their shapes; q and k are
    /// permuted.
    static let wide: [(name: String, shape: [Int])] = [
        (layer + "self_attn.q_proj", [16, 256]), (layer + "self_attn.k_proj", [8, 256]),
        (layer + "self_attn.v_proj", [8, 256]), (layer + "mlp.gate_proj", [32, 256]),
        (layer + "mlp.up_proj", [32, 256]),
    ]
    /// The others are in F32.
    private static let narrow: [(name: String, shape: [Int])] = [
        ("model.norm", [256]), (layer + "input_layernorm", [256]), (layer + "post_attention_layernorm", [256]),
        (layer + "self_attn.o_proj", [256, 16]), (layer + "mlp.down_proj", [256, 32]),
    ]
    static let headSize = 8

    /// Hugging Face's row of row `row` of a GGUF file: a head's rows (a0 a1 a2 a3 b0 b1 b2 b3) are stored as
    /// (a0 b0 a1 b1 ...).
    static func huggingFaceRow(_ row: Int) -> Int {
        let (head, within) = (row / headSize, row % headSize)
        return head * headSize + within / 2 + within % 2 * (headSize / 2)
    }

    /// Writes the model as `path` with the wide matrices and the embedding in `encoding`, numbers of at most
    /// `size`.
    static func write(
        _ path: String, _ encoding: TensorEncoding, tied: Bool = false, alignment: UInt32? = nil, size: Float = 1
    ) throws -> ModelCheckpoint {
        var metadata: [(key: String, value: GGUFEncodedValue)] = [
            ("general.architecture", .string("llama")), ("llama.block_count", .uint32(1)),
            ("llama.context_length", .uint32(64)), ("llama.embedding_length", .uint32(256)),
            ("llama.feed_forward_length", .uint32(32)), ("llama.attention.head_count", .uint32(2)),
            ("llama.attention.head_count_kv", .uint32(1)), ("llama.attention.key_length", .uint32(8)),
            ("llama.attention.layer_norm_rms_epsilon", .float32(1e-5)), ("test.list", .strings(["a", ""])),
        ]
        if let alignment { metadata.append(("general.alignment", .uint32(alignment))) }
        var tensors = [("model.embed_tokens", [12, 256], encoding)]
        if !tied { tensors.append(("lm_head", [12, 256], encoding)) }
        tensors += wide.map { ($0.name, $0.shape, encoding) } + narrow.map { ($0.name, $0.shape, .plain(.f32)) }
        let entries = tensors.map { name, shape, encoding in
            GGUFEntry(name: LlamaNames.gguf(of: name + ".weight")!, encoding: encoding, shape: shape)
        }
        let writer = try GGUFWriter(AtomicFileWriter(path), metadata: metadata, entries: entries)
        for (index, (_, shape, encoding)) in tensors.enumerated() {
            let values = randomValues(shape.reduce(1, *), seed: UInt64(index + 1)).map { $0 * size }
            try encode(values, encoding).withUnsafeBytes { try writer.append($0) }
        }
        try writer.finish()
        return try ModelCheckpoint.open(path)
    }

    /// The bytes of values in a type; an encoding that tspeft does not write is zeros.
    static func encode(_ values: [Float], _ encoding: TensorEncoding) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: values.count / encoding.group.elements * encoding.group.bytes)
        guard encoding.isWritable else { return bytes }
        try values.withUnsafeBufferPointer { values in
            try bytes.withUnsafeMutableBytes { try encoding.encode(values, into: $0) }
        }
        return bytes
    }

    /// The values of bytes in a type.
    static func decode(_ bytes: [UInt8], _ encoding: TensorEncoding) -> [Float] {
        var values = [Float](repeating: 0, count: bytes.count / encoding.group.bytes * encoding.group.elements)
        bytes.withUnsafeBytes { bytes in values.withUnsafeMutableBufferPointer { encoding.decode(bytes, into: $0) } }
        return values
    }

    /// A dense adapter of rank 2 with scaling 1 on every wide matrix: numbers up to `size` in B and 1 in A, but rows
    /// 1, 5, 9, ... of B and columns 32 to 63 of A are zeros.
    static func adapter(size: Float, seed: UInt64 = 70) throws -> AdapterDirectory {
        let configuration = try AdapterConfiguration(
            LoRASettings(rank: 2, alpha: 2), isGated: false, targets: .names(wide.map(\.name)))
        var tensors: [AdapterTensor] = []
        for (index, (module, shape)) in wide.enumerated() {
            var a = randomValues(2 * shape[1], seed: seed + UInt64(2 * index))
            var b = randomValues(shape[0] * 2, seed: seed + UInt64(2 * index + 1)).map { $0 * size }
            for k in 0..<2 { for column in 32..<64 { a[k * shape[1] + column] = 0 } }
            for row in stride(from: 1, to: shape[0], by: 4) { (b[2 * row], b[2 * row + 1]) = (0, 0) }
            tensors.append(AdapterTensor(PEFTNames.key(module, PEFTNames.loraA), [2, shape[1]], a))
            tensors.append(AdapterTensor(PEFTNames.key(module, PEFTNames.loraB), [shape[0], 2], b))
        }
        return try AdapterDirectory(configuration: configuration, modules: wide.map(\.name), tensors: tensors)
    }

    /// B A of a module in Hugging Face's order of rows, in double.
    static func update(_ adapter: AdapterDirectory, _ module: String, width: Int) -> [Double] {
        let a = adapter.tensor(module, PEFTNames.loraA)!.values.map(Double.init)
        let b = adapter.tensor(module, PEFTNames.loraB)!.values.map(Double.init)
        return (0..<b.count / 2 * width).map { index in
            let (row, column) = (index / width, index % width)
            return b[2 * row] * a[column] + b[2 * row + 1] * a[width + column]
        }
    }
}
