import Foundation
import TensorCore
import TestSupport
import Testing

/// `tspeft export` as a user runs it.
@Suite struct ExportTests {
    @Test func gatedAdapterIsExportedWithWhatIsLost() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let tuned = run.path("tuned")
            for (format, output) in [("peft", "peft"), ("mlx", "mlx"), ("gguf-lora", "lora.gguf")] {
                let refused = try program.run(["export", tuned, "--to", format, "--base", TinyRun.base, "-o", output])
                #expect(refused.status == 69 && refused.errorLines.count == 1)
                #expect(refused.errors.contains("--gates scale"))
                let outcome = try program.run(
                    ["export", tuned, "--to", format, "--base", TinyRun.base, "--gates", "scale", "-o", output])
                #expect(outcome.status == 0, "\(outcome.errors)")
                #expect(outcome.output.contains(" of 30 modules of ts-lora written for"))
                #expect(outcome.output.contains("expected error relative to |W0 x|"))
                #expect(outcome.output.contains("model.layers.5.mlp.down_proj"))
                #expect(outcome.errors == "written to \(output)\n")
            }
            #expect(try names(in: folder) == ["lora.gguf", "mlx", "peft"])
            let again = try program.run(["export", tuned, "--to", "peft", "--gates", "drop", "-o", "peft"])
            #expect(again.status == 73)
            let json = try program.run(
                ["export", tuned, "--to", "peft", "--gates", "drop", "-o", "peft", "--force", "--json"])
            #expect(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) is [String: Any])
            let evaluated = try program.run([
                "eval", TinyRun.base, "--adapter", "peft", "--data", run.path("records.json"), "--limit", "1",
                "--threads",
                "1",
            ])
            #expect(evaluated.status == 0 && !evaluated.output.contains("sparsity"))
        }
    }

    @Test func exportToTorchKeepsTheGates() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let outcome = try program.run(["export", run.path("tuned"), "--to", "torch", "-o", "torch"])
            #expect(outcome.status == 0 && outcome.output == "30 of 30 modules of ts-lora written for PyTorch\n")
            #expect(try names(in: folder + "/torch").contains("tspeft_torch.py"))
            let written = String(decoding: try readFile(folder + "/torch/tspeft_torch.py"), as: UTF8.self)
            let source = packageRoot + "/Sources/Transforms/Conversion/PyTorch/tspeft_torch.py"
            let stored = String(decoding: try readFile(source), as: UTF8.self)
            #expect(written == stored.replacingOccurrences(of: "@VERSION@", with: ToolVersion.current))
            #expect(written != stored)
        }
    }

    @Test func optionsThatDoNotBelongTogetherAreRefused() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            func status(_ arguments: String...) throws -> Int32 {
                let outcome = try program.run(["export", run.path("tuned")] + arguments + ["-o", "out"])
                #expect(outcome.errorLines.count >= 1)
                return outcome.status
            }
            #expect(try status("--to", "torch", "--gates", "scale") == 64)
            #expect(try status("--to", "mlx", "--as-lora") == 64)
            #expect(try status("--to", "onnx") == 64)
            #expect(try status("--to", "mlx", "--gates", "drop", "--base", "nowhere") == 66)
            #expect(try names(in: folder).isEmpty)
            let own = try program.run(
                ["export", run.path("tuned"), "--to", "peft", "--gates", "drop", "-o", run.path("tuned"), "--force"])
            #expect(own.status == 73 && own.errors.contains("replace the input"))
        }
    }
}
