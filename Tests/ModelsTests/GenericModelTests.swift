import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

/// A checkpoint of some model: tensors of the given shapes with numbers of their own, and `config.json`.
private func openModel(
    _ shapes: [(String, [Int])], configuration: String? = nil, same: [String: String] = [:]
) throws -> ModelCheckpoint {
    try withTemporaryFolder { folder in
        var values: [String: [Float]] = [:]
        for (index, (name, shape)) in shapes.enumerated() {
            values[name] = (0..<shape.reduce(1, *)).map { Float(1000 * index + $0) }
        }
        for (copy, original) in same { values[copy] = values[original] }
        try SafetensorsWriter.write(
            shapes.map { ($0.0, $0.1, values[$0.0] ?? []) }, to: folder + "/model.safetensors")
        if let configuration { try writeFile(folder + "/config.json", configuration) }
        return try ModelCheckpoint.open(folder)
    }
}

private func linear(_ path: String, _ outputSize: Int, _ inputSize: Int, hasBias: Bool = false) -> LinearModule {
    LinearModule(path: path, outputSize: outputSize, inputSize: inputSize, hasBias: hasBias)
}

struct GenericModelTests {
    @Test func modelOfAnotherArchitectureOpensByItsOwnNames() throws {
        let model = try openModel(
            [
                ("wte.weight", [10, 4]), ("wpe.weight", [6, 4]), ("h.0.ln_1.weight", [4]), ("h.0.ln_1.bias", [4]),
                ("h.0.attn.bias", [1, 1, 6, 6]), ("h.0.attn.c_attn.weight", [4, 12]), ("h.0.attn.c_attn.bias", [12]),
                ("h.0.attn.c_proj.weight", [4, 4]), ("h.0.attn.c_proj.bias", [4]), ("h.0.mlp.c_fc.weight", [4, 16]),
                ("h.0.mlp.c_fc.bias", [16]), ("h.0.mlp.c_proj.weight", [16, 4]), ("h.0.mlp.c_proj.bias", [4]),
            ],
            configuration: #"{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 10}"#)
        #expect(model.architecture == nil && model.unknownTensors.isEmpty && model.tensorNames.count == 13)
        // Conv1D keeps [inputSize, outputSize], which the biases show; c_proj of attention follows that of the MLP.
        #expect(
            model.linearModules == [
                linear("h.0.attn.c_attn", 12, 4, hasBias: true), linear("h.0.attn.c_proj", 4, 4, hasBias: true),
                linear("h.0.mlp.c_fc", 16, 4, hasBias: true), linear("h.0.mlp.c_proj", 4, 16, hasBias: true),
            ])
        let stored = try model.floats("h.0.attn.c_attn.weight")
        let weights = try model.weights(of: linear("h.0.attn.c_attn", 12, 4))
        #expect(weights[0] == stored[0] && weights[1] == stored[12] && weights[4] == stored[1])
        #expect(model.specifications.embedding?.name == "wte.weight")
        // A head that is not there is the embedding.
        let head = try #require(model.specifications.outputHead)
        #expect(head.name == "lm_head.weight" && head.tiedTo == "wte.weight" && head.shape == [10, 4])
        #expect(model.specifications["h.0.attn.bias"]?.role == .other)
        #expect(model.specifications["h.0.ln_1.bias"]?.role == .bias)
        #expect(try model.floats("wpe.weight").count == 24)
        let error = try #require(throws: ModelError.self) { try model.configuration }
        #expect(error.exitStatus == .unsupported)
        #expect(
            error.description.contains(
                "the architecture 'gpt2' is not known, which training, evaluation and generation would need")
        )
        #expect(
            error.description.contains("known are llama, mistral, ministral3, qwen2, qwen3"), "\(error)"
        )
    }

    @Test func modelWithoutConfigurationHasNamesAndShapes() throws {
        let model = try openModel([
            ("encoder.embed.weight", [7, 4]), ("encoder.block.3.proj.weight", [8, 4]),
            ("encoder.conv.weight", [4, 4, 3]),
            ("encoder.norm.weight", [4]), ("codes.weight", [4, 4]),
        ])
        #expect(model.linearModules == [linear("encoder.block.3.proj", 8, 4), linear("codes", 4, 4)])
        #expect(model.specifications["encoder.block.3.proj.weight"]?.layer == 3)
        #expect(model.specifications["encoder.block.3.proj.weight"]?.part == "proj")
        #expect(model.specifications.outputHead == nil)
        let error = try #require(throws: ModelError.self) { try model.configuration }
        #expect(error.exitStatus == .missingInput && error.description.contains("config.json: is missing"))
    }

    @Test func knownArchitectureThatTheGraphRefusesIsGeneric() throws {
        var small = SmallModel()
        small.configuration["rope_scaling"] = .object(["rope_type": .string("longrope"), "factor": .integer(4)])
        let scaled = try openSmall(small)
        #expect(scaled.architecture == nil && scaled.linearModules.map(\.path).contains("model.layers.1.mlp.down_proj"))
        #expect(scaled.specifications.outputHead?.name == "lm_head.weight")
        #expect(try #require(throws: ModelError.self) { try scaled.configuration }.exitStatus == .unsupported)

        small = SmallModel()
        small.configuration["architectures"] = .array([.string("LlamaForSequenceClassification")])
        small.remove("lm_head.weight")
        small.add("score.weight", [3, 8])
        let classifier = try openSmall(small)
        #expect(classifier.specifications.outputHead?.name == "score.weight" && !classifier.hasTiedHead)

        // As a bare LlamaModel is saved, under its model's class.
        small = SmallModel()
        small.tensors = small.tensors.map { ($0.name.replacing("model.", with: ""), $0.shape, $0.values) }
        let bare = try openSmall(small)
        #expect(
            bare.contains("layers.1.mlp.down_proj.weight") && bare.specifications.embedding?.module == "embed_tokens")
        let error = try #require(throws: ModelError.self) { try bare.configuration }
        #expect(error.exitStatus == .badData && error.description.contains("'model.embed_tokens.weight' of shape"))

        small = SmallModel()
        small.remove("model.layers.1.mlp.down_proj.weight")
        let damaged = try #require(throws: ModelError.self) { try openSmall(small) }
        #expect(damaged.exitStatus == .badData && damaged.description.contains("layers.1.mlp.down_proj.weight"))
    }

    @Test func extraTensorsLeaveTheGraphAndCanBeRead() throws {
        var small = SmallModel()
        small.add("mtp.layers.0.proj.weight", [8, 16])
        small.add("model.layers.0.self_attn.masked_bias", [1])
        small.add("model.layers.0.self_attn.rotary_emb.inv_freq", [2])
        let model = try openSmall(small)
        #expect(
            model.architecture != nil
                && model.unknownTensors == [
                    "mtp.layers.0.proj.weight", "model.layers.0.self_attn.masked_bias",
                ])
        for name in ["mtp.layers.0.proj.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"] {
            #expect(try model.floats(name) == small.values(name) && !model.contains(name))
        }
    }

    @Test func headsAreTiedWhereTheyAreTheEmbedding() throws {
        let shapes = [("embed_tokens.weight", [9, 4]), ("lm_head.weight", [9, 4]), ("layers.0.up.weight", [8, 4])]
        let copies = ["lm_head.weight": "embed_tokens.weight"]
        let tied = try openModel(shapes, configuration: #"{"model_type": "x"}"#, same: copies)
        #expect(tied.hasTiedHead && tied.linearModules.map(\.path) == ["layers.0.up"])
        let denied = try openModel(
            shapes, configuration: #"{"model_type": "x", "tie_word_embeddings": false}"#, same: copies)
        #expect(!denied.hasTiedHead && denied.linearModules.map(\.path) == ["lm_head", "layers.0.up"])
        #expect(try !openModel(shapes, configuration: #"{"model_type": "x"}"#).hasTiedHead)
        let missing = try openModel(
            [shapes[0], shapes[2]], configuration: #"{"model_type": "x", "tie_word_embeddings": true}"#)
        #expect(missing.specifications.outputHead?.tiedTo == "embed_tokens.weight")
        let bare = try openModel([shapes[0], shapes[2]], configuration: #"{"model_type": "x"}"#)
        #expect(bare.specifications.outputHead == nil)
    }

    @Test func expertsConvolutionsAndPackedIntegersAreNoLinearModules() throws {
        try withTemporaryFolder { folder in
            let entries = [
                SafetensorsEntry(name: "m.layers.0.mlp.experts.gate_up_proj", dtype: .f32, shape: [2, 4, 6]),
                SafetensorsEntry(name: "m.layers.0.moe.input_linear.weight", dtype: .f32, shape: [2, 6, 4]),
                SafetensorsEntry(name: "m.layers.0.mixer.conv1d.weight", dtype: .f32, shape: [4, 1, 3]),
                SafetensorsEntry(name: "m.layers.0.q.qweight", dtype: .i32, shape: [1, 4]),
                SafetensorsEntry(name: "m.layers.0.k.weight", dtype: .u8, shape: [4, 2]),
                SafetensorsEntry(name: "m.layers.0.v.weight", dtype: .f8e4m3, shape: [4, 4]),
                SafetensorsEntry(name: "m.layers.0.q_norm.weight", dtype: .f32, shape: [2, 4]),
            ]
            let writer = try SafetensorsWriter(AtomicFileWriter(folder + "/model.safetensors"), entries: entries)
            let zeros = [UInt8](repeating: 0, count: entries.reduce(0) { $0 + $1.byteCount })
            try zeros.withUnsafeBytes { try writer.append($0) }
            try writer.finish()
            let model = try ModelCheckpoint.open(folder)
            #expect(model.linearModules == [linear("m.layers.0.v", 4, 4)])
            #expect(model.specifications.all.filter { $0.role == .experts }.count == 2)
            #expect(model.specifications["m.layers.0.q_norm.weight"]?.role == .norm)
            // A type that cannot be decoded is refused where it is read, and there alone.
            let error = try #require(throws: CheckpointError.self) { try model.weights(of: model.linearModules[0]) }
            #expect(error.exitStatus == .unsupported && error.description.contains("F8_E4M3"))
            #expect(try model.fingerprint().entries.count == entries.count)
        }
    }

    @Test func ggufOfAnotherArchitectureGoesByGGUFsNames() throws {
        try withTemporaryFolder { folder in
            var builder = GGUFBuilder()
            builder.add("general.architecture", text: "novel")
            builder.addTensor("token_embd.weight", shape: [5, 4], floats: (0..<20).map(Float.init))
            builder.addTensor("blk.0.attn_q.weight", shape: [8, 4], floats: (0..<32).map(Float.init))
            builder.addTensor("blk.0.ssm_conv1d.weight", shape: [8, 4], floats: (0..<32).map(Float.init))
            builder.addTensor("output.weight", shape: [5, 4], floats: (0..<20).map(Float.init))
            try writeFile(folder + "/m.gguf", builder.file)
            let model = try ModelCheckpoint.open(folder + "/m.gguf")
            #expect(model.linearModules.map(\.path) == ["blk.0.attn_q"])
            #expect(model.specifications.outputHead?.tiedTo == "token_embd.weight")
            #expect(try model.floats("blk.0.attn_q.weight") == (0..<32).map(Float.init))
            let error = try #require(throws: ModelError.self) { try model.configuration }
            #expect(error.description.contains("the architecture 'novel' is not known"))
        }
    }

    /// As transformers' own classes say; see Tests/Scripts/make_any_model_fixtures.py.
    @Test(arguments: ["gpt2", "bert", "t5", "mixtral", "phi3", "whisper", "clip"])
    func linearModulesAreThoseOfTheModelsClasses(_ name: String) throws {
        let folder = fixture("any-model/" + name)
        let known = try JSONValue.parse(readSmallFile(folder + "/modules.json", limit: 1 << 16))
        let expected = Set(
            (known["linear"]?.arrayValue ?? []).compactMap { $0.arrayValue }.map {
                "\($0[0].stringValue ?? "") \($0[1].intValue ?? 0) \($0[2].intValue ?? 0)"
            })
        let model = try ModelCheckpoint.open(folder)
        let modules = model.linearModules
        // Mixtral's experts and their router lie in the file as matrices, but are one module in memory.
        let found = modules.filter { !$0.path.contains("block_sparse_moe") }
        #expect(Set(found.map { "\($0.path) \($0.outputSize) \($0.inputSize)" }) == expected)
        #expect(modules.count - found.count == (name == "mixtral" ? 2 * (3 * 3 + 1) : 0))
        #expect(modules.allSatisfy { $0.isOfMixture == $0.path.contains("block_sparse_moe") })
        #expect(model.specifications.outputHead?.module == known["head"]?.stringValue)
        #expect(model.specifications.embedding?.shape == [40, 16])
        for tensor in model.checkpoint.tensors { #expect(model.shape(of: tensor.name) == tensor.shape) }
    }

    /// Beside packed experts and under other names too; what a mixture has beside them is linear.
    @Test func expertsAndRoutersAreNoLinearLayersInMemory() throws {
        let names = [
            "model.layers.0.mlp.gate", "model.layers.0.mlp.shared_expert.gate_proj",
            "model.layers.0.mlp.shared_expert_gate", "model.layers.1.mlp.experts.0.up_proj",
            "model.layers.1.mlp.experts.1.up_proj", "model.layers.1.mlp.gate", "model.layers.2.mlp.gate",
            "model.layers.2.block_sparse_moe.router.layer", "model.layers.2.block_sparse_moe.gate",
        ]
        let packed = ["model.layers.0.mlp.experts.down_proj", "model.layers.2.block_sparse_moe.input_linear.weight"]
        let shapes = names.map { ($0 + ".weight", [2, 4]) } + packed.map { ($0, [2, 4, 3]) }
        func mixture(_ type: String) throws -> [String] {
            try openModel(shapes, configuration: "{\"model_type\": \"\(type)\"}").linearModules
                .filter(\.isOfMixture).map(\.path)
        }
        #expect(try mixture("qwen2_moe") == [names[0], names[3], names[4], names[5], names[7], names[8]])
        #expect(try mixture("llama4_text") == [names[3], names[4]])
    }

    @Test func quantizedWeightsAreToldFromOtherIntegers() throws {
        try withTemporaryFolder { folder in
            let header = """
                {"a.0.q.qweight":{"dtype":"I32","shape":[1,2],"data_offsets":[0,8]},\
                "a.0.q.g_idx":{"dtype":"I32","shape":[2],"data_offsets":[8,16]},\
                "a.0.q.qzeros":{"dtype":"I32","shape":[1,1],"data_offsets":[16,20]},\
                "a.0.k.weight":{"dtype":"U8","shape":[4,1],"data_offsets":[20,24]}}
                """
            try writeFile(
                folder + "/model.safetensors",
                safetensorsFile(header: header, data: [UInt8](repeating: 1, count: 24)))
            let model = try ModelCheckpoint.open(folder)
            let quantized = model.specifications.all.filter { $0.role == .quantized }
            #expect(quantized.map(\.name).sorted() == ["a.0.k.weight", "a.0.q.qweight"])
            #expect(model.linearModules.isEmpty)
        }
    }

    private func openSmall(_ model: SmallModel) throws -> ModelCheckpoint {
        try withTemporaryFolder { folder in
            try model.write(to: folder)
            return try ModelCheckpoint.open(folder)
        }
    }
}
