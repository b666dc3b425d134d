import CheckpointIO
import Foundation
import Testing

/// A model that llama.cpp quantized (see Tests/Scripts/make_llama_quantized.py), and what it was made from.
package struct QuantizedByLlama: Sendable, CustomTestStringConvertible {
    /// What is known of a tensor.
    package struct Tensor: Sendable, Decodable {
        /// GGUF's name of its type.
        package let type: String
        /// The SHA-256 of its numbers in F32.
        package let sha256: String
    }

    private struct Record: Decodable {
        let source: [String: String]
        let files: [String: [String: Tensor]]
    }

    /// The file's name without its suffix: the file type, or that of a mixture.
    package let name: String
    /// Its tensors, by GGUF's names.
    package let tensors: [String: Tensor]

    package var testDescription: String { name }
    /// Where it is.
    package var path: String { fixture("llama-quantized/\(name).gguf") }

    private static let record: Record = {
        do {
            let path = fixture("llama-quantized/values.json")
            return try JSONDecoder().decode(Record.self, from: Data(contentsOf: URL(fileURLWithPath: path)))
        } catch { fatalError("Fixtures/llama-quantized/values.json: \(error)") }
    }()

    /// Every file.
    package static let all = record.files.keys.sorted().map { QuantizedByLlama(name: $0, tensors: record.files[$0]!) }
    /// Those named for a file type that `convert` writes too.
    package static let convertible = all.filter { !["legacy", "importance", "iq4_xs"].contains($0.name) }

    /// The SHA-256 of the numbers that a tensor was made from.
    package static func sourceDigest(_ tensor: String) -> String? { record.source[tensor] }

    /// The tensors that all files were made from, in the order of the files.
    package static let source: [(name: String, shape: [Int], values: [Float])] = {
        let layer = "blk.0."
        let shapes: [(String, [Int])] = [
            ("token_embd", [8, 256]), (layer + "attn_norm", [256]), (layer + "attn_q", [32, 256]),
            (layer + "attn_k", [16, 256]), (layer + "attn_v", [16, 256]), (layer + "attn_output", [256, 32]),
            (layer + "ffn_norm", [256]), (layer + "ffn_gate", [32, 256]), (layer + "ffn_up", [32, 256]),
            (layer + "ffn_down", [256, 32]), ("output_norm", [256]), ("output", [8, 256]),
        ]
        return shapes.enumerated().map { place, tensor in
            let count = tensor.1.reduce(1, *)
            let factors = (0..<2).map { randomValues(count, seed: UInt64(2 * place + $0)) }
            return (tensor.0 + ".weight", tensor.1, zip(factors[0], factors[1]).map { $0 * $1 })
        }
    }()

    /// Writes those tensors in F32, with the metadata of one of the files.
    package static func writeSource(to path: String) throws {
        guard let metadata = try Checkpoint.open(all[0].path).metadata else { preconditionFailure("GGUF has metadata") }
        let kept = metadata.keys.filter { !["general.file_type", "general.quantization_version"].contains($0) }
        let pairs = kept.map { (key: $0, value: metadata.encoded($0)!) }
        let entries = source.map { GGUFEntry(name: $0.name, encoding: .plain(.f32), shape: $0.shape) }
        let writer = try GGUFWriter(AtomicFileWriter(path), metadata: pairs, entries: entries)
        for tensor in source { try tensor.values.withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
    }
}
