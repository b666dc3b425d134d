import Foundation
import TestSupport
import Testing

/// A Python with torch, transformers, peft, accelerate and safetensors; the test's own environment names it.
private let python = ProcessInfo.processInfo.environment["TSPEFT_PYTHON"]

/// `Tests/Scripts/check_torch_training.py` and `check_torch_roundtrip.py`, which train through the module that an export
/// writes and hold it against the golden cases and against the program.
@Suite(.serialized, .enabled(if: python != nil, "TSPEFT_PYTHON names no Python with torch, transformers and peft"))
struct TorchTrainingTests {
    /// Runs a script of `Tests/Scripts` with the module that the program exports.
    private func run(_ script: String, _ arguments: [String]) throws -> Int32 {
        let run = try TinyRun.shared.get()
        return try withTemporaryFolder { folder in
            let exported = try Program(folder: folder).run(["export", run.path("adapter"), "--to", "torch", "-o", "it"])
            #expect(exported.status == 0, "\(exported.errors)")
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments =
                [try #require(python), "-W", "ignore", packageRoot + "/Tests/Scripts/" + script]
                + arguments.map { $0 == "MODULE" ? folder + "/it/tspeft_torch.py" : $0 }
            process.standardInput = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            return process.terminationStatus
        }
    }

    @Test(arguments: ["golden", "gradients", "precision", "trainer", "ranks", "refusals"])
    func trainingInPyTorchAgrees(what: String) throws {
        #expect(try run("check_torch_training.py", ["--module", "MODULE", what, fixture("golden")]) == 0)
    }

    @Test func runsGoOnInEitherProgram() throws {
        #expect(
            try run(
                "check_torch_roundtrip.py", [Program.path, fixture("tiny-llama"), fixture("sst2/dev.json")]) == 0)
    }
}
