import CheckpointIO
import Compute
import TensorCore
import TestSupport
import Testing

@testable import Models

/// A graph must read all that its layers have: what it passed over would make it another model's in silence.
@Suite struct UnreadTensorsTests {
    /// The error that makes `model` unfit to compute; nil where it computes. Opening it (to merge or inspect) must work.
    private func refusal(of model: SmallModel, gguf: Bool = false) throws -> ModelError? {
        try withTemporaryFolder { folder in
            let path = gguf ? folder + "/m.gguf" : folder
            if gguf { try model.writeGGUF(to: path) } else { try model.write(to: path) }
            let checkpoint = try ModelCheckpoint.open(path)
            do {
                try checkpoint.checkRuns()
                _ = try checkpoint.makeModel(ComputeContext(dtype: .f32))
                return nil
            } catch let error as ModelError {
                #expect(throws: error) { try checkpoint.makeModel(ComputeContext(dtype: .f32)) }
                return error
            }
        }
    }

    @Test func otherFamilysNormsAreRefusedByNameAndNumber() throws {
        var model = SmallModel()
        for layer in 0..<2 {
            model.add("model.layers.\(layer).self_attn.q_norm.weight", [4])
            model.add("model.layers.\(layer).self_attn.k_norm.weight", [4])
        }
        let error = try #require(try refusal(of: model))
        guard
            case .unreadTensors(
                _, "model.layers.0.self_attn.q_norm.weight", 4, .otherArchitecture("llama", let owners)) = error
        else { throw error }
        #expect(owners.contains("qwen3") && owners.contains("olmo2") && !owners.contains("qwen2"))
        #expect(error.exitStatus == .unsupported && error.description.contains("qwen3, "), "\(error)")
        #expect(error.description.contains("and 3 more") && error.description.contains("no 'llama'"), "\(error)")
    }

    @Test func qwen3ThatCallsItselfLlamaDoesNotCompute() throws {
        try withTemporaryFolder { folder in
            try writeFile(folder + "/model.safetensors", readFile(fixture("tiny-qwen3/model.safetensors")))
            let text = String(decoding: try readFile(fixture("tiny-qwen3/config.json")), as: UTF8.self)
                .replacing("\"qwen3\"", with: "\"llama\"").replacing("Qwen3For", with: "LlamaFor")
            try writeFile(folder + "/config.json", text)
            let checkpoint = try ModelCheckpoint.open(folder)
            let error = try #require(throws: ModelError.self) {
                try checkpoint.makeModel(ComputeContext(dtype: .f32))
            }
            #expect(error.exitStatus == .unsupported && error.description.contains("qwen3, olmo2"), "\(error)")
        }
    }

    @Test(arguments: [false, true]) func layersBeyondTheirNumberAreRefused(gguf: Bool) throws {
        var model = SmallModel()
        model.add("model.layers.2.mlp.up_proj.weight", [12, 8])
        let error = try #require(try refusal(of: model, gguf: gguf))
        let key = gguf ? "llama.block_count" : "num_hidden_layers"
        guard case .unreadTensors(_, _, 1, .beyondLayers(key: key, layers: 2)) = error else { throw error }
        #expect(error.exitStatus == .badData)
        #expect(error.description.contains("lies in a layer") && error.description.contains("'\(key)' says 2"))
    }

    @Test(arguments: ["model.layers.1.mlp.experts.0.up_proj.weight", "model.layers.0.self_attn.k_proj.weight_scale"])
    func partsThatNoArchitectureHasAreRefused(name: String) throws {
        var model = SmallModel()
        model.add(name, [2])
        let error = try #require(try refusal(of: model))
        guard case .unreadTensors(_, name, 1, .unknownPart(declared: "llama")) = error else { throw error }
        #expect(error.exitStatus == .badData)
    }

    /// What transformers passes over, and what lies outside the layers.
    @Test func buffersAndTrainingHeadsArePassedOver() throws {
        var model = SmallModel()
        for name in [
            "model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.attn.bias",
            "model.layers.1.attn.masked_bias",
            "mtp.layers.0.self_attn.q_proj.weight", "model.rotary_emb.inv_freq", "score.weight",
        ] { model.add(name, [2]) }
        #expect(try refusal(of: model) == nil)
    }

    @Test func deniedBiasesAreNamedWithTheirNumberAndALikelyCause() throws {
        var model = SmallModel()
        for layer in 0..<2 { model.add("model.layers.\(layer).self_attn.q_proj.bias", [16]) }
        let error = try #require(try refusal(of: model))
        #expect(error.exitStatus == .badData)
        #expect(
            error.description.contains("layers.0.self_attn.q_proj.bias") && error.description.contains("nor 1 more"))
        #expect(error.description.contains("no 'llama'"), "\(error)")
    }

    @Test(arguments: ["I8", "I32"]) func wholeNumbersAreNoWeights(type: String) throws {
        try withTemporaryFolder { folder in
            try SmallModel().write(to: folder)
            // The header is all that is looked at: 12 x 8 numbers of the last layer's up projection.
            let name = "model.layers.1.mlp.up_proj.weight"
            let path = folder + "/model.safetensors"
            let tensors = SmallModel().tensors
            var header: [String] = []
            var (end, size) = (0, 0)
            for tensor in tensors {
                let own = tensor.name == name && type == "I8" ? 1 : 4
                size = tensor.values.count * own
                header.append(
                    #""\#(tensor.name)":{"dtype":"\#(tensor.name == name ? type : "F32")","shape":\#(tensor.shape),"#
                        + #""data_offsets":[\#(end),\#(end + size)]}"#)
                end += size
            }
            let text = Array("{\(header.joined(separator: ","))}".utf8)
            let length = (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) }
            try writeFile(path, length + text + [UInt8](repeating: 0, count: end))
            let checkpoint = try ModelCheckpoint.open(folder)
            let error = try #require(throws: ModelError.self) { try checkpoint.checkGraphReadsAll() }
            #expect(error == .weightsOfNoNumbers(file: path, tensor: name, encoding: type))
            #expect(error.exitStatus == .unsupported && error.description.contains(type))
        }
    }

    @Test(arguments: [JSONValue.integer(10), .array([.integer(2), .integer(1 << 30)])])
    func endsBeyondTheVocabularyAreRefused(ends: JSONValue) throws {
        var model = SmallModel()
        model.configuration["eos_token_id"] = ends
        let error = try #require(try refusal(of: model))
        #expect(error.exitStatus == .badData && error.description.contains("'eos_token_id' is 1"), "\(error)")
    }
}
