import CheckpointIO
import Compute
import TensorCore
import TestSupport
import Testing

@testable import Models

/// LLaVA's pictures: names of its files, what its configuration may ask for. `GoldenTests` hold its numbers.
@Suite struct LLaVATests {
    private static let golden = fixture("golden/llava-lora/model")
    /// A picture of the golden case's tower, and a text with its four tokens.
    private static let picture: [Float] = (0..<2352).map { (place: Int) -> Float in Float(place % 23) / 11 - 1 }
    private static let tokens: [Int32] = [1, 159, 159, 159, 159, 20, 31]

    /// The golden case's model with names and configuration changed.
    private func withModel<R>(
        renaming: (String) -> String = { $0 }, _ change: (inout JSONObject) -> Void = { _ in },
        _ body: (ModelCheckpoint) throws -> R
    ) throws -> R {
        try withTemporaryFolder { folder in
            let file = try SafetensorsFile.open(Self.golden + "/model.safetensors")
            let tensors = try file.tensors.map { (renaming($0.name), $0.shape, try file.floats(of: $0)) }
            try SafetensorsWriter.write(tensors, to: folder + "/model.safetensors")
            let bytes = try readSmallFile(Self.golden + "/config.json", limit: 1 << 16)
            var json = try #require(try JSONValue.parse(bytes).objectValue)
            change(&json)
            try writeFile(folder + "/config.json", JSONValue.object(json).text())
            return try body(ModelCheckpoint.open(folder))
        }
    }

    private func states(
        _ checkpoint: ModelCheckpoint, _ tokens: [Int32] = Self.tokens, images: [[Float]] = [Self.picture]
    ) throws -> [Float] {
        let model = try checkpoint.makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        var pass = Pass(Tape(model.context, isRecording: false))
        pass.images = images
        return try model.forward(tokens, TokenLayout(lengths: [tokens.count]), in: pass).value.toArray()
    }

    @Test func namesOfAllTimesAreRead() throws {
        let expected = try states(ModelCheckpoint.open(Self.golden))
        let older = { (name: String) in name.replacing("vision_tower.", with: "vision_tower.vision_model.") }
        #expect(try withModel(renaming: older) { try states($0) } == expected)
        let inMemory = { (name: String) in
            let own = name.replacing("language_model.model.", with: "model.language_model.")
            if own.hasPrefix("language_model.lm_head") { return String(own.dropFirst("language_model.".count)) }
            return own.hasPrefix("model.") ? own : "model." + own
        }
        #expect(try withModel(renaming: inMemory) { try states($0) } == expected)
    }

    @Test func aPictureChangesWhatFollowsAndNothingBefore() throws {
        let checkpoint = try ModelCheckpoint.open(Self.golden)
        let (seen, other) = (try states(checkpoint), try states(checkpoint, images: [Self.picture.map { -$0 }]))
        #expect(Array(seen.prefix(64)) == Array(other.prefix(64)))
        #expect(Array(seen.suffix(64)) != Array(other.suffix(64)))
        let two = try states(checkpoint, Self.tokens + Self.tokens, images: [Self.picture, Self.picture.map { -$0 }])
        #expect(zip(two, seen).allSatisfy { abs($0 - $1) <= 1e-5 * max(1, abs($1)) })
    }

    @Test func theFullSelectionKeepsTheClassToken() throws {
        try withModel(renaming: { $0 }, { $0["vision_feature_select_strategy"] = .string("full") }) { checkpoint in
            let facts = try #require(checkpoint.textPart?.imageFacts)
            #expect(facts == ImageFacts(token: 159, tokenCount: 5, side: 28, patchSize: 14, dropsClass: false))
            #expect(try states(checkpoint, [159, 159, 159, 159, 159, 3]).count == 6 * 64)
            #expect(
                throws: ModelError.otherImageTokens(file: checkpoint.checkpoint.path, tokens: 4, images: 1, each: 5)
            ) {
                try states(checkpoint)
            }
        }
    }

    @Test func whatTheGraphCannotDoIsRefusedByName() throws {
        func problem(_ change: (inout JSONObject) -> Void) throws -> String {
            try withModel(renaming: { $0 }, change) { checkpoint in
                let error = #expect(throws: ModelError.self) { try states(checkpoint) }
                return error?.description ?? ""
            }
        }
        func vision(_ key: String, _ value: JSONValue) -> (inout JSONObject) -> Void {
            { json in
                var config = json["vision_config"]?.objectValue ?? [:]
                config[key] = value
                json["vision_config"] = .object(config)
            }
        }
        #expect(
            try problem(vision("model_type", .string("siglip_vision_model"))).contains("'vision_config.model_type'"))
        #expect(try problem(vision("hidden_act", .string("mish"))).contains("'vision_config.hidden_act' is 'mish'"))
        #expect(try problem(vision("attention_dropout", .number("0.1"))).contains("attention_dropout"))
        #expect(try problem(vision("hidden_size", .integer(48))).contains("vision_tower.embeddings.class_embedding"))
        #expect(try problem { $0["vision_feature_layer"] = .integer(9) }.contains("vision_feature_layer"))
        #expect(try problem { $0["vision_feature_select_strategy"] = .string("cls") }.contains("'cls'"))
        #expect(
            try problem { $0["architectures"] = .array([.string("LlavaLlamaForCausalLM")]) }
                .contains("'architectures' is 'LlavaLlamaForCausalLM'"))
        let missing = { (name: String) in name.replacing("multi_modal_projector.linear_2.bias", with: "other.bias") }
        try withModel(renaming: missing) { checkpoint in
            let error = #expect(throws: ModelError.self) { try states(checkpoint) }
            #expect(
                error?.description.contains("'multi_modal_projector.linear_2.bias' of shape [64] is missing") == true)
        }
    }

    @Test func aLanguageModelOfWhichLittleIsSaidIsWhatTransformersAssumes() throws {
        try withModel(
            renaming: { $0 },
            { json in
                json["text_config"] = .object(["vocab_size": .integer(160), "num_hidden_layers": .integer(3)])
            }
        ) { checkpoint in
            let error = #expect(throws: ModelError.self) { try states(checkpoint) }
            #expect(error?.description.contains("needs [160, 4096]") == true)
        }
    }
}
