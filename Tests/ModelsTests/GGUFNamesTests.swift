import CheckpointIO
import TestSupport
import Testing

@testable import Models

/// The table of GGUF names, against files that Tests/Scripts/make_gguf_names.py converts apart from it, by the names that
/// transformers saves and gguf's own map.
@Suite struct GGUFNamesTests {
    /// A tensor of a fixture: its name in the checkpoint, where it has one there, and its shape.
    private struct Tensor {
        let gguf: String
        let name: String?
        let shape: [Int]

        /// The checkpoint's values of the tensor at place `place`, as the script has them.
        func value(_ element: Int, place: Int) -> Float {
            Float((7919 * place + 104_729 * element) % 4096 - 2048) / 1024
        }
    }

    private static func tensors(of model: String) throws -> [Tensor] {
        let listing = try JSONValue.parse(try readSmallFile(fixture("gguf-names/names.json"), limit: 1 << 20))
        return try #require(listing[model]?.arrayValue).map {
            Tensor(
                gguf: try #require($0["gguf"]?.stringValue), name: $0["name"]?.stringValue,
                shape: try #require($0["shape"]?.arrayValue).compactMap(\.intValue))
        }
    }

    private static func checkpoint(of model: String) throws -> Checkpoint {
        try Checkpoint.open(fixture("gguf-names/\(model).gguf"))
    }

    private static let models = [
        "bert", "gemma2", "gemma3_text", "glm4", "gpt_oss", "granite", "ministral3", "mixtral", "modernbert", "olmo2",
        "olmo3", "phi3", "qwen2", "qwen3_5_text", "qwen3_moe", "roberta", "smollm3",
    ]

    @Test(arguments: models) func everyTensorHasItsNameInBothDirections(model: String) throws {
        let checkpoint = try Self.checkpoint(of: model)
        let names = try #require(GGUFNames(of: checkpoint))
        let tensors = try Self.tensors(of: model)
        #expect(Set(checkpoint.tensors.map(\.name)) == Set(tensors.map(\.gguf)))
        for tensor in tensors {
            let counterpart = names.counterpart(of: try #require(checkpoint.record(tensor.gguf)))
            #expect(counterpart?.name == tensor.name, "\(tensor.gguf)")
            if let name = tensor.name { #expect(names.ggufName(of: name) == tensor.gguf) }
        }
    }

    @Test(arguments: models) func valuesReadByTheTableAreTheCheckpoints(model: String) throws {
        let checkpoint = try Self.checkpoint(of: model)
        let names = try #require(GGUFNames(of: checkpoint))
        for (place, tensor) in try Self.tensors(of: model).enumerated() where tensor.name != nil {
            let record = try #require(checkpoint.record(tensor.gguf))
            let counterpart = try #require(names.counterpart(of: record))
            let stored = try checkpoint.floats(of: record)
            // Axes of one element are not kept; packed experts have rows of their own, which never lie elsewhere.
            let (rows, width) = (record.shape[0], record.shape.count > 1 ? record.shape.last! : 1)
            #expect(record.shape.filter { $0 > 1 } == tensor.shape.filter { $0 > 1 }, "\(tensor.gguf)")
            #expect(record.shape.count < 3 || !counterpart.rows.isPermuted && !counterpart.columns.isPermuted)
            for element in 0..<record.elementCount {
                let (row, column) = element.quotientAndRemainder(dividingBy: record.elementCount / rows)
                let source =
                    counterpart.rows.gguf(row) * (record.elementCount / rows)
                    + (record.shape.count == 2 ? counterpart.columns.gguf(column) : column)
                let expected = tensor.value(element, place: place)
                let found = counterpart.values.huggingFace(stored[source])
                if counterpart.values == .negatedExponential {
                    #expect(abs(found - expected) < 1e-6, "\(tensor.gguf) \(element)")
                } else {
                    #expect(found == expected, "\(tensor.gguf) \(element) of width \(width)")
                }
                #expect(abs(counterpart.values.gguf(expected) - stored[source]) <= 1e-6 * abs(stored[source]))
            }
        }
    }

    @Test func everyArchitectureOfTheTableIsHeldAgainstAConversion() throws {
        let tested = Set(
            try Self.models.map { try #require(Self.checkpoint(of: $0).metadata?["general.architecture"]?.stringValue) }
        )
        // Qwen3's names are those of its models with experts and those of Qwen2.
        #expect(tested.union(["qwen3"]) == Set(GGUFNames.architectures))
        #expect(GGUFNamings.naming("mamba", has: { _ in false }) == nil)
        for name in GGUFNames.architectures { #expect(GGUFNamings.naming(name, has: { _ in false }) != nil) }
    }

    @Test func namesThatTheTableLacksHaveNoCounterpart() throws {
        let extra = [
            "blk.2.attn_v.weight", "blk.00.attn_v.weight", "blk.+1.attn_v.weight", "blk..attn_v.weight",
            "blk.99999999999999999999.attn_v.weight", "blk.1.attn_v", "blk.1.attn_v.weight.lora_a", "attn_v.weight",
            "blk.1.attn_rot_embd.weight", "rope_freqs.weight", "x.blk.1.attn_v.weight", "blk.1.ffn_gate_shexp.weight",
            "",
        ]
        try withNames("granite", Self.sizes, ["blk.1.attn_v.weight"] + extra) { names, checkpoint in
            #expect(
                checkpoint.tensors.compactMap { names.counterpart(of: $0)?.name }
                    == ["model.layers.1.self_attn.v_proj.weight"])
            for name in ["model.layers.2.self_attn.v_proj.weight", "lm_head", "model.layers.01.mlp.up_proj.weight", ""]
            {
                #expect(names.ggufName(of: name) == nil)
            }
        }
    }

    @Test func rowsWhoseOrderTheFileDoesNotTellHaveNoCounterpart() throws {
        let sound: [String: UInt32] = ["attention.head_count": 2, "attention.head_count_kv": 1, "block_count": 2]
        let cases: [(sizes: [String: UInt32], rows: RowOrder?)] = [
            (sound, .rotaryPairs(headSize: 8)),
            (sound.merging(["attention.key_length": 8]) { $1 }, .rotaryPairs(headSize: 8)),
            (["attention.head_count": 2, "block_count": 2], .rotaryPairs(headSize: 4)),
            (sound.merging(["attention.key_length": 4]) { $1 }, nil),
            (sound.merging(["attention.head_count_kv": 3]) { $1 }, nil),
            (sound.merging(["attention.head_count_kv": 8]) { $1 }, nil),
            (sound.merging(["attention.head_count_kv": 0]) { $1 }, nil),
            (["block_count": 2], nil),
        ]
        for (sizes, rows) in cases {
            try withNames("smollm3", sizes, ["blk.0.attn_k.weight", "blk.0.ffn_up.weight"]) { names, checkpoint in
                #expect(names.counterpart(of: checkpoint.tensors[0])?.rows == rows, "\(sizes)")
                #expect(names.counterpart(of: checkpoint.tensors[1])?.rows == .asInHuggingFace)
            }
        }
    }

    @Test func headsCanDifferFromLayerToLayer() throws {
        try withNames(
            "llama", ["block_count": 2], ["blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.2.attn_q.weight"],
            arrays: ["attention.head_count": [1, 2]]
        ) { names, checkpoint in
            let orders = checkpoint.tensors.map { names.counterpart(of: $0)?.rows }
            #expect(orders == [.rotaryPairs(headSize: 8), .rotaryPairs(headSize: 4), nil])
        }
    }

    @Test func deltaRuleWithAsManyKeyHeadsKeepsItsOrderAndOneWithoutSizesHasNone() throws {
        let tensors = ["blk.0.attn_gate.weight", "blk.0.ssm_out.weight", "blk.0.attn_q.weight"]
        var sizes: [String: UInt32] = [
            "block_count": 1, "ssm.group_count": 2, "ssm.time_step_rank": 2, "ssm.state_size": 3, "ssm.inner_size": 8,
        ]
        try withNames("qwen35", sizes, tensors) { names, checkpoint in
            for tensor in checkpoint.tensors {
                let counterpart = try #require(names.counterpart(of: tensor))
                #expect(!counterpart.rows.isPermuted && !counterpart.columns.isPermuted)
            }
        }
        for (key, value) in [("ssm.group_count", UInt32(0)), ("ssm.inner_size", 16), ("ssm.time_step_rank", 3)] {
            try withNames("qwen35", sizes.merging([key: value]) { $1 }, tensors) { names, checkpoint in
                #expect(checkpoint.tensors.map { names.counterpart(of: $0) != nil } == [false, false, true], "\(key)")
            }
        }
        sizes["ssm.group_count"] = 1
        try withNames("qwen35", sizes, tensors) { names, checkpoint in
            let order = RowOrder.transposedGroups(first: 0, groupCount: 1, groupSize: 2, headSize: 4)
            #expect(names.counterpart(of: checkpoint.tensors[0])?.rows == order)
            #expect(names.counterpart(of: checkpoint.tensors[1])?.columns == order)
        }
    }

    @Test func layersThatPredictFurtherTokensKeepTheirNames() throws {
        let tensors = ["blk.0.attn_v.weight", "blk.1.attn_v.weight"]
        try withNames("qwen35", ["block_count": 2, "nextn_predict_layers": 1], tensors) { names, checkpoint in
            #expect(checkpoint.tensors.map { names.counterpart(of: $0) != nil } == [true, false])
        }
    }

    @Test func queriesOfGLMWithSectionsAreNotNamed() throws {
        let tensors = ["blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"]
        try withNames("glm4", ["block_count": 1], tensors, arrays: ["rope.dimension_sections": [1, 1, 1, 0]]) {
            names, checkpoint in
            #expect(checkpoint.tensors.map { names.counterpart(of: $0) != nil } == [false, false, true])
            #expect(names.ggufName(of: "model.layers.0.self_attn.q_proj.weight") == nil)
        }
    }

    @Test func classifiersOfBERTAreToldApart() throws {
        let cases: [(tensors: [String], names: [String])] = [
            (["cls.output.weight"], ["classifier.weight"]), (["cls.weight"], ["classifier.weight"]),
            (["cls.weight", "cls.output.weight"], ["classifier.dense.weight", "classifier.out_proj.weight"]),
        ]
        for (tensors, expected) in cases {
            try withNames("bert", ["block_count": 1], tensors) { names, checkpoint in
                #expect(checkpoint.tensors.map { names.counterpart(of: $0)?.name } == expected)
            }
        }
    }

    @Test func headOfGemma2HasNoPlaceInItsFiles() throws {
        try withNames("gemma2", Self.sizes, []) { names, _ in #expect(names.ggufName(of: "lm_head.weight") == nil) }
        try withNames("gemma3", Self.sizes, []) { names, _ in
            #expect(names.ggufName(of: "lm_head.weight") == "output.weight")
        }
    }

    @Test func otherCheckpointsHaveNoGGUFNames() throws {
        #expect(GGUFNames(of: try Checkpoint.open(fixture("tiny-llama"))) == nil)
        try withTemporaryFolder { folder in
            var file = GGUFBuilder()
            file.add("general.architecture", text: "mamba")
            try writeFile(folder + "/m.gguf", file.file)
            #expect(GGUFNames(of: try Checkpoint.open(folder + "/m.gguf")) == nil)
        }
    }

    private static let sizes: [String: UInt32] = [
        "block_count": 2, "attention.head_count": 2, "attention.head_count_kv": 2,
    ]

    /// The names of a file of `architecture` with these sizes and with tensors of the shape [8, 8].
    private func withNames(
        _ architecture: String, _ sizes: [String: UInt32], _ tensors: [String], arrays: [String: [UInt32]] = [:],
        _ body: (GGUFNames, Checkpoint) throws -> Void
    ) throws {
        try withTemporaryFolder { folder in
            var file = GGUFBuilder()
            file.add("general.architecture", text: architecture)
            for (key, value) in sizes { file.add("\(architecture).\(key)", integer: value) }
            for (key, values) in arrays {
                let bytes = GGUFBuilder.bytes(UInt32(4)) + GGUFBuilder.bytes(UInt64(values.count))
                file.add("\(architecture).\(key)", type: 9, value: bytes + values.flatMap { GGUFBuilder.bytes($0) })
            }
            for name in tensors { file.addTensor(name, shape: [8, 8], floats: [Float](repeating: 0, count: 64)) }
            try writeFile(folder + "/model.gguf", file.file)
            let checkpoint = try Checkpoint.open(folder + "/model.gguf")
            try body(try #require(GGUFNames(of: checkpoint)), checkpoint)
        }
    }
}
