import ArgumentParser
import Foundation
import TestSupport
import Testing

@testable import tspeft

/// `--config`: options from a file.
@Suite struct ConfigTests {
    /// The words that the parser gets for a file and a command line that names it.
    private func words(_ text: String, _ line: String = "train --config run.yaml") throws -> String {
        try withTemporaryFolder { folder in
            try writeFile(folder + "/run.yaml", text)
            let words = line.replacing("run.yaml", with: folder + "/run.yaml").split(separator: " ").map(String.init)
            do {
                return try CommandWords(words).words.joined(separator: " ")
            } catch {
                let text = (error as? ValidationError)?.message ?? "\(error)"
                throw Refusal(text: text.replacing(folder + "/", with: ""))
            }
        }
    }

    private struct Refusal: Error { let text: String }

    private func refusal(_ text: String, _ line: String = "train --config run.yaml") -> String {
        do { return "taken: " + (try words(text, line)) } catch { return (error as? Refusal)?.text ?? "\(error)" }
    }

    @Test(arguments: [
        ("rank: 8\nbase: model\n", "train --rank 8 model"),
        ("learning_rate: 1e-3 # a note\nlr_scheduler_type: cosine\n", "train --learning-rate 1e-3 --schedule cosine"),
        ("data: [a.json, \"b c.json\"]\n", "train --data a.json --data b c.json"),
        ("data:\n  - a.json\n  - b.json\neval-data: c.json\n", "train --data a.json --data b.json --eval-data c.json"),
        ("targets: [q_proj, v_proj]\n", "train --targets q_proj,v_proj"),
        ("target_modules:\n- q_proj\n- v_proj\n", "train --targets q_proj,v_proj"),
        ("no-shuffle: true\nresume: false\nepochs: null\nsteps: 3\n", "train --no-shuffle --steps 3"),
        ("{\"rank\": 8, \"method\": \"lora\", \"no_shuffle\": true}", "train --rank 8 --method lora --no-shuffle"),
        ("model_name_or_path: model\nrank: 2\n", "train --rank 2 model"),
        ("rank_pattern: ['q_proj=2', 'v_proj=4']\n", "train --rank-pattern q_proj=2 --rank-pattern v_proj=4"),
        ("max_steps: -1\n", "train --steps=-1"),
        ("stage: sft\nfp16: false\nbf16: true\nreport_to: none\nr: 4\n", "train --compute-type bf16 --rank 4"),
        ("peft_type: LORA\ntask_type: CAUSAL_LM\nbias: none\nval_size: 0.1\n", "train --method lora --val-split 0.1"),
        ("\u{FEFF}rank: 8\n", "train --rank 8"),
        ("---\nrank: 8\n...\n", "train --rank 8"),
    ])
    func keysBecomeOptions(_ text: String, _ expected: String) throws {
        #expect(try words(text) == expected)
    }

    @Test func theCommandLineWins() throws {
        let file = "base: model\nrank: 8\nepochs: 2\ndata: [a, b]\nlr: 1\noutput: run\n"
        #expect(
            try words(file, "train --config run.yaml --rank 4 --steps 5 --data c --learning_rate 2 -o other mine")
                == "train --rank 4 --steps 5 --data c --learning-rate 2 -o other mine")
        #expect(try words("path: a\nother: b\n", "inspect --config=run.yaml c") == "inspect c b")
        #expect(try words("json: true\n", "inspect c --config run.yaml") == "inspect --json c")
    }

    @Test(arguments: [
        ("rank: 8\nrnak: 4\n", "run.yaml, line 2: 'rnak' is no option of 'tspeft train' (did you mean 'rank'?)"),
        ("rank: 8\n\nlora_r: 4\n", "run.yaml, line 3: 'lora_r' and 'rank' in line 1 are two names of one option"),
        ("rank: 8\nrank: 8\n", "run.yaml, line 2: 'rank' stands in line 1 already"),
        ("no-shuffle: 3\n", "run.yaml, line 1: 'no-shuffle' takes true or false, not '3'"),
        ("rank: true\n", "run.yaml, line 1: 'rank' takes a value, not true"),
        ("rank: [1, 2]\n", "run.yaml, line 1: 'rank' takes one value, not a list"),
        ("data: [a, true]\n", "run.yaml, line 1: 'data' takes a list of values, not one with 'true' in it"),
        ("lora_parameters:\n  rank: 8\n", "'lora_parameters' holds keys or lists of its own"),
        ("data: [[a]]\n", "'data' holds keys or lists of its own"),
        ("a: &x [1]\nb: *x\n", "run.yaml, line 1: an anchor (&) is not taken"),
        ("rank: *x\n", "run.yaml, line 1: an alias (*) is not taken"),
        ("rank: !!int 8\n", "run.yaml, line 1: a tag (!) is not taken"),
        ("rank: 8\n---\nrank: 9\n", "begins a second document"),
        ("- rank\n", "holds no keys and values"), ("", "holds no settings"), ("rank: [8\n", "not valid YAML"),
        ("rank: 8\n\t- x\n", "not valid YAML"), ("{\"rank\": 8", "not valid YAML"),
        ("output: \"a\\0b\"\n", "the character 0"), ("rank: \u{1}\n", "not valid YAML"),
        ("config: other.yaml\n", "'config' is no option"), ("--rank: 8\n", "'--rank' is no option"),
        ("help: true\n", "'help' is no option"),
        ("scale: 20.0\n", "run.yaml, line 1: scale is none of tspeft train's options: mlx-lm's scale"),
        ("finetuning_type: full\n", "only adapters are trained"),
        ("iters: 5\naccumulation: 2\n", "counts passes"),
        ("peft_type: LOHA\nr: 8\n", "run.yaml, line 1: peft_type LOHA: there is no such method here"),
        ("r: 8\nlora_alpha: 16\nstages: sft\n", "run.yaml, line 3: 'stages' is no option"),
        ("r: 8\nstage: dpo\n", "run.yaml, line 2: stage is none of tspeft train's options: adapters are tuned on"),
        ("r: 8\nfp16: true\n", "run.yaml, line 2: fp16 is none of tspeft train's options: numbers are computed in F32"),
        (
            "r: 8\nnum_train_epoch: 2\n",
            "line 2: 'num_train_epoch' is no option of 'tspeft train' (did you mean 'epochs'?)"
        ),
        ("qwertyuiop: 2\n", "line 1: 'qwertyuiop' is no option of 'tspeft train'"),
        ("bf16: maybe\n", "run.yaml, line 1: 'bf16' takes true or false, not 'maybe'"),
    ])
    func whatCannotBeIsRefusedWithItsPlace(_ text: String, _ words: String) {
        let refusal = refusal(text)
        #expect(refusal.contains(words), "\(refusal)")
        #expect(!refusal.contains("\n"))
    }

    @Test func bombsCostNothing() {
        let laughs = (1...30).map { "a\($0): &a\($0) [*a\($0 - 1), *a\($0 - 1)]" }.joined(separator: "\n")
        #expect(refusal("a0: &a0 x\n" + laughs).contains("anchor"))
        for open in ["[", "{", "? ", "- "] {
            let text = "data: " + String(repeating: open, count: 400_000)
            #expect(!refusal(text).contains("taken"))
        }
        #expect(refusal("rank: " + String(repeating: "8", count: 2 << 20)).contains("1048576"))
    }

    @Test func namesThatMayBeListsAreOptions() throws {
        let shapes = ["inject", "train"].compactMap(CommandShape.init(of:))
        for name in ConfigWords.nameLists { #expect(shapes.allSatisfy { $0.option(name) != nil }, "\(name)") }
        let train = try #require(CommandShape(of: "train"))
        for name in ConfigWords.rivals.joined() { #expect(train.option(name) != nil, "\(name)") }
        for command in RootCommand.configuration.subcommands {
            let shape = try #require(CommandShape(of: command.configuration.commandName ?? ""))
            #expect(shape.option("config") != nil, "\(shape.command)")
        }
    }

    @Test func errorsOfValuesNameThePlace() throws {
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            func errors(_ text: String) throws -> String {
                try writeFile(folder + "/run.yaml", text)
                let outcome = try program.run([
                    "train", TinyRun.base, "--config", "run.yaml", "--data", "d", "-o", "run",
                ])
                #expect(outcome.status == 64 && outcome.errorLines.count == 1, "\(outcome.errors)")
                return outcome.errors
            }
            #expect(try errors("seed: 1\nrank: many\n").hasPrefix("tspeft: run.yaml, line 2: "))
            #expect(try errors("seed: 1\nbatch_size: 0\n").hasPrefix("tspeft: run.yaml, line 2: --batch-size must be"))
            #expect(try errors("schedule: square\n").hasPrefix("tspeft: run.yaml, line 1: "))
            let missing = try program.run(["train", TinyRun.base, "--config", "none.yaml"])
            #expect(missing.status == 66 && missing.errors.contains("none.yaml"))
            let twice = try program.run(["train", TinyRun.base, "--config", "run.yaml", "--config", "run.yaml"])
            #expect(twice.status == 64 && twice.errors.contains("--config is given 2 times; train takes one"))
            #expect(try program.run(["train", "--config", "none.yaml", "--help"]).status == 0)
        }
    }

    @Test(arguments: [
        ["--method", "ts-lora", "--rank", "2", "--alpha", "3", "--targets", "q_proj,v_proj"]
            + ["--rank-pattern", "q_proj=3"],
        ["--preset", "csr", "--rank", "2", "--s", "2e-3", "--tau-update", "plain", "--no-shuffle"]
            + ["--max-length", "64"],
        ["--method", "dora", "--rank", "2", "--layers", "0-2", "--exclude", "model.layers.0.mlp.down_proj"]
            + ["--train-on-prompt"],
        ["--method", "adalora", "--init-r", "3", "--target-r", "2", "--deltaT", "2", "--warmup", "1", "--seed", "9"],
    ])
    func settingsOfARunGiveItAgain(_ options: [String]) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            try FileManager.default.copyItem(atPath: run.path("records.json"), toPath: folder + "/my records.json")
            let first = try program.run(
                ["train", TinyRun.base, "--data", "my records.json", "--eval-data", "my records.json", "-o", "run"]
                    + ["--steps", "3", "--batch-size", "2", "--learning-rate", "1e-3", "--threads", "1"] + options)
            #expect(first.status == 0, "\(first.errors)")
            let again = try program.run(["train", "--config", "run/config.yaml", "-o", "again"])
            #expect(again.status == 0, "\(again.errors)")
            for file in ["adapter_model.safetensors", "adapter_config.json", "checkpoint-000003/training_state.json"] {
                #expect(
                    try readFile(folder + "/run/" + file) == readFile(folder + "/again/" + file), "\(file)")
            }
            let text = { try String(decoding: readFile(folder + "/" + $0 + "/config.yaml"), as: UTF8.self) }
            #expect(try text("run").replacing("output: run", with: "output: again") == text("again"))
            #expect(
                try text("run").contains("threads: 1\n") && text("run").contains("data:\n  - \"my records.json\"\n"))
        }
    }

    @Test func everyCommandTakesOne() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            try writeFile(folder + "/a.yaml", "base: \(TinyRun.base)\nrank: 2\noutput: adapter\n")
            let records = run.path("records.json")
            try writeFile(folder + "/e.json", "{\"base\": \"\(TinyRun.base)\", \"data\": [\"\(records)\"]}")
            try writeFile(folder + "/i.yaml", "path: adapter\njson: true\n")
            #expect(try program.run(["inject", "--config", "a.yaml"]).status == 0)
            #expect(try program.run(["eval", "--config", "e.json", "--limit", "2"]).status == 0)
            let inspected = try program.run(["inspect", "--config", "i.yaml"])
            #expect(inspected.status == 0 && inspected.output.hasPrefix("{"))
        }
    }
}
