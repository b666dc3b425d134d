import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

@testable import Models

/// The fields that set one decoder apart from another: defaults, older spellings, what is refused.
@Suite struct DecoderFieldsTests {
    private static func read(
        _ type: String, _ change: (inout JSONObject) -> Void = { _ in }
    ) throws -> any Architecture {
        var members: JSONObject = [
            "model_type": .string(type), "hidden_size": .integer(64), "intermediate_size": .integer(96),
            "num_hidden_layers": .integer(8), "num_attention_heads": .integer(8), "num_key_value_heads": .integer(4),
            "vocab_size": .integer(10),
        ]
        change(&members)
        return try ArchitectureTable.read(configuration: .object(members), file: "config.json")
    }

    private static func object(_ text: String) throws -> JSONValue { try JSONValue.parse(Array(text.utf8)) }

    private static func refusal(_ type: String, _ change: (inout JSONObject) -> Void) throws -> ModelError {
        try #require(throws: ModelError.self) { try Self.read(type, change) }
    }

    @Test func silentConfigurationsTakeTheDefaultsOfTransformers() throws {
        let mistral = try #require(Self.read("mistral") as? Mistral)
        #expect(mistral.window == 4096 && mistral.configuration.maximumPositions == 131_072)
        let smollm3 = try #require(Self.read("smollm3") as? SmolLM3)
        #expect((0..<8).filter { !smollm3.rotating.contains($0) } == [3, 7] && smollm3.configuration.tiedEmbeddings)
        #expect(smollm3.configuration.rotaryBase == 2_000_000)
        let granite = try #require(Self.read("granite") as? Granite)
        #expect(granite.embedding == 1 && granite.residual == 1 && granite.logits == 1 && granite.attention == 1)
        let olmo3 = try #require(Self.read("olmo3") as? OLMo3)
        #expect((0..<8).filter { !olmo3.sliding.contains($0) } == [3, 7] && olmo3.window == 4096)
        #expect(olmo3.slidingBase == 500_000 && olmo3.configuration.rmsNormEpsilon == 1e-5)
        let phi3 = try #require(Self.read("phi3") as? Phi3)
        #expect(phi3.window == nil && phi3.configuration.turnedSize == 8 && phi3.configuration.eosTokenIDs == [32000])
        let glm4 = try Self.read("glm4").configuration
        #expect(glm4.headSize == 128 && glm4.turnedSize == 64 && glm4.hasAttentionBias)
        let gemma2 = try #require(Self.read("gemma2") as? Gemma2)
        #expect(gemma2.gemma.queryScalar == 256 && gemma2.gemma.window == 4096 && gemma2.configuration.headSize == 256)
        #expect(gemma2.gemma.scoreSoftcap == 50 && gemma2.gemma.logitSoftcap == 30)
        #expect((0..<8).filter { gemma2.gemma.sliding.contains($0) } == [0, 2, 4, 6])
        let gemma3 = try #require(Self.read("gemma3_text") as? Gemma3)
        #expect(gemma3.gemma.scoreSoftcap == nil && gemma3.slidingBase == 10_000)
        #expect(gemma3.configuration.rotaryBase == 1_000_000 && gemma3.configuration.tiedEmbeddings)
        #expect((0..<8).filter { !gemma3.gemma.sliding.contains($0) } == [5])
    }

    /// Both spellings of rotary embeddings that differ between layers.
    @Test func olderSpellingsOfLayersSayTheSame() throws {
        let newer = try #require(
            Self.read("gemma3_text") {
                $0["rope_parameters"] = try? Self.object(
                    """
                    {"full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 500},
                     "sliding_attention": {"rope_type": "default", "rope_theta": 70}}
                    """)
                $0["layer_types"] = .array(
                    (0..<8).map { .string($0 % 3 == 2 ? "full_attention" : "sliding_attention") })
            } as? Gemma3)
        let older = try #require(
            Self.read("gemma3_text") {
                $0["rope_scaling"] = try? Self.object(#"{"rope_type": "linear", "factor": 8}"#)
                $0["rope_theta"] = .integer(500)
                $0["rope_local_base_freq"] = .integer(70)
                $0["sliding_window_pattern"] = .integer(3)
            } as? Gemma3)
        #expect(newer.configuration == older.configuration && newer.slidingBase == 70 && older.slidingBase == 70)
        #expect(newer.configuration.rotaryScaling == .linear(factor: 8) && newer.configuration.rotaryBase == 500)
        for layer in 0..<8 { #expect(newer.gemma.sliding.contains(layer) == older.gemma.sliding.contains(layer)) }
    }

    @Test func longropeHasItsOriginalContextBesideIt() throws {
        func read(_ change: (inout JSONObject) -> Void) throws -> LongRotaryScaling {
            let read = try Self.read("phi3") {
                $0["max_position_embeddings"] = .integer(131_072)
                $0["rope_scaling"] = try? Self.object(
                    #"{"type": "su", "short_factor": [1, 1, 1, 1], "long_factor": [1, 2, 3, 4]}"#)
                change(&$0)
            }
            guard case .longrope(let long) = read.configuration.rotaryScaling else { throw NoLongrope() }
            return long
        }
        let long = try read { $0["original_max_position_embeddings"] = .integer(8192) }
        #expect(long.originalPositions == 8192 && long.longFactors == [1, 2, 3, 4])
        #expect(abs(long.attention - 1.14354) < 1e-5)
        // transformers takes 4096 where nothing is said, whatever stands inside.
        #expect(try read { _ in }.originalPositions == 4096)
        let error = try Self.refusal("phi3") {
            $0["rope_scaling"] = try? Self.object(#"{"type": "longrope", "short_factor": [1], "long_factor": [1]}"#)
        }
        #expect(error.exitStatus == .badData && error.description.contains("short_factor"), "\(error)")
    }

    private struct NoLongrope: Error {}

    /// Each of these would change the result and is not built.
    @Test func whatTheGraphsHaveNotIsRefusedByName() throws {
        let changes: [(String, String, JSONValue)] = [
            ("gemma2", "use_bidirectional_attention", .bool(true)), ("gemma2", "hidden_activation", .string("silu")),
            ("gemma2", "hidden_act", .string("silu")), ("gemma3_text", "use_bidirectional_attention", .bool(true)),
            ("gemma2", "layer_types", .array((0..<8).map { _ in .string("chunked_attention") })),
            ("phi3", "resid_pdrop", .number("0.1")), ("phi3", "embd_pdrop", .number("0.1")),
            ("phi3", "rope_scaling", .object(["rope_type": .string("linear"), "factor": .integer(2)])),
            ("granite", "partial_rotary_factor", .number("0.5")), ("olmo2", "partial_rotary_factor", .number("0.5")),
            (
                "mistral", "layer_types",
                .array((0..<8).map { .string($0 == 3 ? "full_attention" : "sliding_attention") })
            ),
            (
                "llama", "rope_parameters",
                .object(["full_attention": .object(["rope_type": .string("default")])])
            ),
        ]
        for (type, key, value) in changes {
            let error = try Self.refusal(type) { $0[key] = value }
            let isNamed =
                error.description.contains(key) || error.description.contains("rope_type")
                || error.description.contains("full_attention")
            #expect(error.exitStatus == .unsupported && isNamed, "\(type) \(key): \(error)")
        }
        let slides = try Self.refusal("smollm3") {
            ($0["use_sliding_window"], $0["sliding_window"]) = (.bool(true), .integer(16))
        }
        #expect(slides.exitStatus == .unsupported && slides.description.contains("sliding_window"))
    }

    /// Lists of the wrong length and numbers of the wrong kind.
    @Test func unsoundFieldsAreNamed() throws {
        let types = JSONValue.array([.string("full_attention")])
        let changes: [(String, String, JSONValue)] = [
            ("gemma2", "layer_types", types), ("gemma3_text", "layer_types", types), ("olmo3", "layer_types", types),
            ("smollm3", "no_rope_layers", .array([.integer(1)])), ("mistral", "sliding_window", .integer(-1)),
            ("granite", "residual_multiplier", .integer(-1)), ("gemma2", "query_pre_attn_scalar", .integer(0)),
            ("glm4", "partial_rotary_factor", .integer(2)), ("phi3", "partial_rotary_factor", .number("0.01")),
            ("gemma3_text", "rope_parameters", .object(["rope_theta": .integer(7)])),
        ]
        for (type, key, value) in changes {
            let error = try Self.refusal(type) { $0[key] = value }
            #expect(error.exitStatus == .badData && error.description.contains(key), "\(type) \(key): \(error)")
        }
    }

    /// Frequencies that transformers 5.24 gives (`ROPE_INIT_FUNCTIONS` in float32).
    @Test func yarnAndDynamicFrequenciesAreTransformers() throws {
        func frequencies(_ text: String, positions: Int = 1) throws -> [Float] {
            let read = try Self.read("llama") {
                $0["max_position_embeddings"] = .integer(64)
                $0["rope_parameters"] = try? Self.object(text)
            }
            return read.configuration.rotary.values(positions: positions)
        }
        func agree(_ found: [Float], _ expected: [Float]) -> Bool {
            found.count == expected.count && zip(found, expected).allSatisfy { abs($0 - $1) <= 2e-7 * abs($1) }
        }
        let dynamic = #"{"rope_type": "dynamic", "rope_theta": 10000, "factor": 3}"#
        #expect(agree(try frequencies(dynamic, positions: 64), [1, 0.1, 0.01, 0.001]))
        #expect(agree(try frequencies(dynamic, positions: 128), DecoderFieldsTests.dynamicFrequencies))
        let yarn = """
            {"rope_type": "yarn", "rope_theta": 10000, "factor": 4, "original_max_position_embeddings": 32,
             "beta_fast": 2, "beta_slow": 0.25}
            """
        #expect(agree(try frequencies(yarn), DecoderFieldsTests.yarnFrequencies))
    }

    private static let dynamicFrequencies: [Float] = [
        0x1.0000000000000p+0, 0x1.0208260000000p-4, 0x1.04146e0000000p-8, 0x1.0624de0000000p-12,
    ]
    private static let yarnFrequencies: [Float] = [
        0x1.0000000000000p+0, 0x1.0000000000000p-4, 0x1.47ae140000000p-9, 0x1.0624de0000000p-12,
    ]
}
