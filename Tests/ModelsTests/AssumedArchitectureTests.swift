import CheckpointIO
import Foundation
import TensorCore
import TestSupport
import Testing

@testable import Models

/// Models of types that have no graph: refused by name, or computed as a type that is given where tensors and fields are
/// that one's.
@Suite struct AssumedArchitectureTests {
    /// The folder of a fixture with a changed configuration.
    private func withChanged<R>(
        _ name: String, _ change: (inout JSONObject) -> Void, _ body: (String) throws -> R
    ) throws -> R {
        try withTemporaryFolder { folder in
            let source = fixture(name)
            let bytes = try readSmallFile(source + "/config.json", limit: 1 << 20)
            var object = try #require(JSONValue.parse(bytes).objectValue)
            change(&object)
            try FileManager.default.copyItem(
                atPath: source + "/model.safetensors", toPath: folder + "/model.safetensors")
            try JSONValue.object(object).text().write(
                toFile: folder + "/config.json", atomically: true, encoding: .utf8)
            return try body(folder)
        }
    }

    private func renamed(_ type: String, _ change: @escaping (inout JSONObject) -> Void = { _ in }) -> (
        inout JSONObject
    ) -> Void {
        { object in
            object["model_type"] = .string(type)
            object["architectures"] = .array([.string("OtherForCausalLM")])
            change(&object)
        }
    }

    /// Releases that have no graph yet; what they are told of holds their name.
    @Test(arguments: ["gemma4", "qwen3_next", "qwen3_5_moe", "granitemoehybrid", "glm4_moe"])
    func newReleasesAreRefusedByName(type: String) throws {
        try withChanged("tiny-decoders/olmo2", renamed(type) { $0["new_kind_of_attention"] = .integer(3) }) { folder in
            let model = try ModelCheckpoint.open(folder)
            let error = #expect(throws: ModelError.self) { try model.checkRuns() }
            #expect("\(error as Any)".contains("'\(type)'") && error?.exitStatus == .unsupported)
        }
    }

    @Test func aRenamedModelIsOfferedItsFamilyAndComputesAsIt() throws {
        try withChanged("tiny-qwen3", renamed("other3")) { folder in
            let model = try ModelCheckpoint.open(folder)
            let error = try #require(throws: ModelError.self) { try model.checkRuns() }
            #expect(Wording(error).text { "\($0)=\($1 ?? "")" }.contains("architecture=qwen3"))
            let assumed = try ModelCheckpoint.open(folder, as: "qwen3")
            try assumed.checkRuns()
            #expect(assumed.architecture is Qwen3)
        }
    }

    /// Tensors and fields that are not the family's, a family that there is none of, and a type that is known.
    @Test func whatDoesNotFitIsRefused() throws {
        func refusal(
            _ name: String, _ type: String, _ change: @escaping (inout JSONObject) -> Void = { _ in }
        ) throws -> ModelError {
            try withChanged(name, renamed("other3", change)) { folder in
                try #require(throws: ModelError.self) { try ModelCheckpoint.open(folder, as: type).checkRuns() }
            }
        }
        _ = try refusal("tiny-qwen3", "phi3")
        #expect("\(try refusal("tiny-qwen3", "olmo9"))".contains("'olmo9' is not known"))
        let field = try refusal("tiny-qwen3", "qwen3") { $0["residual_multiplier"] = .number("0.5") }
        #expect("\(field)".contains("'residual_multiplier' is 0.5") && field.exitStatus == .unsupported)
        let inner = try refusal("tiny-qwen3", "qwen3") {
            $0["rope_parameters"] = .object([
                "rope_type": .string("default"), "rope_theta": .integer(5), "twist": .integer(2),
            ])
        }
        #expect("\(inner)".contains("rope_parameters.twist"))
        let known = try #require(throws: ModelError.self) {
            try ModelCheckpoint.open(fixture("tiny-qwen3"), as: "llama")
        }
        #expect("\(known)".contains("a known architecture"))
    }
}
