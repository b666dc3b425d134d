import CheckpointIO
import Compute
import Models
import TensorCore
import TestSupport
import Testing

/// Language models inside checkpoints that have a tower for images beside them.
@Suite struct TextPartTests {
    /// A checkpoint of the fixture's model as a part of one of type `host`, with a tower whose modules have names of the
    /// language model's.
    private func write(
        _ name: String, in host: String, prefix: String, to folder: String,
        _ change: (inout JSONObject) -> Void = { _ in }
    ) throws {
        let base = try ModelCheckpoint.open(fixture("tiny-decoders/\(name)"))
        var tensors = try base.tensorNames.map { own in
            (
                own.hasPrefix("model.")
                    ? prefix + own.dropFirst(6) : (prefix.hasPrefix("model.") ? "" : "language_model.") + own,
                base.shape(of: own) ?? [], try base.floats(own)
            )
        }
        for layer in 0..<2 {
            tensors.append(
                ("vision_tower.layers.\(layer).self_attn.q_proj.weight", [4, 4], [Float](repeating: 1, count: 16)))
        }
        try SafetensorsWriter.write(tensors, to: folder + "/model.safetensors")
        let bytes = try readSmallFile(fixture("tiny-decoders/\(name)/config.json"), limit: 1 << 16)
        var text = try #require(try JSONValue.parse(bytes).objectValue)
        text["architectures"] = nil
        change(&text)
        let json: JSONObject = [
            "model_type": .string(host), "architectures": .array([.string("AForConditionalGeneration")]),
            "text_config": .object(text), "vision_config": .object(["hidden_size": .integer(4)]),
        ]
        try writeFile(folder + "/config.json", JSONValue.object(json).text())
    }

    private func logits(_ checkpoint: ModelCheckpoint) throws -> [Float] {
        let model = try checkpoint.makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        let tokens = (0..<12).map { Int32($0 * 31 % 400) }
        let tape = Tape(model.context, isRecording: false)
        let hidden = try model.forward(tokens, TokenLayout(lengths: [12]), in: Pass(tape))
        return tape.logits(hidden, head: model.head!, rows: tokens.indices.map(Int32.init)).toArray()
    }

    @Test(arguments: [
        ("gemma3_text", "gemma3", "language_model.model."), ("gemma3_text", "gemma3", "model.language_model."),
        ("ministral3", "mistral3", "language_model.model."), ("mistral", "mistral3", "model.language_model."),
        ("qwen3_5_text", "qwen3_5", "model.language_model."),
    ])
    func textComputesAndTheTowerIsLeftAlone(name: String, host: String, prefix: String) throws {
        try withTemporaryFolder { folder in
            try write(name, in: host, prefix: prefix, to: folder)
            let whole = try ModelCheckpoint.open(folder)
            #expect(whole.architecture == nil && whole.graphProblem != nil)
            let part = try #require(whole.textPart)
            #expect(try logits(whole) == logits(ModelCheckpoint.open(fixture("tiny-decoders/\(name)"))))
            let model = try whole.makeModel(ComputeContext(dtype: .f32, threadCount: 1))
            let linear = Set(whole.linearModules.map(\.path))
            #expect(model.projections.allSatisfy { part.hasInLayers($0.path) && linear.contains($0.path) })
            #expect(!part.hasInLayers("vision_tower.layers.0.self_attn.q_proj"))
            #expect(linear.contains("vision_tower.layers.0.self_attn.q_proj"))
            #expect(throws: ModelError.self) { try whole.requireGraph(for: ModelCheckpoint.conversion) }
        }
    }

    @Test func whatIsWrongInsideIsSaid() throws {
        func open(_ host: String = "gemma3", _ change: (inout JSONObject) -> Void) throws -> ModelCheckpoint {
            try withTemporaryFolder { folder in
                try write("gemma3_text", in: host, prefix: "language_model.model.", to: folder, change)
                return try ModelCheckpoint.open(folder)
            }
        }
        let whole = try open { $0["use_bidirectional_attention"] = .bool(true) }
        let error = try #require(throws: ModelError.self) { try whole.configuration }
        #expect(whole.textPart == nil && error.description.contains("use_bidirectional_attention"), "\(error)")
        let fewer = try open {
            $0["num_hidden_layers"] = .integer(5)
            $0["layer_types"] = nil
        }
        let short = try #require(throws: ModelError.self) { try logits(fewer) }
        #expect(short.description.contains("language_model.model.layers.5."), "\(short)")
        // Types that are not known stay so.
        #expect(try open("gemma9") { _ in }.textPart == nil)
    }
}
