import CheckpointIO
import TestSupport
import Testing

@testable import Models

/// The table of GGUF names, against files that Tests/Scripts/make_gguf_names.py converts apart from it, by the names that
/// transformers saves and gguf's own map.
@Suite struct GGUFNamesTests {
    private static func checkpoint(of model: String) throws -> Checkpoint {
        try Checkpoint.open(try GGUFNamesFixture(model).path)
    }

    @Test(arguments: GGUFNamesFixture.models) func everyTensorHasItsNameInBothDirections(model: String) throws {
        let checkpoint = try Self.checkpoint(of: model)
        let names = try #require(GGUFNames(of: checkpoint))
        let tensors = try GGUFNamesFixture(model).tensors
        #expect(Set(checkpoint.tensors.map(\.name)) == Set(tensors.map(\.gguf)))
        for tensor in tensors {
            let counterpart = names.counterpart(of: try #require(checkpoint.record(tensor.gguf)))
            let known = tensor.name ?? tensor.transposed
            #expect(counterpart?.name == known, "\(tensor.gguf)")
            if let name = known { #expect(names.ggufName(of: name) == tensor.gguf) }
        }
    }

    @Test(arguments: GGUFNamesFixture.models) func valuesReadByTheTableAreTheCheckpoints(model: String) throws {
        let checkpoint = try Self.checkpoint(of: model)
        let names = try #require(GGUFNames(of: checkpoint))
        for tensor in try GGUFNamesFixture(model).tensors where tensor.name != nil {
            let record = try #require(checkpoint.record(tensor.gguf))
            let counterpart = try #require(names.counterpart(of: record))
            let stored = try checkpoint.floats(of: record)
            // Axes of one element are not kept; packed experts have rows of their own, which never lie elsewhere.
            let (rows, width) = (record.shape[0], record.shape.count > 1 ? record.shape.last! : 1)
            #expect(record.shape.filter { $0 > 1 } == tensor.shape.filter { $0 > 1 }, "\(tensor.gguf)")
            #expect(record.shape.count < 3 || !counterpart.form.rows.isPermuted && !counterpart.form.columns.isPermuted)
            for element in 0..<record.elementCount {
                let (row, column) = element.quotientAndRemainder(dividingBy: record.elementCount / rows)
                let source =
                    counterpart.form.rows.gguf(row) * (record.elementCount / rows)
                    + (record.shape.count == 2 ? counterpart.form.columns.gguf(column) : column)
                let expected = tensor.value(element)
                let found = counterpart.form.values.huggingFace(stored[source])
                if counterpart.form.values == .negatedExponential {
                    #expect(abs(found - expected) < 1e-6, "\(tensor.gguf) \(element)")
                } else {
                    #expect(found == expected, "\(tensor.gguf) \(element) of width \(width)")
                }
                #expect(abs(counterpart.form.values.gguf(expected) - stored[source]) <= 1e-6 * abs(stored[source]))
            }
        }
    }

    @Test(arguments: GGUFNamesFixture.models) func modelsWithoutAGraphAreSeenAsTheirCheckpoints(model: String) throws {
        let base = try ModelCheckpoint.open(GGUFNamesFixture(model).path)
        for tensor in try GGUFNamesFixture(model).tensors {
            if let name = tensor.transposed {
                #expect(base.record(of: name)?.name == tensor.gguf && base.specifications[name]?.role == .experts)
                continue
            }
            guard let name = tensor.name else {
                // It keeps its name, and no adapter can wrap it.
                let specification = try #require(base.specifications[tensor.gguf])
                #expect(specification.role == .other && base.record(of: tensor.gguf)?.name == tensor.gguf)
                continue
            }
            #expect(base.record(of: name)?.name == tensor.gguf && base.specifications[name]?.ggufName == tensor.gguf)
            let found = try base.floats(name)
            for (element, value) in found.enumerated() {
                let expected = tensor.value(element)
                #expect(abs(value - expected) <= (name.hasSuffix("A_log") ? 1e-6 : 0), "\(name) \(element)")
            }
            // Rows by themselves are those of the whole.
            let rows = base.shape(of: name)![0] / 2..<base.shape(of: name)![0]
            let width = found.count / base.shape(of: name)![0]
            var part = [Float](repeating: 0, count: rows.count * width)
            try part.withUnsafeMutableBufferPointer { try base.readFloats(name, rows: rows, into: $0) }
            #expect(part[...] == found[(rows.lowerBound * width)...], "\(name)")
        }
    }

    @Test func linearModulesOfAFileAreThoseOfTheCheckpoint() throws {
        func parts(_ model: String, withTiedHead: Bool = false) throws -> Set<String> {
            let base = try ModelCheckpoint.open(GGUFNamesFixture(model).path)
            return Set(
                base.specifications.linearModules(withTiedHead: withTiedHead).map {
                    base.specifications[module: $0.path]?.part ?? ""
                })
        }
        #expect(
            try parts("phi3") == [
                "self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj", "lm_head",
            ])
        #expect(
            try parts("qwen3_5_text") == [
                "linear_attn.in_proj_qkv", "linear_attn.in_proj_z", "linear_attn.in_proj_a", "linear_attn.in_proj_b",
                "linear_attn.out_proj", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "lm_head",
            ])
        #expect(try parts("gemma2", withTiedHead: true).subtracting(parts("gemma2")) == ["lm_head"])
        #expect(
            try parts("bert", withTiedHead: true) == [
                "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                "intermediate.dense", "output.dense", "classifier",
            ])
    }

    @Test func everyArchitectureOfTheTableIsHeldAgainstAConversion() throws {
        let tested = Set(
            try GGUFNamesFixture.models.map {
                try #require(Self.checkpoint(of: $0).metadata?["general.architecture"]?.stringValue)
            }
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
                #expect(names.counterpart(of: checkpoint.tensors[0])?.form.rows == rows, "\(sizes)")
                #expect(names.counterpart(of: checkpoint.tensors[1])?.form.rows == .asInHuggingFace)
            }
        }
    }

    @Test func headsCanDifferFromLayerToLayer() throws {
        try withNames(
            "llama", ["block_count": 2], ["blk.0.attn_q.weight", "blk.1.attn_q.weight", "blk.2.attn_q.weight"],
            arrays: ["attention.head_count": [1, 2]]
        ) { names, checkpoint in
            let orders = checkpoint.tensors.map { names.counterpart(of: $0)?.form.rows }
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
                #expect(!counterpart.form.rows.isPermuted && !counterpart.form.columns.isPermuted)
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
            #expect(names.counterpart(of: checkpoint.tensors[0])?.form.rows == order)
            #expect(names.counterpart(of: checkpoint.tensors[1])?.form.columns == order)
        }
    }

    @Test func layersThatPredictFurtherTokensKeepTheirNames() throws {
        let tensors = ["blk.0.attn_v.weight", "blk.1.attn_v.weight"]
        try withNames("qwen35", ["block_count": 2, "nextn_predict_layers": 1], tensors) { names, checkpoint in
            #expect(checkpoint.tensors.map { names.counterpart(of: $0) != nil } == [true, false])
        }
    }

    @Test func queriesOfGLMWithSectionsLieInHalves() throws {
        let tensors = ["blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"]
        let sections: [String: [UInt32]] = ["rope.dimension_sections": [1, 1, 1, 0]]
        let sizes: [String: UInt32] = [
            "block_count": 1, "attention.head_count": 2, "attention.head_count_kv": 1, "rope.dimension_count": 4,
        ]
        try withNames("glm4", sizes, tensors, arrays: sections) { names, checkpoint in
            let orders = checkpoint.tensors.map { names.counterpart(of: $0)?.form.rows }
            let rows = checkpoint.tensors[0].shape[0]
            #expect(
                orders == [
                    .rotaryHalves(headSize: rows / 2, rotarySize: 4), .rotaryHalves(headSize: rows, rotarySize: 4),
                    .asInHuggingFace,
                ])
        }
        try withNames("glm4", sizes, tensors) { names, checkpoint in
            #expect(checkpoint.tensors.allSatisfy { names.counterpart(of: $0)?.form.rows == .asInHuggingFace })
        }
        // Without the size of what turns, or with one that does not fit, nothing is named.
        for size in [nil, UInt32(3), 64] {
            try withNames("glm4", sizes.merging(["rope.dimension_count": size ?? 0]) { $1 }, tensors, arrays: sections)
            {
                names, checkpoint in
                #expect(checkpoint.tensors.map { names.counterpart(of: $0) != nil } == [false, false, true])
            }
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
