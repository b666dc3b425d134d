import TestSupport
import Testing

/// The commands on a model that is split over three GGUF files.
@Test func splitModelGoesThroughAllCommands() throws {
    try withTemporaryFolder { folder in
        let program = Program(folder: folder)
        func succeed(_ arguments: String...) throws -> String {
            let outcome = try program.run(arguments)
            #expect(outcome.status == 0, "\(arguments.joined(separator: " ")): \(outcome.errors)")
            return outcome.output
        }
        let (split, whole) = (fixture("gguf/split-00002-of-00003.gguf"), fixture("gguf/whole.gguf"))
        #expect(try succeed("inspect", split, "--tensors", "output*").contains("split-00003-of-00003.gguf"))
        #expect(try succeed("inspect", fixture("gguf/v2.gguf")).contains("GGUF"))
        let words = ["--max-tokens", "6", "--threads", "1"]
        let said = try program.run(["generate", split, "--prompt", "abc"] + words)
        #expect(said.status == 0, "\(said.errors)")
        #expect(try program.run(["generate", whole, "--prompt", "abc"] + words).output == said.output)
        try writeFile(folder + "/data.json", #"[{"prompt": "abc", "completion": "def"}]"#)
        _ = try succeed("inject", split, "--rank", "2", "-o", "adapter")
        _ = try succeed(
            "train", split, "--adapter", "adapter", "--data", "data.json", "-o", "tuned", "--epochs", "3",
            "--batch-size", "1", "--threads", "1")
        // The parts are the same model as the whole file.
        for (index, base) in [split, whole].enumerated() {
            #expect(
                try succeed("merge", base, "--adapter", "tuned", "-o", "merged\(index)", "--threads", "1")
                    .contains(" modules merged"))
        }
        #expect(
            try readFile(folder + "/merged0/model.safetensors") == readFile(folder + "/merged1/model.safetensors"))
    }
}
