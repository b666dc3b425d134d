import CheckpointIO
import TensorCore
import TestSupport
import Testing

/// Writes safetensors files into a folder, each with tensors of one number, and opens it.
private func open(
    _ files: [(name: String, tensors: [String])], index: (name: String, text: String)? = nil, path: String = "",
    _ body: (Checkpoint, String) throws -> Void = { _, _ in }
) throws {
    try withTemporaryFolder { folder in
        for (number, file) in files.enumerated() {
            try SafetensorsWriter.write(
                file.tensors.map { ($0, [1], [Float(number)]) }, to: folder + "/" + file.name)
        }
        if let index { try writeFile(folder + "/" + index.name, index.text) }
        try body(Checkpoint.open(path.isEmpty ? folder : folder + "/" + path), folder)
    }
}

private func names(_ checkpoint: Checkpoint) -> [String] { checkpoint.files.map(lastPathComponent) }

private func mapping(_ pairs: [(String, String)]) -> String {
    #"{"weight_map": {"# + pairs.map { "\"\($0)\": \"\($1)\"" }.joined(separator: ", ") + "}}"
}

struct ModelFilesTests {
    @Test(arguments: [
        "weights.safetensors", "pytorch_model.safetensors", "consolidated.safetensors", "a.b.safetensors",
    ])
    func oneFileMayHaveAnyName(_ name: String) throws {
        try open([(name, ["a"])]) { checkpoint, folder in
            #expect(names(checkpoint) == [name] && checkpoint.layout == .huggingFace(directory: folder))
            #expect(checkpoint.copiedFileNames == [name])
        }
    }

    @Test func severalFilesWithoutAnIndexAreOneModel() throws {
        try open([("model-00002-of-00002.safetensors", ["b"]), ("model-00001-of-00002.safetensors", ["a"])]) {
            checkpoint, _ in
            #expect(checkpoint.tensors.map(\.name) == ["a", "b"] && checkpoint.indexPath == nil)
            #expect(checkpoint.copiedFileNames == names(checkpoint) && checkpoint.fileStem == "model")
        }
        try open([("vision.safetensors", ["v"]), ("language.safetensors", ["l"]), ("head.safetensors", ["h"])]) {
            checkpoint, _ in
            #expect(names(checkpoint) == ["head.safetensors", "language.safetensors", "vision.safetensors"])
            #expect(checkpoint.fileStem == "model" && checkpoint.copiedIndexName == "model.safetensors.index.json")
        }
    }

    @Test func tensorInTwoFilesIsRefusedWithBoth() throws {
        let error = try #require(throws: CheckpointError.self) {
            try open([("one.safetensors", ["a", "b"]), ("two.safetensors", ["b"])])
        }
        #expect(error.exitStatus == .badData)
        #expect(error.description.contains("tensor 'b' is in two files, 'one.safetensors' and 'two.safetensors'"))
    }

    @Test func missingFileOfANumberedSetIsNamed() throws {
        for (present, missing) in [([1], 2), ([1, 3], 2), ([2, 3], 1), ([1, 2], 3)] {
            let error = try #require(throws: CheckpointError.self) {
                try open(present.map { ("model-0000\($0)-of-00003.safetensors", ["t\($0)"]) })
            }
            #expect(error.exitStatus == .badData)
            #expect(error.description.contains("one of 3 files of a model, and number \(missing) is not there"))
        }
        // Counted from 0.
        try open([("w-0-of-2.safetensors", ["a"]), ("w-1-of-2.safetensors", ["b"])])
        // A file that is named itself is read by itself.
        let name = "model-00002-of-00003.safetensors"
        try open([(name, ["b"])], path: name) { checkpoint, _ in
            #expect(names(checkpoint) == [name] && checkpoint.copiedFileNames == ["model.safetensors"])
        }
    }

    @Test func filesOfNoModelAreLeftOut() throws {
        let others = [
            "adapter_model.safetensors", "adapters.safetensors", "optimizer.safetensors",
            "training_state.safetensors", "scheduler.safetensors", "random_states_0.safetensors",
            "pytorch_lora_weights.safetensors",
        ]
        try open([("weights.safetensors", ["a"])] + others.map { ($0, ["a"]) }) { checkpoint, _ in
            #expect(names(checkpoint) == ["weights.safetensors"])
        }
        let error = try #require(throws: CheckpointError.self) { try open(others.map { ($0, ["a"]) }) }
        #expect(error.exitStatus == .badData && error.description.contains("holds no model"))
    }

    @Test func sameWeightsUnderOtherNamesAreReadOnce() throws {
        // Mistral's repositories hold both.
        try open([
            ("consolidated.safetensors", ["tok_embeddings.weight"]),
            ("model-00001-of-00001.safetensors", ["model.embed_tokens.weight"]),
        ]) { checkpoint, _ in #expect(checkpoint.tensors.map(\.name) == ["model.embed_tokens.weight"]) }
        // As diffusers' do.
        try open([("unet.fp16.safetensors", ["a"]), ("unet.safetensors", ["a"])]) { checkpoint, _ in
            #expect(names(checkpoint) == ["unet.safetensors"])
        }
        try open([("unet.safetensors", ["a"])]) { checkpoint, folder in
            try writeFile(folder + "/unet.safetensors.zst", try readFile(folder + "/unet.safetensors"))
            #expect(names(try Checkpoint.open(folder)) == ["unet.safetensors"])
        }
    }

    @Test func standardNamesGoBeforeOthers() throws {
        try open([("model.safetensors", ["a"]), ("other.safetensors", ["a", "b"])]) { checkpoint, _ in
            #expect(names(checkpoint) == ["model.safetensors"])
        }
        let index = ("model.safetensors.index.json", mapping([("a", "other.safetensors")]))
        try open([("other.safetensors", ["a"]), ("stray.safetensors", ["a"])], index: index) { checkpoint, folder in
            #expect(names(checkpoint) == ["other.safetensors"])
            #expect(checkpoint.indexPath == folder + "/model.safetensors.index.json")
        }
    }

    @Test func indexMayHaveAnotherName() throws {
        let name = "diffusion_pytorch_model.safetensors.index.json"
        let files = [("x-1.safetensors", ["a"]), ("x-2.safetensors", ["b"]), ("stray.safetensors", ["c"])]
        let index = (name, mapping([("a", "x-1.safetensors"), ("b", "x-2.safetensors")]))
        for path in ["", name] {
            try open(files, index: index, path: path) { checkpoint, folder in
                #expect(names(checkpoint) == ["x-1.safetensors", "x-2.safetensors"])
                #expect(checkpoint.copiedIndexName == name && checkpoint.fileStem == "diffusion_pytorch_model")
                #expect(checkpoint.layout == .huggingFace(directory: folder))
                try writeFile(folder + "/other.safetensors.index.json", index.1)
                let error = try #require(throws: CheckpointError.self) { try Checkpoint.open(folder) }
                #expect(error.exitStatus == .badData && error.description.contains("are two models"))
            }
        }
        let missing = try #require(throws: CheckpointError.self) {
            try open([files[0]], index: (name, mapping([("a", "x-1.safetensors"), ("b", "x-2.safetensors")])))
        }
        #expect(missing.description.contains("the shard 'x-2.safetensors' (with tensor 'b') is not there"))
    }

    @Test func halfWrittenFileIsNamed() throws {
        try open([("one.safetensors", ["a"]), ("two.safetensors", ["b"])]) { _, folder in
            let whole = try readSmallFile(folder + "/two.safetensors", limit: 1 << 16)
            try writeFile(folder + "/two.safetensors", Array(whole.dropLast(2)))
            let error = try #require(throws: CheckpointError.self) { try Checkpoint.open(folder) }
            #expect(error.exitStatus == .badData && error.description.contains("two.safetensors"))
        }
    }
}
