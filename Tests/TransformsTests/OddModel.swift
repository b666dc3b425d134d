import Adapters
import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

/// A Llama of one layer whose sizes are multiples of nothing that a kernel works in, and adapters of every kind for it.
enum OddModel {
    /// The modules that its adapters change: [18, 18], [6, 18] and [18, 13].
    static let modules = [
        "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj", "model.layers.0.mlp.down_proj",
    ]
    /// Their ranks; AdaLoRA's first one.
    static let rank = 3

    /// Writes the model in `dtype` into `folder`/`name` and opens it.
    static func base(in folder: String, _ dtype: DType = .f32, hasBias: Bool = false) throws -> ModelCheckpoint {
        let directory = try AtomicDirectory(folder + "/base")
        let configuration: JSONObject = [
            "model_type": .string("llama"), "architectures": .array([.string("LlamaForCausalLM")]),
            "hidden_size": .integer(18), "intermediate_size": .integer(13), "num_hidden_layers": .integer(1),
            "num_attention_heads": .integer(3), "num_key_value_heads": .integer(1), "head_dim": .integer(6),
            "vocab_size": .integer(23), "max_position_embeddings": .integer(32), "rms_norm_eps": .number("1e-05"),
            "hidden_act": .string("silu"), "bos_token_id": .integer(1), "eos_token_id": .integer(2),
            "rope_theta": .integer(10000), "attention_bias": .bool(hasBias), "tie_word_embeddings": .bool(false),
        ]
        try directory.write("config.json", text: JSONValue.object(configuration).text(indent: 2))
        let layer = "model.layers.0."
        var shapes: [(String, [Int])] = [
            ("model.embed_tokens.weight", [23, 18]), (layer + "input_layernorm.weight", [18]),
            (layer + "self_attn.q_proj.weight", [18, 18]), (layer + "self_attn.k_proj.weight", [6, 18]),
            (layer + "self_attn.v_proj.weight", [6, 18]), (layer + "self_attn.o_proj.weight", [18, 18]),
            (layer + "post_attention_layernorm.weight", [18]), (layer + "mlp.gate_proj.weight", [13, 18]),
            (layer + "mlp.up_proj.weight", [13, 18]), (layer + "mlp.down_proj.weight", [18, 13]),
            ("model.norm.weight", [18]), ("lm_head.weight", [23, 18]),
        ]
        if hasBias {
            for (part, size) in [("q", 18), ("k", 6), ("v", 6), ("o", 18)] {
                shapes.append((layer + "self_attn.\(part)_proj.bias", [size]))
            }
        }
        let writer = try SafetensorsWriter(
            try directory.writer("model.safetensors"),
            entries: shapes.map { SafetensorsEntry(name: $0.0, dtype: dtype, shape: $0.1) })
        for (index, (_, shape)) in shapes.enumerated() {
            let values = randomValues(shape.reduce(1, *), seed: UInt64(index))
            try encoded(values, dtype).withUnsafeBytes { try writer.append($0) }
        }
        try writer.finish()
        try directory.commit()
        return try ModelCheckpoint.open(folder + "/base")
    }

    /// An adapter with random numbers in every tensor; gated, with `activeShare` of the update's square in active
    /// tokens, where that is given.
    ///
    /// - Parameter keptRanks: AdaLoRA's, by module.
    static func adapter(
        _ kind: AdapterKind, activeShare: Double? = nil, hasLoRABias: Bool = false, modules: [String] = modules,
        keptRanks: NameTable<[Bool]> = [:], seed: UInt64 = 40, path: String? = nil
    ) throws -> AdapterDirectory {
        var adaLoRA = AdaLoRASettings()
        adaLoRA.targetRank = rank
        adaLoRA.initialRank = rank
        adaLoRA.scale = 5
        adaLoRA.keptRanks = keptRanks
        let configuration = try AdapterConfiguration(
            kind == .adalora
                ? adaLoRA
                : kind.newSettings([
                    "rank": .integer(rank), "alpha": .real(5.0), "lora_bias": .bool(hasLoRABias),
                    MethodOption.targetsKey: .array(modules.map { .string($0) }),
                ]), isGated: activeShare != nil, targets: .names(modules))
        let sizes = ["q_proj": (18, 18), "v_proj": (6, 18), "down_proj": (18, 13)]
        var tensors: [AdapterTensor] = []
        func add(_ name: String, _ shape: [Int]) {
            let isMagnitude = name.hasSuffix(PEFTNames.magnitude)
            let values = randomValues(
                shape.reduce(1, *), seed: seed + UInt64(tensors.count), in: isMagnitude ? 0.5...3 : -1...1)
            tensors.append(AdapterTensor(name, shape, values))
        }
        for module in modules {
            let size = sizes[String(module.split(separator: ".").last!)]!
            for role in configuration.tensorRoles(of: module) {
                add(
                    PEFTNames.key(module, role.suffix),
                    role.shape(rank: configuration.rank(for: module), outputSize: size.0, inputSize: size.1))
            }
        }
        for role in kind.method.sharedRoles {
            add(role.suffix, role.shape(rank: rank, outputSize: 20, inputSize: 19))
        }
        return try AdapterDirectory(
            configuration: configuration, modules: modules, tensors: tensors,
            thresholds: activeShare == nil ? [:] : NameTable(uniqueKeysWithValues: modules.map { ($0, 0.1) }),
            statistics: activeShare.map { share in
                AdapterStatistics(
                    source: "dev.json",
                    modules: modules.map { module in
                        var entry = ModuleStatistics(module: module)
                        entry.tokens = 100
                        entry.active = share == 0 ? 0 : 60
                        entry.sumUpdateSquared = 20
                        entry.sumActiveUpdateSquared = 20 * share
                        entry.sumBaseSquared = 1000
                        return entry
                    })
            }, origin: AdapterOrigin(path: path))
    }

    /// What NUMERICS says of `kind`, in double: W + factor dW and, for each element, the size that sums of floats are
    /// relative to.
    static func exact(
        _ adapter: AdapterDirectory, _ module: String, base: [Double], width: Int, factor: Double = 1
    ) throws -> (values: [Double], magnitudes: [Double]) {
        let kind = adapter.configuration.kind
        func tensor(_ suffix: String) throws -> [Double] {
            try #require(adapter.tensor(module, suffix)).values.map(Double.init)
        }
        let rowCount = base.count / width
        let a: [[Double]]
        let b: [[Double]]
        func rows(_ values: [Double], _ width: Int) -> [[Double]] {
            width == 0 ? [] : stride(from: 0, to: values.count, by: width).map { Array(values[$0..<$0 + width]) }
        }
        switch kind {
        case .lora, .dora:
            a = rows(try tensor(PEFTNames.loraA), width)
            b = rows(try tensor(PEFTNames.loraB), a.count).map { $0.map { $0 * 5 / Double(rank) } }
        case .adalora:
            let e = try tensor(PEFTNames.adaLoRAE)
            a = zip(rows(try tensor(PEFTNames.adaLoRAA), width), e).map { row, e in row.map { $0 * e } }
            b = rows(try tensor(PEFTNames.adaLoRAB), a.count).map { $0.map { $0 * 5 / (Double(rank) + 1e-5) } }
        case .vera:
            let (d, factors) = (try tensor(PEFTNames.veraD), try tensor(PEFTNames.veraB))
            let (sharedA, sharedB) = (adapter.shared(PEFTNames.sharedA), adapter.shared(PEFTNames.sharedB))
            a = zip(rows(sharedA.values.map(Double.init), sharedA.shape[1]), d).map { row, d in
                row[..<width].map { $0 * d }
            }
            b = zip(rows(sharedB.values.map(Double.init), rank), factors).map { row, b in row.map { $0 * b } }
        case .ia3:
            let l = try tensor(PEFTNames.ia3L)
            let isInput = module.hasSuffix("down_proj")
            let scaled = base.indices.map { base[$0] * l[isInput ? $0 % width : $0 / width] }
            return (zip(base, scaled).map { $0 + factor * ($1 - $0) }, zip(base, scaled).map { max(abs($0), abs($1)) })
        default: preconditionFailure("the weight of \(kind) is missing here")
        }
        var values = base
        var magnitudes = base.map { abs($0) }
        for row in 0..<rowCount {
            for column in 0..<width {
                for k in a.indices {
                    values[row * width + column] += b[row][k] * a[k][column]
                    magnitudes[row * width + column] += abs(b[row][k] * a[k][column])
                }
            }
        }
        if kind == .dora {
            let m = try tensor(PEFTNames.magnitude)
            for row in 0..<rowCount {
                let range = row * width..<(row + 1) * width
                let norm = range.reduce(0) { $0 + values[$1] * values[$1] }.squareRoot()
                for index in range {
                    values[index] *= m[row] / norm
                    magnitudes[index] = max(magnitudes[index], magnitudes[index] * m[row] / norm)
                }
            }
        }
        return (zip(base, values).map { $0 + factor * ($1 - $0) }, magnitudes)
    }
}
