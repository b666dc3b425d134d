import Foundation
import TestSupport
import Testing

/// `train --continue`.
@Suite struct ContinueTests {
    private static let course = [
        "--data", "records.json", "--steps", "4", "--batch-size", "2", "--learning-rate", "1e-3", "--s", "5e-3",
        "--threads", "1", "--compute-type", "f32", "--save-every", "2",
    ]

    private func withRun(_ body: (Program) throws -> Void) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            try writeFile(
                folder + "/records.json", String(decoding: readFile(run.path("records.json")), as: UTF8.self))
            let program = Program(folder: folder)
            let whole = try program.run(["train", TinyRun.base, "--rank", "2", "-o", "whole"] + Self.course)
            try #require(whole.status == 0, "\(whole.errors)")
            try body(program)
        }
    }

    @Test func aCheckpointGoesOnInAnotherRunToTheSameBytes() throws {
        try withRun { program in
            let state = ["--continue", "whole/checkpoint-000002"]
            let done = try program.run(["train", TinyRun.base, "-o", "other"] + state + Self.course)
            #expect(done.status == 0 && !done.errors.contains("is now"), "\(done.errors)")
            let file = "/adapter_model.safetensors"
            #expect(
                try readFile(program.folder + "/whole" + file) == readFile(program.folder + "/other" + file))
        }
    }

    @Test func whatDiffersIsToldAndARunsNewestCheckpointIsTaken() throws {
        try withRun { program in
            let course = Self.course.map { $0 == "1e-3" ? "2e-3" : $0 == "4" ? "6" : $0 }
            let done = try program.run(["train", TinyRun.base, "--continue", "whole", "-o", "other"] + course)
            #expect(done.status == 0, "\(done.errors)")
            #expect(done.errors.contains("learning_rate was 0.001 and is now 0.002"), "\(done.errors)")
            #expect(done.output.contains("steps              6"), "\(done.output)")
        }
    }

    @Test func whatCannotBeIsRefused() throws {
        try withRun { program in
            func errors(_ arguments: [String], _ status: Int32) throws -> String {
                let done = try program.run(["train", TinyRun.base, "-o", "other"] + arguments + Self.course)
                #expect(done.status == status, "\(done.errors)")
                return done.errors
            }
            let run = try TinyRun.shared.get()
            let adapter = run.path("adapter")
            #expect(try errors(["--continue", adapter], 66).contains("no training state to go on from"))
            #expect(try errors(["--continue", "whole", "--adapter", adapter], 64).contains("--continue, not both"))
            #expect(try errors(["--continue", "whole", "--rank", "3"], 64).contains("--rank cannot be given"))
        }
    }
}
