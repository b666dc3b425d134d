import Foundation
import TestSupport
import Testing

/// The commands in their usual order, on a small model of each decoder.
@Suite struct DecoderTourTests {
    private static let names = [
        "llama-yarn", "llama-dynamic", "llama-linear", "mistral", "ministral3", "smollm3", "granite", "olmo2", "olmo3",
        "phi3", "phi3-partial", "phi3-longrope", "glm4", "gemma2", "gemma3_text", "mixtral", "qwen3_moe",
        "gpt_oss", "qwen3_5_text",
    ]
    /// Models that a GGUF file cannot tell, and what the message says of them.
    private static let withoutGGUF = [
        "llama-dynamic": "'dynamic' rotary scaling", "mixtral": "experts", "qwen3_moe": "experts",
        "gpt_oss": "experts",
    ]

    /// A directory with the fixture's model and the tokenizer that its prompts were made with.
    private func makeBase(_ name: String, in folder: String) throws {
        try FileManager.default.copyItem(atPath: fixture("tiny-decoders/\(name)"), toPath: folder + "/base")
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            try FileManager.default.copyItem(
                atPath: fixture("tiny-qwen3/\(file)"), toPath: folder + "/base/\(file)")
        }
    }

    @Test(arguments: names) func commandsLeadFromABaseToATextOfTheMergedModel(name: String) throws {
        let data = try TinyRun.shared.get().path("records.json")
        try withTemporaryFolder { folder in
            try makeBase(name, in: folder)
            let program = Program(folder: folder)
            func succeed(_ line: String, _ more: [String] = []) throws -> Program.Outcome {
                let outcome = try program.run(line.split(separator: " ").map(String.init) + more)
                #expect(outcome.status == 0, "\(line): \(outcome.errors)")
                return outcome
            }
            _ = try succeed("inject base --rank 2 --targets all-linear -o adapter")
            let trained = try succeed(
                "train base --adapter adapter --data \(data) --eval-data \(data) -o tuned", TinyRun.training)
            #expect(trained.output.contains("mean sparsity"))
            let evaluated = try succeed("eval base --adapter tuned --data \(data) --limit 4 --threads 1")
            #expect(evaluated.output.contains("accuracy"))
            _ = try succeed("merge base --adapter tuned -o whole --dtype f32")
            _ = try succeed("rank-modules tuned --keep 50% -o half.json")
            _ = try succeed("prune tuned --keep 50% -o pruned")
            let merged = try succeed("merge base --adapter pruned -o merged --dtype f32")
            #expect(merged.output.contains(" modules merged"))

            let words = ["--prompt", "The river runs past", "-n", "12", "--dtype", "f32", "--threads", "1"]
            let text = try succeed("generate merged", words).output
            if let reason = Self.withoutGGUF[name] {
                let refused = try program.run(["convert", "merged", "-o", "merged.gguf"])
                #expect(refused.status == 69 && refused.errors.contains(reason), "\(refused.errors)")
                #expect(!pathExists(folder + "/merged.gguf"))
                return
            }
            _ = try succeed("convert merged -o merged.gguf")
            #expect(try succeed("generate merged.gguf", words).output == text)
            _ = try succeed("convert merged.gguf -o back")
            #expect(try succeed("generate back", words).output == text)
            let compared = try succeed("inspect merged back")
            // Decays, which GGUF files have as -exp(w), come back as near as F32 lets them.
            let isSame = compared.output.contains("identical") || compared.output.contains("0 changed")
            #expect(isSame || name == "qwen3_5_text", "\(compared.output)")
        }
    }

    /// The text that transformers continues each prompt with.
    @Test(arguments: names) func greedyTextIsTransformers(name: String) throws {
        try withTemporaryFolder { folder in
            try makeBase(name, in: folder)
            let json = try JSONSerialization.jsonObject(
                with: Data(readFile(fixture("tiny-decoders/\(name)/reference.json"))))
            let prompts = try #require((json as? [String: Any])?["prompts"] as? [[String: Any]])
            let prompt = try #require(prompts.first)
            let outcome = try Program(folder: folder).run([
                "generate", "base", "--prompt", try #require(prompt["text"] as? String), "-n", "20", "--no-echo",
                "--temperature", "0", "--dtype", "f32", "--threads", "1",
            ])
            #expect(outcome.status == 0, "\(outcome.errors)")
            #expect(outcome.output == (prompt["greedyText"] as? String).map { $0 + "\n" })
        }
    }
}
