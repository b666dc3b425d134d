import CheckpointIO
import Foundation
import TensorCore
import TestSupport

/// How thorough the tests of faults are: TSPEFT_FAULTS=200 in the environment repeats each so often, and tries every
/// page of disk space.
enum Faults {
    /// What was asked for; nil is a quick run.
    static let asked = ProcessInfo.processInfo.environment["TSPEFT_FAULTS"].flatMap { Int($0) }

    /// Whether this user may mount a file system of its own, for a disk that is full.
    static let canMount: Bool = {
        let mount = "unshare -m mount -t tmpfs -o size=1m none /mnt"
        return (try? Program(folder: "/").shell(mount).status) == 0
    }()
}

/// Every file under a folder with its contents, to compare outputs.
func snapshot(of folder: String) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for name in contents(of: folder) where pathKind(folder + "/" + name) == .regularFile {
        files[name] = try readFile(folder + "/" + name)
    }
    return files
}

/// A checkpoint of zeros that takes no disk space but a while to merge, and an adapter for it.
struct WideModel {
    static let base = "wide"
    static let adapter = "adapter"
    private static let (hidden, intermediate, vocabulary) = (512, 4096, 8192)

    /// Makes both in `folder`.
    init(in folder: String) throws {
        let directory = folder + "/" + Self.base
        mkdir(directory, 0o755)
        let text = String(decoding: try readFile(TinyRun.base + "/config.json"), as: UTF8.self)
        guard case .object(var configuration) = try JSONValue.parse(text) else {
            throw UnusableRun(command: "making the wide model", errors: "")
        }
        for (key, value) in [
            ("hidden_size", Self.hidden), ("intermediate_size", Self.intermediate), ("num_hidden_layers", 1),
            ("num_attention_heads", 8), ("num_key_value_heads", 8), ("head_dim", Self.hidden / 8),
            ("vocab_size", Self.vocabulary),
        ] {
            configuration[key] = .integer(value)
        }
        configuration["tie_word_embeddings"] = .bool(true)
        try writeFile(directory + "/config.json", JSONValue.object(configuration).text())
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(atPath: TinyRun.base + "/" + name, toPath: directory + "/" + name)
        }
        try Self.writeWeights(to: directory + "/model.safetensors")

        let program = Program(folder: folder)
        let made = try program.run(["inject", Self.base, "--method", "lora", "--rank", "8", "-o", Self.adapter])
        guard made.status == 0 else { throw UnusableRun(command: "inject", errors: made.errors) }
        try Self.fillB(of: folder + "/" + Self.adapter)
    }

    /// Makes `wide.gguf` of the model in `folder`, and `ggufAdapter`, an adapter for that.
    static func addGGUF(in folder: String) throws {
        let program = Program(folder: folder)
        for line in ["convert wide -o wide.gguf", "inject wide.gguf --method lora --rank 8 -o ggufAdapter"] {
            let made = try program.run(line.split(separator: " ").map(String.init))
            guard made.status == 0 else { throw UnusableRun(command: line, errors: made.errors) }
        }
        try fillB(of: folder + "/ggufAdapter")
    }

    /// A new adapter changes nothing: B is zero until it is trained.
    private static func fillB(of adapter: String) throws {
        let path = adapter + "/adapter_model.safetensors"
        var bytes = try readFile(path)
        for tensor in try SafetensorsFile.open(path).tensors where tensor.name.contains("lora_B") {
            for place in stride(from: tensor.offset + 3, to: tensor.byteRange.upperBound, by: 4) { bytes[place] = 0x3C }
        }
        try writeFile(path, bytes)
    }

    private static func writeWeights(to path: String) throws {
        var tensors: [(String, [Int])] = [("model.embed_tokens.weight", [vocabulary, hidden])]
        let layer = "model.layers.0."
        for name in ["input_layernorm", "post_attention_layernorm"] { tensors.append((layer + name, [hidden])) }
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            tensors.append((layer + "self_attn." + name, [hidden, hidden]))
        }
        for name in ["gate_proj", "up_proj"] { tensors.append((layer + "mlp." + name, [intermediate, hidden])) }
        tensors += [(layer + "mlp.down_proj", [hidden, intermediate]), ("model.norm", [hidden])]
        var (entries, offset) = ([String](), 0)
        for (name, shape) in tensors {
            let end = offset + shape.reduce(4, *)
            let full = name.hasSuffix(".weight") ? name : name + ".weight"
            entries.append(
                "\"\(full)\": {\"dtype\": \"F32\", \"shape\": \(shape), \"data_offsets\": [\(offset), \(end)]}")
            offset = end
        }
        let header = safetensorsFile(header: "{" + entries.joined(separator: ", ") + "}")
        try writeFile(path, header)
        guard truncate(path, header.count + offset) == 0 else {
            throw UnusableRun(command: "making the wide model", errors: "")
        }
    }
}
