import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

private func open(_ model: SmallModel) throws -> ModelCheckpoint {
    try withTemporaryFolder { folder in
        try model.write(to: folder)
        return try ModelCheckpoint.open(folder)
    }
}

@Test func sameModelReadsTheSameThroughBothLayouts() throws {
    let directory = try ModelCheckpoint.open(fixture("tiny-llama"))
    let gguf = try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"))
    #expect(Set(directory.tensorNames) == Set(gguf.tensorNames) && directory.tensorNames.count == 56)
    #expect(directory.linearModules == gguf.linearModules && directory.linearModules.count == 42)
    for name in directory.tensorNames {
        #expect(directory.shape(of: name) == gguf.shape(of: name))
        let (left, right) = (try directory.floats(name), try gguf.floats(name))
        #expect(left.map(\.bitPattern) == right.map(\.bitPattern), "\(name)")
    }
}

@Test func quantizedModelIsNearTheOriginal() throws {
    let directory = try ModelCheckpoint.open(fixture("tiny-llama"))
    let gguf = try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf"))
    for name in directory.tensorNames {
        let (left, right) = (try directory.floats(name), try gguf.floats(name))
        var (errors, squares) = (0.0, 0.0)
        for (a, b) in zip(left, right) {
            errors += Double((a - b) * (a - b))
            squares += Double(a * a)
        }
        // Steps of 1/127 and 1/15 of a block's range leave about 0.6 % and 9 % of the root mean square.
        let bound = gguf.record(of: name)?.encoding.description == "Q4_1" ? 0.12 : 0.01
        #expect((errors / squares).squareRoot() < bound, "\(name)")
    }
}

@Test func permutedRowsAndBiasesAreReadInHuggingFaceOrder() throws {
    var model = SmallModel()
    for layer in 0..<2 {
        for (part, size) in [("q_proj", 16), ("k_proj", 8), ("v_proj", 8), ("o_proj", 8)] {
            model.add("model.layers.\(layer).self_attn.\(part).bias", [size])
        }
    }
    try withTemporaryFolder { folder in
        try model.writeGGUF(to: folder + "/m.gguf")
        let gguf = try ModelCheckpoint.open(folder + "/m.gguf")
        #expect(try gguf.configuration.hasAttentionBias && !gguf.configuration.hasMLPBias)
        for tensor in model.tensors { #expect(try gguf.floats(tensor.name) == tensor.values, "\(tensor.name)") }
        let name = "model.layers.1.self_attn.q_proj"
        var rows = [Float](repeating: 0, count: 3 * 8)
        try rows.withUnsafeMutableBufferPointer { try gguf.readFloats(name + ".weight", rows: 5..<8, into: $0) }
        #expect(rows == Array(model.values(name + ".weight")[40..<64]))
        var biases = [Float](repeating: 0, count: 3)
        try biases.withUnsafeMutableBufferPointer { try gguf.readFloats(name + ".bias", rows: 5..<8, into: $0) }
        #expect(biases == Array(model.values(name + ".bias")[5..<8]))
    }
}

@Test func linearModulesComeInLayerOrderWithTheirSizes() throws {
    let modules = try open(SmallModel()).linearModules
    #expect(modules.count == 15)
    #expect(modules[0] == LinearModule(path: "model.layers.0.self_attn.q_proj", outputSize: 16, inputSize: 8))
    #expect(modules[3] == LinearModule(path: "model.layers.0.self_attn.o_proj", outputSize: 8, inputSize: 16))
    #expect(modules[13] == LinearModule(path: "model.layers.1.mlp.down_proj", outputSize: 8, inputSize: 12))
    #expect(modules[14] == LinearModule(path: "lm_head", outputSize: 10, inputSize: 8))
}

@Test func everyMissingTensorIsNamedWithItsShape() throws {
    for tensor in SmallModel().tensors {
        var model = SmallModel()
        model.remove(tensor.name)
        let error = try #require(throws: ModelError.self) { try open(model).configuration }
        guard case .missingTensor(_, tensor.name, tensor.shape) = error else {
            Issue.record("\(error)")
            continue
        }
    }
}

@Test func missingTensorOfAGGUFHasItsNameThere() throws {
    var model = SmallModel()
    model.remove("model.layers.1.mlp.up_proj.weight")
    try withTemporaryFolder { folder in
        try model.writeGGUF(to: folder + "/m.gguf")
        let error = try #require(throws: ModelError.self) { try ModelCheckpoint.open(folder + "/m.gguf") }
        #expect(error.description.contains("'blk.1.ffn_up.weight' of shape [12, 8] is missing"), "\(error)")
    }
}

@Test func wrongShapeIsNamedWithBoth() throws {
    for (name, expected, found) in [
        ("model.layers.1.self_attn.k_proj.weight", [8, 8], [16, 8]), ("model.norm.weight", [8], [8, 1]),
        ("model.embed_tokens.weight", [10, 8], [11, 8]),
    ] {
        var model = SmallModel()
        model.remove(name)
        model.add(name, found)
        let error = try #require(throws: ModelError.self) { try open(model).configuration }
        guard case .wrongShape(_, name, expected, found) = error else {
            Issue.record("\(error)")
            continue
        }
        #expect(error.exitStatus == .badData)
    }
}

@Test func biasesMustAgreeWithTheConfiguration() throws {
    var model = SmallModel()
    model.configuration["mlp_bias"] = .bool(true)
    let missing = try #require(throws: ModelError.self) { try open(model).configuration }
    guard case .missingTensor(_, "model.layers.0.mlp.gate_proj.bias", [12]) = missing else { throw missing }
    model = SmallModel()
    model.add("model.layers.0.mlp.gate_proj.bias", [12])
    let extra = try #require(throws: ModelError.self) { try open(model).configuration }
    guard case .unexpectedTensor(_, "model.layers.0.mlp.gate_proj.bias", _) = extra else { throw extra }
    model = SmallModel()
    model.configuration["attention_bias"] = .bool(true)
    for layer in 0..<2 {
        for (part, size) in [("q_proj", 16), ("k_proj", 8), ("v_proj", 8), ("o_proj", 8)] {
            model.add("model.layers.\(layer).self_attn.\(part).bias", [size])
        }
    }
    #expect(try open(model).configuration.hasAttentionBias)
}

@Test func tyingFollowsTheTensorsWhereBothAreThere() throws {
    var model = SmallModel()
    model.configuration["tie_word_embeddings"] = .bool(true)
    // A head of its own values is used, as transformers does.
    #expect(try !open(model).configuration.tiedEmbeddings)
    model.remove("lm_head.weight")
    let tied = try open(model)
    #expect(try tied.configuration.tiedEmbeddings && !tied.contains("lm_head.weight"))
    #expect(tied.linearModules.last?.path == "model.layers.1.mlp.down_proj")
    model.tensors.append(("lm_head.weight", [10, 8], model.values("model.embed_tokens.weight")))
    let same = try open(model)
    #expect(try same.configuration.tiedEmbeddings && !same.contains("lm_head.weight"))
    #expect(!same.tensorNames.contains("lm_head.weight"))
    #expect(try same.fingerprint() == tied.fingerprint())
}

@Test func tensorsOfNoUseAreReported() throws {
    var model = SmallModel()
    model.add("model.layers.0.self_attn.rotary_emb.inv_freq", [2])
    model.add("model.layers.7.mlp.up_proj.weight", [12, 8])
    model.add("vision.weight", [3])
    let checkpoint = try open(model)
    #expect(checkpoint.unknownTensors == ["model.layers.7.mlp.up_proj.weight", "vision.weight"])
    #expect(checkpoint.tensorNames.count == SmallModel().tensors.count)
    #expect(!checkpoint.contains("vision.weight"))
    // They can be read all the same, by their own names.
    #expect(try checkpoint.floats("vision.weight") == model.values("vision.weight"))
    #expect(checkpoint.shape(of: "model.layers.7.mlp.up_proj.weight") == [12, 8])
    #expect(throws: ModelError.self) { try checkpoint.floats("vision.bias") }
}

@Test func directoryWithoutConfigurationSaysSo() throws {
    try withTemporaryFolder { folder in
        try SafetensorsWriter.write(SmallModel().tensors, to: folder + "/model.safetensors")
        let error = try #require(throws: ModelError.self) { try ModelCheckpoint.open(folder).configuration }
        #expect(error == .missingConfiguration(file: folder + "/config.json"))
        #expect(error.exitStatus == .missingInput)
    }
}

@Test func namesOfBothLayoutsTranslateBothWays() throws {
    let tensors = try open(SmallModel()).specifications
    for tensor in SmallModel().tensors {
        let gguf = try #require(tensors[tensor.name]?.ggufName)
        #expect(gguf == LlamaNames.gguf(of: tensor.name))
        #expect(tensors[gguf: gguf]?.name == tensor.name)
    }
    for name in [
        "model.layers.01.mlp.up_proj.weight", "model.layers.+1.mlp.up_proj.weight", "model.layers.x.mlp.up_proj.weight",
        "model.layers.-1.mlp.up_proj.weight", "layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj",
        "model.layers.0.mlp.other.weight", "model.layers.0", "", "model.norm.scale",
    ] {
        #expect(tensors[name] == nil, "\(name)")
    }
    #expect(tensors[gguf: "rope_freqs.weight"] == nil)
}

@Test func pathOfAModuleIsFoundWithoutSizes() {
    #expect(Llama.modulePath(ofGGUFWeight: "blk.12.attn_output.weight") == "model.layers.12.self_attn.o_proj")
    #expect(Llama.modulePath(ofGGUFWeight: "output.weight") == "lm_head")
    for name in [
        "blk.03.attn_q.weight", "blk..attn_q.weight", "blk.attn_q.weight", "blk.-1.attn_q.weight", "blk.1.attn_q.bias",
        "blk.1.attn_other.weight", "attn_q.weight", "rope_freqs.weight", "",
    ] {
        #expect(Llama.modulePath(ofGGUFWeight: name) == nil, "\(name)")
    }
}
