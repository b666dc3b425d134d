import Foundation
import TestSupport
import Testing

/// A Python with tensorboard; the test's own environment names it.
private let python = ProcessInfo.processInfo.environment["TSPEFT_PYTHON"]

/// Validation, tables and event files on the command line.
@Suite struct ValidationOptionTests {
    private static let course = [
        "--steps", "4", "--batch-size", "2", "--learning-rate", "1e-3", "--threads", "1", "--dtype", "f32",
    ]

    @Test func linesTellOfEachDataSetAndOfTheBest() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            try FileManager.default.copyItem(atPath: run.path("records.json"), toPath: folder + "/dev.json")
            try writeFile(folder + "/book.txt", String(repeating: "A film is not a book. ", count: 60))
            let outcome = try program.run(
                ["train", TinyRun.base, "--rank", "2", "--data", run.path("records.json"), "--eval-data", "dev.json"]
                    + ["--eval-data", "book.txt", "--eval-every", "2", "--max-length", "64", "--warmup", "30%"]
                    + ["--csv", "steps.csv", "-o", "run"] + Self.course)
            #expect(outcome.status == 0, "\(outcome.errors)")
            for words in ["of dev.json", "of book.txt", "the best so far, saved run/best"] {
                #expect(outcome.errors.contains(words), "\(outcome.errors)")
            }
            #expect(outcome.output.contains("best evaluation"))
            // How to use it, where the last step's is not the best.
            let isLast = outcome.output.contains("(the last step's)")
            #expect(outcome.output.contains("run/best; use it with --adapter run/best") != isLast, "\(outcome.output)")
            let best = try program.run(["eval", TinyRun.base, "--adapter", "run/best", "--data", "dev.json"])
            #expect(best.status == 0, "\(best.errors)")
            let table = String(decoding: try readFile(folder + "/steps.csv"), as: UTF8.self)
            // Four steps, and two evaluations of two sets and of both.
            #expect(table.split(separator: "\n").count == 1 + 4 + 6)
            let settings = String(decoding: try readFile(folder + "/run/config.yaml"), as: UTF8.self)
            #expect(settings.contains("warmup: \"30.0%\"\n") && !settings.contains("csv"))
            // The table is the run's, and another run needs one of its own.
            let again = try program.run(["train", "--config", "run/config.yaml", "-o", "again"])
            #expect(again.status == 0, "\(again.errors)")
            let file = "/best/adapter_model.safetensors"
            #expect(try readFile(folder + "/run" + file) == readFile(folder + "/again" + file))
        }
    }

    @Test func textsThatAreCutAreToldOf() throws {
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            try writeFile(folder + "/book.txt", String(repeating: "A film is not a book. ", count: 60))
            let outcome = try program.run(
                [
                    "train", TinyRun.base, "--rank", "2", "--data", "book.txt", "--max-length", "32", "--val-split",
                    "20%",
                ]
                    + ["-o", "run"] + Self.course)
            #expect(outcome.status == 0, "\(outcome.errors)")
            #expect(outcome.errors.contains("1 long text cut into"))
            #expect(outcome.errors.contains("held back for validation"))
        }
    }

    @Test(arguments: [
        (["--val-split", "5%", "--eval-data", "dev.json"], "give --val-split or --eval-data, not both"),
        (["--val-split", "100%"], "--val-split must be above 0 % and below 100 %"),
        (["--val-split", "0"], "--val-split must be at least 1"), (["--val-split", "200%"], "200%"),
        (["--val-split", "12"], "--val-split must be at least 1 and less than the 12 examples"),
        (["--early-stop", "2", "--val-split", "2"], "give --eval-every too"),
        (["--early-stop", "0"], "--early-stop must be at least 1"),
        (["--eval-every", "2"], "--eval-every needs --eval-data or --val-split"), (["--warmup", "many"], "many"),
        (["--warmup", "-3"], "--warmup"),
    ])
    func whatCannotBeIsRefused(_ options: [String], _ words: String) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let outcome = try Program(folder: folder).run(
                ["train", TinyRun.base, "--rank", "2", "--data", run.path("records.json"), "-o", "run"] + options
                    + Self.course)
            #expect(outcome.status == 64 && outcome.errorLines.count == 1, "\(outcome.errors)")
            #expect(outcome.errors.contains(words), "\(outcome.errors)")
            #expect(contents(of: folder).isEmpty)
        }
    }

    @Test(.enabled(if: python != nil, "TSPEFT_PYTHON names no Python with tensorboard"))
    func tensorBoardReadsTheEvents() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let outcome = try program.run(
                ["train", TinyRun.base, "--rank", "2", "--data", run.path("records.json"), "--val-split", "3"]
                    + ["--eval-every", "2", "--tensorboard", "board", "-o", "run"] + Self.course)
            #expect(outcome.status == 0, "\(outcome.errors)")
            let read = try program.shell(
                "\(try #require(python)) \(packageRoot)/Tests/Scripts/read_events.py board")
            #expect(read.status == 0, "\(read.errors)")
            var found: [String: [Float]] = [:]
            for line in read.output.split(separator: "\n") {
                let words = line.split(separator: " ")
                found[String(words[0]), default: []].append(try #require(Float(words[2])))
            }
            let log = try String(decoding: readFile(folder + "/run/log.jsonl"), as: UTF8.self).split(separator: "\n")
                .map { try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]) }
            func logged(_ event: String, _ key: String) -> [Float] {
                log.filter { $0["event"] as? String == event }.compactMap { ($0[key] as? Double).map { Float($0) } }
            }
            for (tag, event, key) in [
                ("train/loss", "step", "loss"), ("train/learning_rate", "step", "learning_rate"),
                ("train/gradient_norm", "step", "gradient_norm"), ("train/sparsity", "step", "sparsity"),
                ("train/tau_max", "step", "tau_max"), ("eval/loss", "evaluation", "loss"),
                ("eval/perplexity", "evaluation", "perplexity"),
            ] {
                #expect(found[tag] == logged(event, key) && found[tag]?.isEmpty == false, "\(tag)")
            }
        }
    }
}
