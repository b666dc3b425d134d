import Foundation
import TestSupport
import Testing

/// More than one signal.
@Suite(.serialized) struct SignalTests {
    private func arguments(_ run: TinyRun, _ rest: String...) -> [String] {
        ["train", TinyRun.base, "--adapter", run.path("adapter"), "--dtype", "f32", "--threads", "1"] + rest
    }

    /// `timeout -s INT` signals the program and then its group.
    @Test func secondSignalRightAfterTheFirstDoesNotKeepACheckpointFromBeingSaved() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let running = try Program(folder: folder).begin(
                arguments(run, "--data", run.path("records.json"), "--steps", "200", "--batch-size", "8", "-o", "new"))
            while running.isRunning, !pathExists(folder + "/new/log.jsonl") { usleep(2000) }
            for _ in 0..<3 {
                running.interrupt()
                usleep(1000)
            }
            let outcome = try running.finish()
            #expect(outcome.status == 130)
            #expect(outcome.errors.contains("--resume"), "\(outcome.errors)")
            #expect(try names(in: folder + "/new").contains { $0.hasPrefix("checkpoint-") })
        }
    }

    /// One step over all of SST-2's training file takes long enough for a user to lose patience.
    @Test func laterSecondSignalEndsARunWithoutCheckpointsAndGivesBackWhatForceHadPutAside() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            try FileManager.default.copyItem(atPath: run.path("tuned"), toPath: folder + "/tuned")
            let before = contents(of: folder)
            let running = try Program(folder: folder).begin(
                arguments(
                    run, "--data", fixture("sst2/train.json"), "--steps", "1", "--batch-size", "32", "--accumulation",
                    "1000", "-o", "tuned",
                    "--force"))
            while running.isRunning, !pathExists(folder + "/tuned.replaced") { usleep(2000) }
            #expect(!pathExists(folder + "/tuned/adapter_config.json"))
            running.interrupt()
            usleep(2_300_000)
            try #require(running.isRunning, "the step was too short to test this")
            running.interrupt()
            #expect(try running.finish().status == 130)
            #expect(contents(of: folder) == before)
        }
    }
}
