import Foundation
import TestSupport
import Testing

/// The commands in their usual order, on the tiny model.
@Suite struct TourTests {
    func succeed(_ program: Program, _ arguments: String...) throws -> Program.Outcome {
        let outcome = try program.run(arguments)
        #expect(outcome.status == 0, "\(arguments.joined(separator: " ")): \(outcome.errors)")
        return outcome
    }

    @Test func sixCommandsLeadFromABaseToACheckpoint() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let base = TinyRun.base
            let data = run.path("records.json")
            let injected = try succeed(program, "inject", base, "--rank", "2", "-o", "adapter")
            #expect(injected.output.contains("ts-lora on 30 modules"))

            let trained = try program.run(
                ["train", base, "--adapter", "adapter", "--data", data, "--eval-data", data, "-o", "tuned"]
                    + TinyRun.training)
            #expect(trained.status == 0, "\(trained.errors)")
            #expect(trained.output.contains("mean sparsity"))
            #expect(!trained.output.contains("step 1/8"))
            #expect(trained.errors.contains("step 1/8"))

            let evaluated = try succeed(
                program, "eval", base, "--adapter", "tuned", "--data", data, "--limit", "4", "--threads", "1")
            #expect(evaluated.output.contains("accuracy"))
            #expect(evaluated.errors.isEmpty)

            let ranked = try succeed(program, "rank-modules", "tuned", "--keep", "50%", "-o", "half.json")
            #expect(ranked.output.contains("kept: 15 of 30 modules"))
            #expect(ranked.errors == "selection written to half.json\n")

            let pruned = try succeed(program, "prune", "tuned", "--keep", "50%", "-o", "pruned")
            #expect(pruned.output.contains("15 of 30 modules"))
            let retrained = try succeed(
                program, "inject", base, "--rank", "2", "--select", "half.json", "-o", "half")
            #expect(retrained.output.contains("ts-lora on 15 modules"))

            let merged = try succeed(program, "merge", base, "--adapter", "tuned", "-o", "merged")
            #expect(merged.output.contains(" of 30 modules merged"))
            #expect(merged.errors.hasPrefix("written to merged in "))
            let inspected = try succeed(program, "inspect", "merged")
            #expect(inspected.output.contains("tuned (ts-lora, --gates scale)"))
            let measured = try succeed(
                program, "eval", "merged", "--data", data, "--limit", "4", "--threads", "1", "--json")
            #expect(measured.output.contains("\"accuracy\""))
            #expect(
                try names(in: folder) == ["adapter", "half", "half.json", "merged", "pruned", "tuned"])
        }
    }

    @Test func severalAdaptersAreMergedWithWeights() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            _ = try succeed(program, "prune", run.path("tuned"), "--keep", "7", "-o", "seven")
            // The whole name is a path, so what follows its colon is no weight.
            _ = try succeed(program, "prune", run.path("tuned"), "--keep", "5", "-o", "five:2")
            let merged = try succeed(
                program, "merge", TinyRun.base, "--adapter", "seven:-0.5", "--adapter", "five:2", "-o", "merged",
                "--gates", "drop", "--threads", "1")
            let lines = merged.output.split(separator: "\n").map(String.init)
            #expect(lines.contains("seven (ts-lora, weight -0.5):"))
            #expect(lines.contains("five:2 (ts-lora, weight 1.0):"))
            #expect(lines.contains("all: 7 of 7 modules merged"), "\(merged.output)")
            let inspected = try succeed(program, "inspect", "merged")
            #expect(inspected.output.contains("seven (ts-lora, weight -0.5, --gates drop)"))
            #expect(inspected.output.contains("five:2 (ts-lora, --gates drop)"))
            let again = try program.run(["merge", "merged", "--adapter", "five:2", "-o", "again"])
            #expect(again.status == 65 && again.errors.contains("has this adapter in it already"))
            let json = try succeed(
                program, "merge", TinyRun.base, "--adapter", "seven:2", "--adapter", run.path("tuned"), "-o", "both",
                "--json", "--threads", "1")
            let value = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any]
            let parts = try #require(value?["adapters"] as? [[String: Any]])
            #expect(parts.map { $0["weight"] as? Double } == [2, 1])
            #expect(value?["total"] as? Int == 30)
        }
    }

    @Test func selectionAndShareGiveTheSamePrunedAdapter() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            _ = try succeed(program, "rank-modules", run.path("tuned"), "--keep", "7", "-o", "seven.json")
            _ = try succeed(program, "prune", run.path("tuned"), "--keep", "7", "-o", "a")
            _ = try succeed(program, "prune", run.path("tuned"), "--select", "seven.json", "-o", "b")
            let file = "/adapter_model.safetensors"
            #expect(try readFile(folder + "/a" + file) == readFile(folder + "/b" + file))
        }
    }

    @Test func generatedTextGoesToStdoutAndItsSpeedToStderr() throws {
        let run = try TinyRun.shared.get()
        let program = Program(folder: run.folder)
        let arguments = [
            "generate", TinyRun.base, "--adapter", "tuned", "-p", "Review: a good film", "-n", "4", "--threads", "1",
        ]
        let outcome = try program.run(arguments)
        #expect(outcome.status == 0)
        #expect(outcome.output.hasPrefix("Review: a good film"))
        #expect(outcome.errorLines.count == 1)
        #expect(outcome.errors.contains("generated tokens/s"))
        #expect(try program.run(arguments + ["--no-echo"]).output.hasPrefix("Review") == false)
    }

    @Test func jsonResultsAreJSON() throws {
        let run = try TinyRun.shared.get()
        let program = Program(folder: run.folder)
        for arguments in [
            ["rank-modules", "tuned", "--keep", "50%", "--json"], ["inspect", "tuned", "--json"],
            ["inspect", TinyRun.base, "--json", "--tensors", "*"],
            ["eval", TinyRun.base, "--data", "records.json", "--limit", "1", "--threads", "1", "--json"],
        ] {
            let outcome = try program.run(arguments)
            let value = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8))
            #expect(value is [String: Any], "\(arguments)")
            #expect(outcome.errors.isEmpty)
        }
    }

    @Test func inspectTellsCheckpointsAdaptersAndTheirTensors() throws {
        let run = try TinyRun.shared.get()
        let program = Program(folder: run.folder)
        let base = try succeed(program, "inspect", TinyRun.base).output
        #expect(base.contains("llama") && base.contains("2,755,008") && base.contains("BF16"))
        let gguf = try succeed(program, "inspect", fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")).output
        #expect(gguf.contains("GGUF") && gguf.contains("Q8_0") && gguf.contains("2,755,008"))
        let tuned = try succeed(program, "inspect", "tuned").output
        #expect(tuned.contains("ts-lora") && tuned.contains("over 4 records of records.json"))
        let checkpoint = try succeed(program, "inspect", "tuned/checkpoint-000008").output
        #expect(checkpoint.contains("after step 8"))
        let taus = try succeed(program, "inspect", "tuned", "--tensors", "*.tau").output
        #expect(taus.split(separator: "\n").count { $0.contains("  4 B  ") } == 30)
        let one = try succeed(program, "inspect", TinyRun.base, "--tensors", "model.norm.weight").output
        #expect(one.contains("model.norm.weight  BF16  [192]  384 B"))
    }

    @Test func inspectNamesAnUnknownArchitectureWithoutFailing() throws {
        try withTemporaryFolder { folder in
            try makeForeignModel(at: folder + "/gpt")
            let outcome = try Program(folder: folder).run(["inspect", "gpt"])
            #expect(outcome.status == 0)
            #expect(outcome.output.contains("the architecture 'gpt2' is not known"))
        }
    }
}

/// The tiny model's files under the name of an architecture that is not built.
func makeForeignModel(at path: String) throws {
    try FileManager.default.copyItem(atPath: TinyRun.base, toPath: path)
    let configuration = String(decoding: try readFile(path + "/config.json"), as: UTF8.self)
    try writeFile(
        path + "/config.json",
        configuration.replacingOccurrences(of: "LlamaForCausalLM", with: "GPT2LMHeadModel")
            .replacingOccurrences(of: "\"llama\"", with: "\"gpt2\""))
}
