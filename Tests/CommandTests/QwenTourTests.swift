import Foundation
import TestSupport
import Testing

/// The commands in their usual order, on models of other architectures than Llama's.
@Suite struct QwenTourTests {
    @Test(arguments: [("tiny-qwen2", 14), ("tiny-qwen3", 14)])
    func commandsLeadFromABaseToATextOfTheMergedModel(name: String, moduleCount: Int) throws {
        let data = try TinyRun.shared.get().path("records.json")
        let base = fixture(name)
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            func succeed(_ line: String, _ more: [String] = []) throws -> Program.Outcome {
                let outcome = try program.run(line.split(separator: " ").map(String.init) + more)
                #expect(outcome.status == 0, "\(line): \(outcome.errors)")
                return outcome
            }
            let targets = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"
            let injected = try succeed("inject \(base) --rank 2 --targets \(targets) -o adapter")
            #expect(injected.output.contains("ts-lora on \(moduleCount) modules"))
            let trained = try succeed(
                "train \(base) --adapter adapter --data \(data) --eval-data \(data) -o tuned", TinyRun.training)
            #expect(trained.output.contains("mean sparsity"))
            let evaluated = try succeed("eval \(base) --adapter tuned --data \(data) --limit 4 --threads 1")
            #expect(evaluated.output.contains("accuracy"))
            let ranked = try succeed("rank-modules tuned --keep 50% -o half.json")
            #expect(ranked.output.contains("kept: 7 of 14 modules"))
            _ = try succeed("prune tuned --keep 50% -o pruned")
            let merged = try succeed("merge \(base) --adapter pruned -o merged --dtype f32")
            #expect(merged.output.contains(" of 7 modules merged"))

            let words = ["--prompt", "The river runs past", "-n", "8", "--dtype", "f32", "--threads", "1"]
            let text = try succeed("generate merged", words).output
            _ = try succeed("convert merged -o merged.gguf")
            #expect(try succeed("generate merged.gguf", words).output == text)
            _ = try succeed("convert merged.gguf -o back")
            #expect(try succeed("generate back", words).output == text)
            _ = try succeed("convert merged.gguf -o small.gguf --type q4_k_m")
            let inspected = try succeed("inspect small.gguf")
            #expect(inspected.output.contains(String(name.dropFirst(5))) && inspected.output.contains("Q4_K"))
            let compared = try succeed("inspect merged merged.gguf")
            #expect(compared.output.contains("identical") || compared.output.contains("0 changed"))
        }
    }

    /// The text of `reference.json` from either spelling of `config.json`.
    @Test(arguments: ["tiny-qwen2", "tiny-qwen3"], ["config.json", "config-old.json"])
    func greedyTextIsTransformers(name: String, configuration: String) throws {
        try withTemporaryFolder { folder in
            let base = folder + "/base"
            try FileManager.default.copyItem(atPath: fixture(name), toPath: base)
            try writeFile(base + "/config.json", readFile(fixture(name + "/" + configuration)))
            let json = try JSONSerialization.jsonObject(with: Data(readFile(fixture(name + "/reference.json"))))
            let prompts = try #require((json as? [String: Any])?["prompts"] as? [[String: Any]])
            let prompt = try #require(prompts.first)
            let outcome = try Program(folder: folder).run([
                "generate", "base", "--prompt", try #require(prompt["text"] as? String), "-n", "24", "--no-echo",
                "--temperature", "0", "--dtype", "f32", "--threads", "1",
            ])
            #expect(outcome.status == 0, "\(outcome.errors)")
            #expect(outcome.output == (prompt["greedyText"] as? String).map { $0 + "\n" })
        }
    }
}
