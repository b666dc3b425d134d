import Foundation
import TestSupport
import Testing

/// The demo, on a few records of its data.
@Suite(.serialized) struct DemoTests {
    private static let recordCount = 12

    /// Lays out the demo's fixtures, cut short, under a name that a shell must quote.
    private func prepare(_ folder: String) throws -> String {
        let fixtures = folder + "/small fixtures"
        try FileManager.default.createDirectory(atPath: fixtures + "/sst2", withIntermediateDirectories: true)
        try link(fixtures + "/tiny-llama", to: TinyRun.base)
        for name in ["train.json", "dev.json", "test.json"] {
            let text = String(decoding: try readFile(fixture("sst2/" + name)), as: UTF8.self)
            let lines = text.split(separator: "\n").prefix(Self.recordCount)
            try writeFile(fixtures + "/sst2/" + name, lines.joined(separator: "\n") + "\n")
        }
        return fixtures
    }

    @Test func shownCommandsMakeWhatTheDemoMade() throws {
        try withTemporaryFolder { folder in
            let fixtures = try prepare(folder)
            let program = Program(folder: folder)
            let options =
                ["--fixtures", fixtures, "--steps", "1", "--seed", "7"] + ["--compute-type", "f32", "--threads", "1"]
            let outcome = try program.run(["demo", "-o", "work"] + options)
            #expect(outcome.status == 0, "\(outcome.errors)")
            let shown = outcome.errors.split(separator: "\n", omittingEmptySubsequences: false)
            #expect(
                Array(shown.prefix(6)) == [
                    "", "# make a place for the files", "$ mkdir -p work", "",
                    "# measure the base model on SST-2's test file",
                    "$ tspeft eval '\(fixtures)/tiny-llama' --data '\(fixtures)/sst2/test.json' --no-end-of-text"
                        + " --compute-type f32 --threads 1",
                ])
            #expect(!outcome.errors.contains("\\n"))
            #expect(outcome.output.contains("on the \(Self.recordCount) records of SST-2's test file"))
            #expect(outcome.output.hasSuffix("files kept in work\n"))

            try FileManager.default.moveItem(atPath: folder + "/work", toPath: folder + "/demo")
            let commands = shown.filter { $0.hasPrefix("$ ") }.map { $0.dropFirst(2) }
            #expect(commands.count == 10)
            for command in commands {
                let line = command.hasPrefix("tspeft ") ? "exec \"$T\" " + command.dropFirst(7) : String(command)
                let pasted = try program.shell(line)
                #expect(pasted.status == 0, "\(command): \(pasted.errors)")
            }
            // The program saves its options beside a run.
            let settings = "tuned/config.yaml"
            #expect(contents(of: folder + "/work").filter { $0 != settings } == contents(of: folder + "/demo"))
            #expect(contents(of: folder + "/work").contains(settings))
            for file in [
                "adapter/adapter_model.safetensors", "tuned/adapter_model.safetensors",
                "pruned/adapter_model.safetensors", "merged/model.safetensors",
            ] {
                #expect(try readFile(folder + "/work/" + file) == readFile(folder + "/demo/" + file), "\(file)")
            }
        }
    }

    @Test func interruptedDemoSaysSoAndRemovesItsFiles() throws {
        try withTemporaryFolder { folder in
            let temporary = folder + "/temporary"
            try FileManager.default.createDirectory(atPath: temporary, withIntermediateDirectories: false)
            let fixtures = try prepare(folder)
            let running = try Program(folder: folder).begin(
                ["demo", "--fixtures", fixtures, "--threads", "1"], environment: ["TMPDIR": temporary])
            func trains() throws -> Bool {
                try names(in: temporary).contains { pathExists(temporary + "/\($0)/tuned/log.jsonl") }
            }
            while running.isRunning, try !trains() { usleep(2000) }
            running.interrupt()
            let outcome = try running.finish()
            #expect(outcome.status == 130)
            #expect(outcome.errorLines.last == "tspeft: the demo was interrupted")
            #expect(outcome.output.isEmpty)
            #expect(try names(in: temporary).isEmpty)
        }
    }
}
