import Foundation
import TestSupport
import Testing

/// `merge` of a GGUF base into a GGUF file.
@Test func adapterIsMergedIntoAGGUFFile() throws {
    let run = try TinyRun.shared.get()
    try withTemporaryFolder { folder in
        let program = Program(folder: folder)
        let base = fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")
        // The adapter was trained on the model's Hugging Face twin, so it is made anew for this base.
        let data = run.path("records.json")
        #expect(try program.run(["inject", base, "--rank", "2", "-o", "adapter", "--method", "lora"]).status == 0)
        let trained = try program.run(
            ["train", base, "--adapter", "adapter", "--data", data, "-o", "tuned", "--steps", "1", "--batch-size", "1"]
                + ["--learning-rate", "1e-5", "--threads", "1"])
        #expect(trained.status == 0, "\(trained.errors)")
        let merge = ["merge", base, "--adapter", "tuned", "--threads", "1", "-o"]
        // One small step is less than Q4_1 and Q8_0 can tell.
        let small = try program.run(merge + ["same.gguf", "--gates", "scale"])
        #expect([0, 65].contains(small.status), "\(small.errors)")
        #expect((small.output + small.errors).contains(" would keep the"), "what rounding swallows is said either way")
        let merged = try program.run(merge + ["fine.gguf", "--dtype", "F32", "--json"])
        #expect(merged.status == 0, "\(merged.errors)")
        let json = try JSONSerialization.jsonObject(with: Data(merged.output.utf8)) as? [String: Any]
        let tensors = try #require(json?["tensors"] as? [[String: Any]])
        #expect(tensors.count == 30 && json?["files"] as? [String] == ["fine.gguf"])
        for tensor in tensors {
            #expect(tensor["type"] as? String == "F32" && tensor["swallowed"] as? Bool == false)
            #expect((tensor["arrived_share"] as? Double ?? 0) > 0.9)
        }
        let inspected = try program.run(["inspect", "fine.gguf"])
        #expect(inspected.output.contains("merged with") && inspected.output.contains("tuned (lora)"))
        let again = try program.run(["merge", "fine.gguf", "--adapter", "tuned", "-o", "again.gguf"])
        #expect(again.status == 65 && again.errors.contains("has this adapter in it already (tspeft.merges)"))
        let there = try program.run(merge + ["fine.gguf"])
        #expect(there.status == 73 && there.errors.contains("exists already"))
        let bytes = try readFile(base)
        let itself = try program.run(merge + [base, "--force"])
        #expect(itself.status == 73 && itself.errors.contains("input"), "\(itself.errors)")
        #expect(try readFile(base) == bytes)
        let unknown = try program.run(merge + ["x.gguf", "--dtype", "q9_9"])
        #expect(unknown.status == 64 && unknown.errors.contains("q8_0"))
        #expect(try names(in: folder).filter { $0 != "same.gguf" } == ["adapter", "fine.gguf", "tuned"])
    }
}
