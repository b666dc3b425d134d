import CheckpointIO
import Models
import TestSupport
import Testing

/// What must hold of every decoder of the table.
@Suite struct ArchitectureTests {
    private static let decoders = ArchitectureTable.all.filter { !$0.names.isEncoder }

    /// A `config.json` that every decoder of the table understands, in the older or the newer spelling.
    private static func configuration(
        _ names: ArchitectureNames, tied: Bool = false, biases: Bool = false, newSpelling: Bool = true,
        scaling: JSONObject = [:]
    ) -> JSONValue {
        var members: JSONObject = [
            "model_type": .string(names.modelType), "architectures": .array([.string(names.className)]),
            "hidden_size": .integer(16), "intermediate_size": .integer(24), "num_hidden_layers": .integer(2),
            "num_attention_heads": .integer(4), "num_key_value_heads": .integer(2), "head_dim": .integer(8),
            "vocab_size": .integer(10), "max_position_embeddings": .integer(32), "rms_norm_eps": .number("0.001"),
            "hidden_act": .string("silu"), "bos_token_id": .integer(3),
            "eos_token_id": .array([.integer(4), .integer(5)]),
            "tie_word_embeddings": .bool(tied), "attention_bias": .bool(biases), "mlp_bias": .bool(biases),
            "sliding_window": .null,
        ]
        if names.modelType == "gpt_oss" { members["attention_bias"] = .bool(true) }
        if names.modelType.hasPrefix("gemma") {
            members["hidden_act"] = .string("gelu_pytorch_tanh")
            members["hidden_activation"] = .string("gelu_pytorch_tanh")
        }
        if newSpelling {
            var rotary = scaling
            rotary["rope_theta"] = .integer(500)
            if rotary["rope_type"] == nil { rotary["rope_type"] = .string("default") }
            let isOfLayers = rotaryOfLayers.contains(names.modelType)
            let plain: JSONObject = ["rope_type": .string("default"), "rope_theta": .integer(500)]
            members["rope_parameters"] = .object(
                isOfLayers ? ["full_attention": .object(rotary), "sliding_attention": .object(plain)] : rotary)
        } else {
            members["rope_theta"] = .integer(500)
            members["rope_scaling"] = scaling.members.isEmpty ? .null : .object(scaling)
        }
        return .object(members)
    }

    /// Architectures with rotary embeddings of their own for layers that slide; without linear scaling; for which
    /// transformers assumes a scaling where none is given.
    private static let rotaryOfLayers = ["olmo3", "gemma3_text"]
    private static let withoutLinearScaling = ["phi3"]
    private static let withAssumedScaling = ["ministral3"]

    private static func read(_ json: JSONValue) throws -> any Architecture {
        try ArchitectureTable.read(configuration: json, file: "config.json")
    }

    @Test func everyNameOfATensorTranslatesBothWays() throws {
        for type in Self.decoders {
            for tied in [false, true] {
                let tensors = ModelTensors(
                    of: try Self.read(Self.configuration(type.names, tied: tied, biases: true)))
                #expect(Set(tensors.all.map(\.name)).count == tensors.all.count, "\(type.names.modelType)")
                // Experts lie together in GGUF files.
                let named = tensors.all.compactMap(\.ggufName)
                #expect(Set(named).count == named.count, "\(type.names.modelType)")
                // Gemma 2's files have no head.
                #expect(tensors.all.allSatisfy { $0.ggufName != nil || $0.isOfMixture || $0.role == .outputHead })
                for tensor in tensors.all {
                    #expect(tensors[tensor.name] == tensor)
                    guard let ggufName = tensor.ggufName else { continue }
                    #expect(tensors[gguf: ggufName] == tensor)
                    #expect(tensor.layer.map { tensor.name.contains(".\($0).") } ?? true, "\(tensor.name)")
                    guard tensor.role != .bias, tensor.name == CheckpointNames.weight(of: tensor.module) else {
                        continue
                    }
                    #expect(tensors[module: tensor.module] == tensor)
                    #expect(type.modulePath(ofGGUFWeight: ggufName) == tensor.module)
                }
                #expect(tensors.outputHead?.tiedTo == (tied ? tensors.embedding?.name : nil))
                #expect(
                    tensors.linearModules().count == tensors.linearModules(withTiedHead: true).count - (tied ? 1 : 0))
            }
        }
    }

    @Test func rowsGoToGGUFAndBackToTheirPlaces() throws {
        for type in Self.decoders {
            for tensor in ModelTensors(of: try Self.read(Self.configuration(type.names))).all {
                let rows = (0..<tensor.shape[0]).map { tensor.ggufRows.gguf($0) }
                #expect(rows.sorted() == Array(0..<tensor.shape[0]), "\(tensor.name)")
                #expect(rows.map { tensor.ggufRows.huggingFace($0) } == Array(0..<tensor.shape[0]), "\(tensor.name)")
            }
        }
    }

    @Test func olderAndNewerSpellingSayTheSame() throws {
        for type in Self.decoders {
            for scaling in [[:], ["rope_type": .string("linear"), "factor": .integer(4)]] as [JSONObject] {
                let excluded = scaling.members.isEmpty ? Self.withAssumedScaling : Self.withoutLinearScaling
                if excluded.contains(type.names.modelType) { continue }
                let read = try [true, false].map {
                    try Self.read(Self.configuration(type.names, newSpelling: $0, scaling: scaling)).configuration
                }
                #expect(read[0] == read[1] && read[0].rotaryBase == 500, "\(type.names.modelType)")
                #expect(read[0].rotaryScaling == (scaling.members.isEmpty ? .standard : .linear(factor: 4)))
            }
        }
    }

    @Test func whatIsWrittenReadsBackTheSame() throws {
        for type in Self.decoders {
            for biases in [false, true] {
                let architecture = try Self.read(Self.configuration(type.names, biases: biases))
                var members = WrittenFields(of: architecture).json
                members["tie_word_embeddings"] = .bool(false)
                let again = try Self.read(.object(members))
                #expect(again.configuration == architecture.configuration, "\(type.names.modelType)")
                #expect(again.names.modelType == type.names.modelType)
            }
        }
    }

    /// An unknown way of changing frequencies, quantized weights, another activation.
    @Test func whatNoGraphCanDoIsRefusedByName() throws {
        for type in Self.decoders {
            for (key, value) in [
                ("quantization_config", JSONValue.object(["quant_method": .string("gptq")])),
                ("hidden_act", .string("gelu")),
                ("rope_scaling", .object(["rope_type": .string("xpos"), "factor": .integer(4)])),
            ] {
                var members = try #require(Self.configuration(type.names, newSpelling: false).objectValue)
                members[key] = value
                let error = try #require(throws: ModelError.self) { try Self.read(.object(members)) }
                #expect(error.exitStatus == .unsupported && error.description.contains(key), "\(error)")
            }
        }
    }
}
