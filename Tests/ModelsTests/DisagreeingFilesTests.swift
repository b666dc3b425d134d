import CheckpointIO
import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Models

/// A `config.json` that disagrees with the tensors beside it, or with itself, for every family: one sentence, and the exit
/// code of unsound data.
@Suite struct DisagreeingFilesTests {
    static let families = [
        "llama-yarn", "llama-dynamic", "llama-linear", "mistral", "ministral3", "smollm3", "granite", "olmo2", "olmo3",
        "phi3", "phi3-partial", "phi3-longrope", "glm4", "gemma2", "gemma3_text", "mixtral", "qwen3_moe", "gpt_oss",
        "qwen3_5_text",
    ]

    /// A change of a configuration; nil for one that the family has no field for.
    private struct Change {
        let name: String
        let make: (inout JSONObject) -> Bool

        init(_ name: String, _ make: @escaping (inout JSONObject) -> Bool) {
            self.name = name
            self.make = make
        }

        /// A field that is there gets another value.
        static func of(_ key: String, _ what: String, _ value: @escaping (JSONValue) -> JSONValue?) -> Change {
            Change("\(key) \(what)") { object in
                guard let old = object[key], !old.isNull, let new = value(old) else { return false }
                object[key] = new
                return true
            }
        }

        /// A size of another number.
        static func size(_ key: String, _ what: String, _ value: @escaping (Int) -> Int) -> Change {
            of(key, what) { $0.intValue.map { .integer(value($0)) } }
        }
    }

    private static var changes: [Change] {
        [
            .size("num_attention_heads", "doubled") { 2 * $0 }, .size("num_attention_heads", "odd") { $0 + 1 },
            .size("num_key_value_heads", "no divisor") { $0 + 1 }, .size("num_key_value_heads", "one") { _ in 1 },
            .size("hidden_size", "doubled") { 2 * $0 }, .size("intermediate_size", "doubled") { 2 * $0 },
            .size("moe_intermediate_size", "doubled") { 2 * $0 }, .size("vocab_size", "larger") { $0 + 1 },
            .size("vocab_size", "smaller") { $0 - 1 }, .size("num_hidden_layers", "one more") { $0 + 1 },
            .size("num_hidden_layers", "one fewer") { $0 - 1 }, .size("head_dim", "doubled") { 2 * $0 },
            .size("num_local_experts", "one more") { $0 + 1 }, .size("num_local_experts", "one fewer") { $0 - 1 },
            .size("num_experts_per_tok", "more than there are") { $0 + 100 }, .size("hidden_size", "none") { _ in 0 },
            .size("hidden_size", "beyond reason") { _ in 1 << 40 }, .size("num_hidden_layers", "negative") { _ in -1 },
            .of("num_hidden_layers", "a text") { _ in .string("two") },
            .of("rms_norm_eps", "negative") { _ in .number("-1.0") },
            .of("rms_norm_eps", "a text") { _ in .string("x") },
            .of("sliding_window", "negative") { _ in .integer(-3) },
            .of("sliding_window", "a text") { _ in .string("x") },
            .of("layer_types", "one too few") { $0.arrayValue.map { .array($0.dropLast()) } },
            .of("layer_types", "one too many") { $0.arrayValue.map { .array($0 + [$0[0]]) } },
            .of("no_rope_layers", "one too few") { $0.arrayValue.map { .array($0.dropLast()) } },
            .of("rope_parameters", "a text") { _ in .string("x") },
            .of("eos_token_id", "beyond the vocabulary") { _ in .integer(1 << 20) },
            .of("linear_num_value_heads", "doubled") { $0.intValue.map { .integer(2 * $0) } },
            .of("linear_key_head_dim", "doubled") { $0.intValue.map { .integer(2 * $0) } },
        ]
    }

    @Test(arguments: families) func disagreementsAreUnsoundData(name: String) throws {
        let source = fixture("tiny-decoders/\(name)")
        let bytes = try readSmallFile(source + "/config.json", limit: 1 << 20)
        let original = try #require(JSONValue.parse(bytes).objectValue)
        try withTemporaryFolder { folder in
            try FileManager.default.copyItem(
                atPath: source + "/model.safetensors", toPath: folder + "/model.safetensors")
            func open(_ object: JSONObject) throws {
                try JSONValue.object(object).text().write(
                    toFile: folder + "/config.json", atomically: true, encoding: .utf8)
                let model = try ModelCheckpoint.open(folder)
                try model.checkRuns()
            }
            try open(original)
            var made = 0
            for change in Self.changes {
                var object = original
                guard change.make(&object) else { continue }
                made += 1
                do {
                    try open(object)
                    Issue.record("\(name): \(change.name) is taken")
                } catch let error as any ReportableError {
                    let words = "\(error)"
                    #expect(error.exitStatus == .badData, "\(name): \(change.name): \(words)")
                    #expect(!words.contains("\n") && words.count < 600, "\(name): \(change.name): \(words)")
                }
            }
            #expect(made > 14)
        }
    }
}
