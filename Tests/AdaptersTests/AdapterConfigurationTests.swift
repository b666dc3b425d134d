import CheckpointIO
import Models
import TestSupport
import Testing

@testable import Adapters

@Suite struct AdapterConfigurationTests {
    static let minimal: JSONObject = [
        "peft_type": .string("LORA"), "r": .integer(4), "lora_alpha": .integer(8),
        "target_modules": .array([.string("q_proj")]),
    ]

    static func configuration(_ changes: JSONObject) throws -> AdapterConfiguration {
        var object = minimal
        for (key, value) in changes.members { object[key] = value }
        return try AdapterConfiguration(json: .object(object), file: "adapter_config.json")
    }

    func members(_ value: JSONValue) throws -> [String: JSONValue] {
        Dictionary(uniqueKeysWithValues: try #require(value.objectValue).members.map { ($0.key, $0.value) })
    }

    @Test func peftsFileComesBackWithEveryField() throws {
        let bytes = try readSmallFile(fixture("golden/llama-lora/adapter/adapter_config.json"), limit: 1 << 20)
        let original = try JSONValue.parse(bytes)
        let configuration = try AdapterConfiguration(json: original, file: "adapter_config.json")
        #expect(configuration.kind == .lora)
        #expect(!configuration.isGated)
        #expect(configuration.rank == 4)
        #expect(configuration.settings.alpha == 8)
        #expect(configuration.targets == .names(["down_proj", "k_proj", "q_proj", "up_proj", "v_proj"]))
        #expect(try members(configuration.json) == members(original))
    }

    @Test func newConfigurationHasTheFieldsThatPeftWrites() throws {
        let bytes = try readSmallFile(fixture("golden/llama-lora/adapter/adapter_config.json"), limit: 1 << 20)
        var expected = Set(try members(try JSONValue.parse(bytes)).keys)
        expected.remove("peft_version")
        var configuration = try AdapterConfiguration(
            LoRASettings(rank: 8, alpha: 16), isGated: false, targets: .names(["q_proj"]))
        configuration.taskType = "CAUSAL_LM"
        configuration.baseModelPath = "base"
        #expect(Set(try members(configuration.json).keys) == expected)
        let text = configuration.jsonText
        #expect(text.hasPrefix("{\n  \"alora_invocation_tokens\": null,\n  \"alpha_pattern\": {},\n"))
        #expect(text.contains("\n  \"lora_alpha\": 16,\n"))
        let again = try AdapterConfiguration(json: try JSONValue.parse(text), file: "adapter_config.json")
        #expect(again.json == (try AdapterConfiguration(json: again.json, file: "x")).json)
        #expect(again.targets == configuration.targets && again.taskType == "CAUSAL_LM")
    }

    @Test func gatedConfigurationCarriesATypeThatPeftRefuses() throws {
        let gated = try Self.configuration(["peft_type": .string("TS_LORA")])
        #expect(gated.isGated)
        #expect(gated.methodName == "ts-lora")
        #expect(gated.json["peft_type"] == .string("TS_LORA"))
    }

    /// Packed parameters are trained, but not with what peft refuses beside them.
    @Test func packedParametersAreTakenWithoutDropoutAlone() throws {
        let fields: JSONObject = ["target_parameters": .array([.string("mlp.experts.down_proj")])]
        #expect(try Self.configuration(fields).targetParameters == ["mlp.experts.down_proj"])
        var dropped = fields
        dropped["lora_dropout"] = .number("0.1")
        let error = #expect(throws: AdapterError.self) { try Self.configuration(dropped) }
        #expect(error?.description.contains("mlp.experts.down_proj") == true)
    }

    @Test(arguments: [
        ("layer_replication", JSONValue.array([.array([.integer(0), .integer(2)])])),
        ("megatron_config", .object(["a": .integer(1)])),
        ("bias", .string("all")), ("alora_invocation_tokens", .array([.integer(3)])), ("use_qalora", .bool(true)),
        ("arrow_config", .object(["top_k": .integer(1)])),
        ("trainable_token_indices", .array([.integer(1)])),
        ("init_lora_weights", .string("pissa")), ("init_lora_weights", .string("olora")),
        ("use_bdlora", .object(["a": .bool(true)])), ("kasa_config", .object(["a": .bool(true)])),
        ("a_field_of_next_year", .integer(3)), ("another_field", .bool(true)),
    ])
    func fieldThatWouldChangeTheResultIsRefusedByName(_ field: String, _ value: JSONValue) throws {
        let error = #expect(throws: AdapterError.self) { try Self.configuration([field: value]) }
        #expect(error?.exitStatus == .unsupported)
        #expect(error?.description.contains("'\(field)'") == true)
    }

    @Test(arguments: [
        ("use_dora", JSONValue.bool(false)), ("layer_replication", .null), ("fan_in_fan_out", .bool(true)),
        ("bias", .string("none")), ("init_lora_weights", .string("gaussian")), ("init_lora_weights", .bool(false)),
        ("loftq_config", .object([:])), ("revision", .string("main")), ("inference_mode", .bool(true)),
        ("a_field_of_next_year", .null), ("another_field", .bool(false)), ("third_field", .object([:])),
    ])
    func harmlessFieldIsCarriedAlong(_ field: String, _ value: JSONValue) throws {
        #expect(try Self.configuration([field: value]).json[field] == value)
    }

    @Test func unknownTypeIsNamedWithTheKnownOnes() throws {
        let error = #expect(throws: AdapterError.self) { try Self.configuration(["peft_type": .string("LOHA")]) }
        #expect(error?.exitStatus == .unsupported)
        #expect(error?.description.contains("'LOHA'") == true)
        #expect(error?.description.contains("TS_LORA") == true)
    }

    @Test(arguments: [
        ("r", JSONValue.integer(0)), ("r", .string("8")), ("r", .integer(1 << 40)), ("lora_alpha", .bool(true)),
        ("lora_alpha", .number("1e999")), ("lora_dropout", .integer(1)), ("target_modules", .null),
        ("target_modules", .integer(3)), ("rank_pattern", .array([])),
        ("rank_pattern", .object(["q_proj": .integer(0)])), ("alpha_pattern", .object(["(": .integer(1)])),
        ("layers_to_transform", .string("all")),
    ])
    func malformedFieldIsRefused(_ field: String, _ value: JSONValue) throws {
        let error = #expect(throws: AdapterError.self) { try Self.configuration([field: value]) }
        #expect(error?.exitStatus == .badData)
    }

    @Test func scalingIsAlphaOverRankOrOverItsRoot() throws {
        let plain = try Self.configuration(["r": .integer(16), "lora_alpha": .integer(8)])
        #expect(plain.scaling(for: "model.layers.0.self_attn.q_proj") == 0.5)
        let stabilized = try Self.configuration([
            "r": .integer(16), "lora_alpha": .integer(8), "use_rslora": .bool(true),
        ])
        #expect(stabilized.scaling(for: "model.layers.0.self_attn.q_proj") == 2)
    }

    @Test func firstPatternThatMatchesAPathsEndCounts() throws {
        let configuration = try Self.configuration([
            "rank_pattern": .object([
                "layers.1.self_attn.q_proj": .integer(2), "q_proj": .integer(6), #"layers\.[23]\..*_proj"#: .integer(7),
            ]),
            "alpha_pattern": .object(["q_proj": .integer(12), "layers.1.self_attn.q_proj": .integer(1)]),
        ])
        #expect(configuration.rank(for: "model.layers.1.self_attn.q_proj") == 2)
        #expect(configuration.rank(for: "model.layers.11.self_attn.q_proj") == 6, "layers.1 is not layers.11")
        #expect(configuration.rank(for: "model.layers.2.self_attn.q_proj") == 6)
        #expect(configuration.rank(for: "model.layers.2.self_attn.k_proj") == 7)
        #expect(configuration.rank(for: "model.layers.4.self_attn.k_proj") == 4)
        #expect(configuration.rank(for: "model.layers.4.self_attn.seq_proj") == 4, "a part of a component is no match")
        #expect(configuration.own(LoRASettings.self).numbers.alpha(for: "model.layers.1.self_attn.q_proj") == 12)
        #expect(configuration.scaling(for: "model.layers.1.self_attn.q_proj") == 6)
        #expect(configuration.json["rank_pattern"]?.objectValue?.keys.first == "layers.1.self_attn.q_proj")
    }

    @Test func methodNamesAreReadInAnyCase() throws {
        #expect(try AdapterKind.named("TS-LoRA") == (.lora, true))
        #expect(try AdapterKind.named("lora") == (.lora, false))
        let error = #expect(throws: AdapterError.self) { try AdapterKind.named("loha") }
        #expect(error?.exitStatus == .usage)
        #expect(error?.description.contains("ts-lora") == true)
    }

    /// 0.19 exchanged A and B of packed experts; what was written on the way to it could be either.
    @Test(arguments: [
        ("0.21.2", ExpertFactors.byModule), ("0.19.0", .byModule), ("1.0.0", .byModule), ("0.20.0.dev0", .byModule),
        ("0.19.0.dev0", .unknown), ("0.18.2.dev0@1f2e", .unknown), ("0.18.1", .alongFirstAxis),
        ("0.17.1", .alongFirstAxis), ("0.17.0.dev0", .alongFirstAxis), ("newest", .unknown), ("", .unknown),
    ])
    func versionTellsHowFactorsOfExpertsLie(_ version: String, _ factors: ExpertFactors) throws {
        let configuration = try Self.configuration(["peft_version": .string(version)])
        #expect(configuration.expertFactors == factors)
        #expect(try Self.configuration([:]).expertFactors == .unknown)
    }
}
