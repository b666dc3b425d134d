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
