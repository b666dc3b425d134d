import Foundation
import TestSupport
import Testing

/// A disk that is full in the middle of a run.
@Suite struct FullDiskTests {
    /// A limit on the size of files stands in for a full disk; it comes when the first checkpoint stands.
    @Test func runThatCannotSaveItsSecondCheckpointKeepsTheFirstAndCanBeResumed() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let arguments = [
                "train", TinyRun.base, "--adapter", run.path("adapter"), "--data", run.path("records.json"), "--steps",
                "12", "--save-every", "6", "--batch-size", "2", "--dtype", "f32", "--threads", "1", "-o",
            ]
            let running = try program.begin(arguments + ["new"])
            let first = folder + "/new/checkpoint-000006"
            while running.isRunning, !pathExists(first) { usleep(2000) }
            let saved = contents(of: first)
            let bytes = try saved.map { try readFile(first + "/" + $0) }
            try running.limitFiles(to: 64 << 10)
            let full = try running.finish()
            #expect(full.status == 74, "\(full.errors)")
            #expect(full.errorLines.last?.contains("cannot be written: File too large") == true, "\(full.errors)")
            #expect(try names(in: folder + "/new") == ["checkpoint-000006", "config.yaml", "log.jsonl"])
            #expect(contents(of: first) == saved)
            #expect(try saved.map { try readFile(first + "/" + $0) } == bytes)

            let resumed = try program.run(arguments + ["new", "--resume"])
            #expect(resumed.status == 0, "\(resumed.errors)")
            #expect(try program.run(arguments + ["straight"]).status == 0)
            let file = "/adapter_model.safetensors"
            #expect(try readFile(folder + "/new" + file) == readFile(folder + "/straight" + file))
        }
    }
}
