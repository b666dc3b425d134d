import Foundation
import TestSupport
import Testing

/// `tspeft inspect` as a user runs it.
@Suite struct InspectTests {
    @Test func statisticsAndChecksumsAreJSONToo() throws {
        let outcome = try Program(folder: "/").run(
            ["inspect", TinyRun.base, "--stats", "--checksum", "--tensors", "*norm.weight", "--json"])
        #expect(outcome.status == 0 && outcome.errors.isEmpty)
        let value = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
        let table = try #require(value?["tensor_table"] as? [[String: Any]])
        #expect(table.count == 13 && (value?["checksum"] as? String)?.count == 64)
        #expect(
            table.allSatisfy { $0["sha256"] is String && ($0["statistics"] as? [String: Any])?["nan"] as? Int == 0 })
    }

    @Test func comparisonEndsWell() throws {
        let gguf = fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")
        for options in [[], ["--json"], ["--tensors", "*.q_proj.weight"]] {
            let outcome = try Program(folder: "/").run(["inspect", TinyRun.base, gguf] + options)
            #expect(outcome.status == 0 && outcome.errors.isEmpty)
            #expect(outcome.output.contains("model.layers.0.self_attn.q_proj.weight"))
        }
    }

    @Test func exportedGGUFAdapterIsToldFromAModel() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let exported = try program.run(
                ["export", run.path("tuned"), "--to", "gguf-lora", "--base", TinyRun.base]
                    + ["--gates", "drop", "-o", "lora.gguf"])
            #expect(exported.status == 0)
            let outcome = try program.run(["inspect", "lora.gguf"])
            #expect(outcome.status == 0 && !outcome.output.contains("forward pass"))
            #expect(outcome.output.contains("30: 6 q_proj, 6 k_proj, 6 v_proj, 6 up_proj, 6 down_proj"))
            #expect(outcome.output.contains("rank          2"))
        }
    }

    @Test func measuringTwoPathsIsRefused() throws {
        let outcome = try Program(folder: "/").run(["inspect", TinyRun.base, TinyRun.base, "--stats"])
        #expect(outcome.status == 64 && outcome.errors.contains("for one path"))
    }
}
