import Adapters
import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Adapters of which a part is missing: what the configuration names, the file must hold, or nothing is written.
@Suite struct AdapterCoverageTests {
    /// What is taken out of an adapter of `Fixtures/any-merge`, and what the refusal names.
    struct Gap: Sendable, CustomTestStringConvertible {
        let fixture: String
        /// Tensors whose keys contain this are left out.
        let without: String
        var fields: JSONObject = [:]
        let named: String
        var testDescription: String { "\(fixture) without \(without)" }
    }

    static let gaps = [
        Gap(
            fixture: "lora-conv2d", without: "patch_embeddings",
            named: "vit.embeddings.patch_embeddings.projection"),
        Gap(fixture: "lora-embed-tied", without: "embed_tokens.lora", named: "model.embed_tokens"),
        Gap(fixture: "lora-head-tied", without: "lm_head.lora", named: "lm_head"),
        Gap(
            fixture: "lora-embed-tied", without: "embed_tokens",
            fields: ["target_modules": .string(#"model\.(embed_tokens|layers\.\d+\.self_attn\.q_proj)"#)],
            named: "model.embed_tokens"),
        Gap(fixture: "lora-save-classifier", without: "dense.weight", named: "'classifier.dense.weight'"),
        Gap(fixture: "lora-save-classifier", without: "out_proj.bias", named: "'classifier.out_proj.bias'"),
        Gap(
            fixture: "lora-bias-all", without: "1.self_attn.k_proj.bias",
            named: "'model.layers.1.self_attn.k_proj.bias'"),
        Gap(
            fixture: "lora-bias-all", without: "0.self_attn.q_proj.base_layer", named: "layers.0.self_attn.q_proj.bias"),
        Gap(
            fixture: "lora-tokens-tied", without: "nothing",
            fields: [
                "trainable_token_indices": .object([
                    "embed_tokens": .array([.integer(3), .integer(5), .integer(90)]),
                    "embed_positions": .array([.integer(0)]),
                ])
            ], named: "'embed_positions'"),
        Gap(
            fixture: "lora-tokens-tied", without: "nothing",
            fields: ["trainable_token_indices": .array([.integer(3), .integer(5), .integer(96)])],
            named: "a row for token 96, and the base's embedding has 96 tokens, 0 to 95"),
    ]

    @Test(arguments: gaps) func whatIsNamedAndMissingIsRefused(_ gap: Gap) throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(fixture("any-merge/\(gap.fixture)/base"))
            try Self.write(gap, to: folder + "/adapter")
            let thrown = #expect(throws: (any Error).self) {
                let adapter = try AdapterDirectory.read(folder + "/adapter", takingExtras: true)
                _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/out")
            }
            let error = thrown as? any ReportableError
            #expect(error?.exitStatus == .badData)
            #expect(error?.description.contains(gap.named) == true, "\(error?.description ?? "")")
            #expect(pathKind(folder + "/out") == .nothing)
        }
    }

    /// A name that the trained model did not have, and one of which another is the copy, call for nothing.
    @Test(arguments: [
        Gap(
            fixture: "lora-conv2d", without: "nothing",
            fields: ["target_modules": .array(["q_proj", "projection", "query", "lm_head"].map { .string($0) })],
            named: ""),
        Gap(
            fixture: "lora-tokens-tied", without: "nothing",
            fields: [
                "trainable_token_indices": .object([
                    "embed_tokens": .array([.integer(3), .integer(5), .integer(90)]),
                    "lm_head": .array([.integer(3), .integer(5), .integer(90)]),
                ])
            ], named: ""),
        Gap(fixture: "lora-bias-all", without: ".bias", fields: ["bias": .string("lora_only")], named: ""),
    ])
    func whatTheModelLacksIsNotAskedFor(_ gap: Gap) throws {
        try withTemporaryFolder { folder in
            try Self.write(gap, to: folder + "/adapter")
            let adapter = try AdapterDirectory.read(folder + "/adapter", takingExtras: true)
            let base = try ModelCheckpoint.open(fixture("any-merge/\(gap.fixture)/base"))
            let account = try MergeAccount(of: adapter, in: base)
            #expect(account.adapterTensorCount == adapter.fileTensorCount)
        }
    }

    /// A module of `modules_to_save` is in each layer; one layer's is not enough.
    @Test func savedNormOfOneLayerCallsForTheOthers() throws {
        try withTemporaryFolder { folder in
            let names = ["model.layers.0.input_layernorm.weight", "model.layers.1.input_layernorm.weight"]
            for count in 1...2 {
                let added = names.prefix(count).map {
                    ("base_model.model." + $0, [32], [Float](repeating: 2, count: 32))
                }
                try Self.write(
                    Gap(
                        fixture: "lora-tokens-tied", without: "nothing",
                        fields: ["modules_to_save": .array([.string("input_layernorm")])], named: ""),
                    adding: added, to: folder + "/adapter\(count)")
                let base = try ModelCheckpoint.open(fixture("any-merge/lora-tokens-tied/base"))
                let adapter = try AdapterDirectory.read(folder + "/adapter\(count)", takingExtras: true)
                if count == 2 {
                    #expect(try MergeAccount(of: adapter, in: base).changedTensorCount >= 2)
                } else {
                    let error = #expect(throws: AdapterError.self) { _ = try MergeAccount(of: adapter, in: base) }
                    #expect(
                        error
                            == .missingParts(
                                adapter: adapter.displayName, field: "modules_to_save", count: 1, first: names[1]))
                }
            }
        }
    }

    /// Of a module that the files hold in one tensor with another: its rows of weight and bias are replaced, and what is
    /// beside them stays, or has an update of its own.
    @Test func savedPartOfATensorTakesItsRows() throws {
        try withTemporaryFolder { folder in
            let path = "dinov2.encoder.layer.0.mlp."
            let (weight, bias) = ([Float](repeating: 3, count: 48 * 32), [Float](repeating: 5, count: 48))
            try Self.write(
                Gap(
                    fixture: "names-dinov2-gate", without: "nothing",
                    fields: ["modules_to_save": .array([.string("up_proj")])], named: ""),
                adding: [
                    ("base_model.model.\(path)up_proj.weight", [48, 32], weight),
                    ("base_model.model.\(path)up_proj.bias", [48], bias),
                ], to: folder + "/adapter")
            let source = fixture("any-merge/names-dinov2-gate")
            let base = try ModelCheckpoint.open(source + "/base")
            let adapter = try AdapterDirectory.read(folder + "/adapter", takingExtras: true)
            _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/out")
            let merged = try ModelCheckpoint.open(folder + "/out")
            let expected = try SafetensorsFile.open(source + "/expected.safetensors")
            let whole = try merged.floats(path + "weights_in.weight")
            let gate = try expected.floats(of: #require(expected.record(path + "weights_in.weight")))[..<(48 * 32)]
            let old = try base.floats(path + "weights_in.weight")
            #expect(whole[(48 * 32)...] == weight[...])
            #expect(zip(whole, gate).allSatisfy { abs($0 - $1) <= 0x1p-7 * max(abs($0), abs($1)) })
            #expect(whole[..<(48 * 32)] != old[..<(48 * 32)])
            let biases = try merged.floats(path + "weights_in.bias")
            #expect(biases[48...] == bias[...])
            #expect(try biases[..<48] == base.floats(path + "weights_in.bias")[..<48])
        }
    }

    /// What an adapter has of the base itself beside its update, as peft writes it of heads, takes no weight.
    @Test func halfOfAnUpdateOfATiedHeadIsAdded() throws {
        try withTemporaryFolder { folder in
            let source = fixture("any-merge/lora-head-tied")
            let base = try ModelCheckpoint.open(source + "/base")
            let adapter = try AdapterDirectory.read(source + "/adapter", takingExtras: true)
            _ = try CheckpointMerge(base: base, adapters: [WeightedAdapter(adapter, weight: 0.5)])
                .write(to: folder + "/out", as: .plain(.f32))
            let half = try Checkpoint.open(folder + "/out").floats(
                of: Checkpoint.open(folder + "/out")
                    .requiredRecord("lm_head.weight"))
            let expected = try SafetensorsFile.open(source + "/expected.safetensors")
            let whole = try expected.floats(of: #require(expected.record("lm_head.weight")))
            let old = try base.floats("model.embed_tokens.weight")
            for (index, value) in half.enumerated() {
                let size = max(abs(old[index]), abs(whole[index]))
                #expect(abs(value - (old[index] + whole[index]) / 2) <= 0x1p-7 * size, "\(index)")
            }
        }
    }

    /// In packed parameters, embeddings and values as in linear layers.
    @Test(arguments: [
        ("moe-gpt-oss", "experts.lora_B"), ("lora-embed-tied", "lora_embedding_A"), ("lora-tokens-tied", "trainable"),
        ("lora-bias-all", "k_proj.bias"), ("lora-conv2d", "projection.lora_A"),
    ])
    func numberThatIsNoneIsRefusedWhereverItIs(_ name: String, _ tensor: String) throws {
        try withTemporaryFolder { folder in
            for (place, bad) in [Float.nan, .infinity].enumerated() {
                let path = folder + "/\(place)"
                try Self.write(Gap(fixture: name, without: "nothing", named: ""), spoiling: (tensor, bad), to: path)
                let error = #expect(throws: AdapterError.self) {
                    _ = try AdapterDirectory.read(path, takingExtras: true)
                }
                guard case .notFinite(_, let found, let index) = error else {
                    Issue.record("\(String(describing: error))")
                    continue
                }
                #expect(found.contains(tensor) && index == 1)
            }
        }
    }

    /// Writes the adapter that a gap leaves of its fixture's.
    private static func write(
        _ gap: Gap, adding: [(name: String, shape: [Int], values: [Float])] = [],
        spoiling: (tensor: String, value: Float)? = nil, to path: String
    ) throws {
        let source = fixture("any-merge/\(gap.fixture)/adapter")
        let text = try readSmallFile(source + "/adapter_config.json", limit: 1 << 16)
        var fields = try #require(JSONValue.parse(text).objectValue)
        for (name, value) in gap.fields.members { fields[name] = value }
        let file = try SafetensorsFile.open(source + "/adapter_model.safetensors")
        let kept = file.tensors.filter { !$0.name.contains(gap.without) }
        let directory = try AtomicDirectory(path)
        try directory.write("adapter_config.json", text: JSONValue.object(fields).text())
        let writer = try SafetensorsWriter(
            try directory.writer("adapter_model.safetensors"),
            entries: kept.map { SafetensorsEntry(name: $0.name, dtype: .f32, shape: $0.shape) }
                + adding.map { SafetensorsEntry(name: $0.name, dtype: .f32, shape: $0.shape) })
        let own = try kept.map { tensor in
            var values = try file.floats(of: tensor)
            if let spoiling, tensor.name.contains(spoiling.tensor) { values[1] = spoiling.value }
            return values
        }
        for values in own + adding.map(\.values) {
            try encoded(values, .f32).withUnsafeBytes { try writer.append($0) }
        }
        try writer.finish()
        try directory.commit()
    }
}
