import Foundation
import TestSupport
import Testing

/// `train` without `--adapter` makes the adapter itself.
@Suite struct OneCommandTests {
    private static let course = [
        "--data", "records.json", "--eval-data", "records.json", "--eval-limit", "4", "--steps", "3", "--batch-size",
        "2", "--learning-rate", "1e-3", "--threads", "1", "--dtype", "f32", "--seed", "7",
    ]
    /// Files of a run whose bytes tell no time.
    private static let files = [
        "adapter_config.json", "adapter_model.safetensors", "checkpoint-000003/adapter_config.json",
        "checkpoint-000003/adapter_model.safetensors", "checkpoint-000003/training_state.json",
        "checkpoint-000003/training_state.safetensors", "checkpoint-000003/tspeft.json",
    ]

    /// Runs `body` in a folder with records.
    private func withRecords(_ body: (Program) throws -> Void) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            try FileManager.default.copyItem(atPath: run.path("records.json"), toPath: folder + "/records.json")
            try body(Program(folder: folder))
        }
    }

    private func succeed(_ program: Program, _ arguments: [String]) throws {
        let outcome = try program.run(arguments)
        #expect(outcome.status == 0, "\(arguments): \(outcome.errors)")
    }

    @Test(arguments: [
        ["--method", "ts-lora", "--rank", "4", "--alpha", "8", "--targets", "q_proj,v_proj", "--dropout", "0.1"],
        ["--method", "ts-dora", "--rank", "2", "--layers", "0-1", "--rank-pattern", "q_proj=3"],
        ["--method", "adalora", "--init-r", "4", "--target-r", "2", "--exclude", "model.layers.0.mlp.down_proj"],
        ["--method", "ts-adapter", "--adapter-size", "4"], ["--method", "ts-vera", "--rank", "8"],
        ["--method", "ia3"], ["--method", "lora", "--rank", "2", "--lora-bias"],
        ["--preset", "csr", "--rank", "2"], [],
    ])
    func bytesAreThoseOfInjectAndTrain(_ adapter: [String]) throws {
        try withRecords { program in
            let isPreset = adapter.first == "--preset"
            try succeed(program, ["inject", TinyRun.base, "--seed", "7", "-o", "adapter"] + adapter)
            try succeed(
                program,
                ["train", TinyRun.base, "--adapter", "adapter", "-o", "two"] + Self.course
                    + (isPreset ? ["--preset", "csr"] : []))
            try succeed(program, ["train", TinyRun.base, "-o", "one"] + adapter + Self.course)
            for file in Self.files {
                let (one, two) = try (
                    readFile(program.folder + "/one/" + file), readFile(program.folder + "/two/" + file)
                )
                #expect(one == two, "\(file)")
            }
            let names = { contents(of: program.folder + "/" + $0).filter { !$0.contains("config.yaml") } }
            #expect(names("one") == names("two"))
        }
    }

    @Test func anAdapterOfPEFTIsTakenOver() throws {
        try withRecords { program in
            try succeed(program, ["inject", TinyRun.base, "--method", "lora", "--rank", "2", "-o", "dense"])
            let adapter = ["--from-peft", "dense", "--method", "ts-lora"]
            try succeed(program, ["inject", TinyRun.base, "-o", "adapter"] + adapter)
            try succeed(program, ["train", TinyRun.base, "--adapter", "adapter", "-o", "two"] + Self.course)
            try succeed(program, ["train", TinyRun.base, "-o", "one"] + adapter + Self.course)
            for file in Self.files.prefix(2) {
                let (one, two) = try (
                    readFile(program.folder + "/one/" + file), readFile(program.folder + "/two/" + file)
                )
                #expect(one == two, "\(file)")
            }
        }
    }

    @Test func anInterruptedRunGoesOnToTheSameBytes() throws {
        try withRecords { program in
            let arguments = ["train", TinyRun.base, "--rank", "2"] + Self.course + ["--save-every", "1"]
            try succeed(program, arguments + ["-o", "whole"])
            try succeed(program, arguments + ["-o", "cut"])
            try FileManager.default.removeItem(atPath: program.folder + "/cut/adapter_model.safetensors")
            for step in 2...3 {
                try FileManager.default.removeItem(atPath: program.folder + "/cut/checkpoint-00000\(step)")
            }
            try succeed(program, arguments + ["-o", "cut", "--resume"])
            let file = "/adapter_model.safetensors"
            #expect(try readFile(program.folder + "/whole" + file) == readFile(program.folder + "/cut" + file))

            let other = try program.run(
                ["train", TinyRun.base, "--rank", "3"] + Self.course + ["--save-every", "1", "-o", "cut", "--resume"])
            #expect(other.status == 65 && other.errors.contains("cannot resume: adapter was"), "\(other.errors)")
        }
    }

    @Test func controlCAndResumeGoTogetherWithIt() throws {
        try withRecords { program in
            let arguments =
                ["train", TinyRun.base, "--rank", "2", "--data", "records.json", "--steps", "30", "--batch-size", "1"]
                + ["--threads", "1", "--dtype", "f32", "-o"]
            let running = try program.begin(arguments + ["stopped"])
            try InterruptionTests().wait(for: 3, in: program.folder + "/stopped/log.jsonl", of: running)
            running.interrupt()
            #expect(try running.finish().status == 130)
            try succeed(program, arguments + ["stopped", "--resume"])
            try succeed(program, arguments + ["straight"])
            let file = "/adapter_model.safetensors"
            #expect(
                try readFile(program.folder + "/stopped" + file) == readFile(program.folder + "/straight" + file))
        }
    }

    @Test func dryRunAndForceGoTogetherWithIt() throws {
        try withRecords { program in
            let arguments = ["train", TinyRun.base, "--rank", "2", "-o", "run"] + Self.course
            let dry = try program.run(arguments + ["--dry-run"])
            #expect(dry.status == 0 && dry.output.contains("run/checkpoint-000003/adapter_model.safetensors"))
            #expect(contents(of: program.folder) == ["records.json"])
            try succeed(program, arguments)
            #expect(try program.run(arguments).status == 73)
            try succeed(program, arguments + ["--force"])
            #expect(contents(of: program.folder).filter { $0.contains("replaced") }.isEmpty)
        }
    }

    @Test(arguments: [
        ["--rank", "2"], ["--method", "lora"], ["--targets", "q_proj"], ["--exclude", "q_proj"], ["--layers", "0"],
        ["--modules-to-save", "lm_head"], ["--select", "kept.json"], ["--from-peft", "there"],
        ["--rank-pattern", "q_proj=2"], ["--rslora"], ["--target-r", "2"], ["--d-initial", "0.2"],
    ])
    func optionsOfANewAdapterAreRefusedBesideOne(_ option: [String]) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let outcome = try Program(folder: folder).run(
                ["train", TinyRun.base, "--adapter", run.path("adapter"), "--data", run.path("records.json")]
                    + ["-o", "run"] + option)
            #expect(outcome.status == 64)
            #expect(outcome.errorLines.count == 1)
            #expect(outcome.errors.contains("so \(option[0]) cannot be given with it"), "\(outcome.errors)")
            #expect(contents(of: folder).isEmpty)
        }
    }

    @Test(arguments: [
        ["--targets", "no_such_module"], ["--method", "no-such-method"], ["--rank", "0"], ["--layers", "99"],
        ["--target-r", "2"],
    ])
    func whatInjectRefusesLeavesNothing(_ option: [String]) throws {
        try withRecords { program in
            let inject = try program.run(["inject", TinyRun.base, "-o", "adapter"] + option)
            let train = try program.run(["train", TinyRun.base, "-o", "run"] + Self.course + option)
            #expect(inject.status != 0 && train.status == inject.status)
            let (words, other) = (inject.errors.split(separator: "; see"), train.errors.split(separator: "; see"))
            #expect(words.first == other.first)
            #expect(contents(of: program.folder) == ["records.json"])
        }
    }
}
