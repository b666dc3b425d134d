import Foundation
import TestSupport
import Testing

/// `--dry-run` as a user sees it.
@Suite struct DryRunTests {
    @Test func trainingIsToldToTheByteOfItsNumbers() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let outcome = try program.run(
                ["train", TinyRun.base, "--adapter", run.path("adapter"), "--data", run.path("records.json")]
                    + ["--eval-data", run.path("records.json"), "-o", "out", "--dry-run"] + TinyRun.training)
            #expect(outcome.status == 0 && outcome.errors.isEmpty, "\(outcome.errors)")
            #expect(try names(in: folder).isEmpty)
            let checkpoint = try #require(names(in: run.path("tuned")).first { $0.hasPrefix("checkpoint-") })
            for (told, made) in [
                ("out/adapter_model.safetensors", "tuned/adapter_model.safetensors"),
                ("out/\(checkpoint)/training_state.safetensors", "tuned/\(checkpoint)/training_state.safetensors"),
            ] {
                let size = try readFile(run.path(made)).count
                let line = try #require(outcome.output.split(separator: "\n").first { $0.hasSuffix(told) })
                #expect(line.filter(\.isNumber).hasPrefix(String(size)), "\(line) but \(size)")
            }
            #expect(outcome.output.contains("activations") && outcome.output.contains("nothing was written"))
        }
    }

    /// AdaLoRA keeps sensitivities beside the moments, and once ranks were chosen which of them stay. What it trims at the
    /// end is known but for which modules keep more.
    @Test(arguments: ["adalora", "ts-adalora"]) func stateThatMovesRanksIsToldToTheByte(method: String) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let inject = ["inject", TinyRun.base, "--method", method, "--rank", "6", "--target-r", "3", "--tinit", "3"]
            #expect(try program.run(inject + ["--delta-t", "2", "-o", "adapter"]).status == 0)
            let train =
                ["train", TinyRun.base, "--adapter", "adapter", "--data", run.path("records.json"), "-o", "out"]
                + [
                    "--steps", "6", "--batch-size", "2", "--save-every", "2", "--keep-checkpoints", "9", "--threads",
                    "1",
                ]
                + (method == "adalora" ? [] : ["--s", "1e-4"])
            let told = try program.run(train + ["--dry-run"])
            let made = try program.run(train)
            #expect(told.status == 0 && made.status == 0, "\(told.errors)\(made.errors)")
            func size(_ line: Substring) -> Int? {
                Int(line.split(separator: " ").dropFirst().first?.filter { $0 != "," } ?? "")
            }
            var count = 0
            for line in told.output.split(separator: "\n")
            where line.contains("safetensors") && line.hasPrefix("writes") {
                let path = try #require(line.split(separator: " ").first { $0.contains("safetensors") })
                let found = try readFile(folder + "/" + path).count
                count += 1
                guard line.hasSuffix("(about)") else {
                    #expect(size(line) == found, "\(line) but \(found)")
                    continue
                }
                #expect(!path.contains("checkpoint"))
                let share = Double(try #require(size(line))) / Double(found)
                #expect((0.5...2).contains(share), "\(line) but \(found)")
            }
            #expect(count == 7 + (method == "adalora" ? 0 : 1))
        }
    }

    @Test func commandsWriteNothing() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            for arguments in [
                ["inject", TinyRun.base], ["prune", run.path("tuned"), "--keep", "50%"],
                ["rank-modules", run.path("tuned"), "--keep", "50%"],
                ["export", run.path("tuned"), "--to", "peft", "--gates", "drop"],
                ["merge", TinyRun.base, "--adapter", run.path("tuned")], ["convert", TinyRun.base],
            ] {
                let outcome = try program.run(arguments + ["-o", "out", "--dry-run"])
                #expect(outcome.status == 0 && outcome.errors.isEmpty, "\(arguments): \(outcome.errors)")
                #expect(outcome.output.contains("fits") && outcome.output.contains("nothing was written"))
                #expect(try names(in: folder).isEmpty, "\(arguments)")
            }
            let nowhere = try program.run(["inject", TinyRun.base, "-o", "no/such/folder", "--dry-run"])
            #expect(nowhere.status == 73)
            let nothing = try program.run(["rank-modules", run.path("tuned"), "--dry-run"])
            #expect(nothing.status == 64 && nothing.output.isEmpty && nothing.errors.contains("give -o too"))
        }
    }

    @Test(.enabled(if: Faults.canMount, "needs a user who may mount a tmpfs"))
    func fullDiskIsToldWithItsExitCode() throws {
        try withTemporaryFolder { folder in
            mkdir(folder + "/disk", 0o755)
            let outcome = try Program(folder: folder).shell(
                "exec unshare -m sh -c 'mount -t tmpfs -o size=8k none disk && exec \"$T\" convert \"$B\" "
                    + "-o disk/out.gguf --dry-run'", environment: ["B": TinyRun.base])
            #expect(outcome.status == 74 && outcome.output.contains("no: the disk is too full"), "\(outcome)")
            #expect(outcome.errorLines.count == 1 && outcome.errors.contains("the disk has room for 8192"))
        }
    }
}
