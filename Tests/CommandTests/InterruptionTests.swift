import Foundation
import TestSupport
import Testing

/// Ctrl-C.
@Suite struct InterruptionTests {
    /// Waits until a file has a number of lines, or the program ends.
    func wait(for lines: Int, in path: String, of running: Program.Running) throws {
        while running.isRunning {
            if pathExists(path), try readFile(path).count(where: { $0 == UInt8(ascii: "\n") }) >= lines { return }
            usleep(2000)
        }
    }

    @Test func interruptedTrainingSavesAndResumesToTheSameBits() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            func arguments(_ output: String) -> [String] {
                [
                    "train", TinyRun.base, "--adapter", run.path("adapter"), "--data", run.path("records.json"),
                    "--eval-data", run.path("records.json"), "--eval-limit", "2", "--steps", "30", "--batch-size", "1",
                    "--s", "1e-3", "--dtype", "f32", "--threads", "1", "-o", output,
                ]
            }
            let running = try program.begin(arguments("stopped"))
            try wait(for: 3, in: folder + "/stopped/log.jsonl", of: running)
            running.interrupt()
            let stopped = try running.finish()
            #expect(stopped.status == 130, "\(stopped.errors)")
            #expect(stopped.output.isEmpty)
            #expect(stopped.errorLines.last?.contains("--resume") == true, "\(stopped.errors)")
            let left = try names(in: folder + "/stopped")
            #expect(left.count == 3 && left[0].hasPrefix("checkpoint-"), "\(left)")
            #expect(left.suffix(2) == ["config.yaml", "log.jsonl"], "\(left)")

            let inspected = try program.run(["inspect", "stopped"])
            #expect(inspected.status == 0)
            #expect(inspected.output.contains("not finished"))
            #expect(inspected.output.contains("last step"))
            let mistaken = try program.run(["eval", TinyRun.base, "--adapter", "stopped", "--data", "none"])
            #expect(mistaken.status == 66)

            let resumed = try program.run(arguments("stopped") + ["--resume"])
            #expect(resumed.status == 0, "\(resumed.errors)")
            #expect(resumed.errors.contains("resumed after step"))
            let straight = try program.run(arguments("straight"))
            #expect(straight.status == 0, "\(straight.errors)")
            for file in ["adapter_model.safetensors", "tspeft_statistics.safetensors"] {
                #expect(try readFile(folder + "/stopped/" + file) == readFile(folder + "/straight/" + file), "\(file)")
            }
        }
    }

    @Test func interruptedEvaluationEndsAtOnce() throws {
        let program = Program(folder: fixture("sst2"))
        let running = try program.begin(["eval", TinyRun.base, "--data", "train.json", "--threads", "1"])
        usleep(400_000)
        running.interrupt()
        let outcome = try running.finish()
        #expect(outcome.status == 130)
        #expect(outcome.output.isEmpty)
    }

    @Test func interruptedMergeLeavesAWholeCheckpointOrNothing() throws {
        let run = try TinyRun.shared.get()
        let program = Program(folder: run.folder)
        try withTemporaryFolder { folder in
            let arguments = ["merge", TinyRun.base, "--adapter", "tuned", "--threads", "1", "-o"]
            #expect(try program.run(arguments + [folder + "/whole"]).status == 0)
            let whole = contents(of: folder + "/whole")
            for attempt in 0..<12 {
                let output = folder + "/attempt-\(attempt)"
                let running = try program.begin(arguments + [output])
                usleep(UInt32(20_000 + 10_000 * attempt))
                running.interrupt()
                let outcome = try running.finish()
                #expect(outcome.status == 130 || outcome.status == 0, "\(outcome.errors)")
                if pathExists(output) { #expect(contents(of: output) == whole) }
            }
            #expect(try names(in: folder).allSatisfy { $0 == "whole" || $0.hasPrefix("attempt-") })
        }
    }
}
