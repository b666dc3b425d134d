import TestSupport
import Testing

/// Options whose values would have been taken for something else without a word.
@Suite struct RefusedNumberTests {
    @Test(arguments: [
        "--method lora --alpha nan", "--method lora --alpha inf", "--method adapter --scaling nan",
        "--method vera --d-initial inf", "--method adalora --orth-reg-weight nan", "--method lora --dropout nan",
    ])
    func whatIsNoNumberIsNoDefault(_ options: String) throws {
        try withTemporaryFolder { folder in
            let outcome = try Program(folder: folder).run(
                ["inject", TinyRun.base, "-o", "new"] + options.split(separator: " ").map(String.init))
            #expect(outcome.status == 64 && outcome.errorLines.count == 1, "\(outcome.errors)")
            #expect(outcome.errors.contains("takes a number, not '"), "\(outcome.errors)")
            #expect(contents(of: folder).isEmpty)
        }
    }

    @Test(arguments: [
        ("--rank-pattern down_proj=x", "x is no rank"), ("--rank-pattern down_proj", "should have the form name=value"),
        ("--alpha-pattern down_proj=nan", "nan is no number"),
    ])
    func patternsSayWhatIsWrongWithThem(options: String, words: String) throws {
        try withTemporaryFolder { folder in
            let outcome = try Program(folder: folder).run(
                ["inject", TinyRun.base, "-o", "new"] + options.split(separator: " ").map(String.init))
            #expect(outcome.status == 64 && outcome.errors.contains(words), "\(outcome.errors)")
        }
    }

    @Test func oneAdapterIsOne() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let adapters = ["--adapter", run.path("adapter"), "--adapter=" + run.path("tuned")]
            let outcome = try Program(folder: folder).run(["generate", TinyRun.base, "-p", "a"] + adapters)
            #expect(outcome.status == 64 && outcome.errors.contains("--adapter is given 2 times"), "\(outcome.errors)")
        }
    }

    @Test(arguments: [
        ["--csv", "a", "--tensorboard", "./a"], ["--csv", "new/config.yaml"], ["--csv", "new/../new/log.jsonl"],
        ["--tensorboard", "new"], ["--csv", "new/best/x"],
    ])
    func figuresGoBesideTheRunsOwnFiles(_ options: [String]) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let outcome = try Program(folder: folder).run(
                ["train", TinyRun.base, "--data", run.path("records.json"), "-o", "new", "--steps", "1"] + options)
            #expect(outcome.status == 64 && outcome.errorLines.count == 1, "\(outcome.errors)")
            #expect(contents(of: folder).isEmpty)
        }
    }
}
