import Foundation
import TestSupport
import Testing

/// Mistakes: one clear sentence, the exit code that fits, nothing left behind.
@Suite struct BadInputTests {
    /// A command line, and how it must end.
    struct Mistake: CustomTestStringConvertible, Sendable {
        let arguments: [String]
        let status: Int32
        /// What the sentence must say.
        let words: [String]

        init(_ line: String, _ status: Int32, _ words: String...) {
            arguments = line.split(separator: " ").map { $0 == "BASE" ? TinyRun.base : String($0) }
            self.status = status
            self.words = words
        }

        var testDescription: String { arguments.joined(separator: " ") }
    }

    static let train = "train BASE --adapter adapter --threads 1 --steps 1 -o new"

    static let mistakes = [
        // Inputs that are not there, or no models.
        Mistake("inspect missing", 66, "missing: no such file or directory"),
        Mistake("inject missing -o new", 66, "missing: no such file or directory"),
        Mistake("inject empty -o new", 65, "empty: holds no model"),
        Mistake("inject adapter -o new", 65, "it is an adapter directory"),
        Mistake("inject records.json -o new", 65, "neither a .safetensors file nor a GGUF file"),
        Mistake("inject truncated -o new", 65, "model.safetensors", "truncated"),
        Mistake("inspect truncated", 65, "model.safetensors", "truncated"),
        Mistake("inject truncated.gguf -o new", 65, "truncated.gguf"),
        Mistake("eval gpt --data records.json", 69, "'gpt2'", "llama, mistral"),
        Mistake("generate gpt --prompt a", 69, "'gpt2'", "llama, mistral"),
        Mistake(
            "train gpt --adapter adapter --data records.json --threads 1 --steps 1 -o new", 69, "'gpt2'",
            "llama, mistral"),
        Mistake("generate disagreeing -p hello", 69, "disagree", "'qwen3'"),
        Mistake("inject weightless -o new", 66, "no weights", "model.safetensors.index.json"),
        Mistake("inspect weightless", 66, "no weights"),
        Mistake("generate qwen -p hello", 69, "self_attn.k_norm.weight", "3 more", "qwen3"),
        Mistake("eval fewer --data records.json", 65, "model.layers.5.", "'num_hidden_layers' says 5"),
        Mistake("generate ends -p hello", 65, "'eos_token_id' is 9999999999"),
        Mistake("inspect BASE --tensors lm_head.weight", 65, "matches nothing", "nearest"),
        // Adapters.
        Mistake("inject BASE -o new --targets q_prj", 65, "'q_prj'", "nearest: q_proj"),
        Mistake("inject BASE -o new --layers 9", 64, "layers", "9"),
        Mistake("inject BASE -o new --method lorra", 64, "'lorra'", "ts-lora"),
        Mistake("inject BASE -o new --preset none", 64, "'none'", "csr"),
        Mistake("inject BASE -o new --rank 0", 64, "rank", "not 0"),
        Mistake("inject BASE -o new --select strange.json", 65, "model.layers.9.self_attn.q_proj"),
        Mistake(
            "inject BASE -o new --method ts-ia3 --select skipped.json", 65,
            "self_attn.q_proj' is not among the modules to adapt: the targets (k_proj, v_proj, down_proj) do not match"),
        Mistake("inject BASE -o new --select records.json", 65, "records.json", "module selection"),
        Mistake("eval other --adapter adapter --data records.json", 65, "belongs to another base than other"),
        Mistake("merge other --adapter tuned -o new", 65, "belongs to another base than other"),
        Mistake("eval BASE --adapter missing --data records.json", 66, "missing: no such file or directory"),
        Mistake("eval BASE --adapter empty --data records.json", 66, "adapter_config.json", "not an adapter"),
        Mistake("rank-modules adapter", 65, "no token statistics", "train it first"),
        Mistake("rank-modules dense", 65, "dense adapter (lora)"),
        Mistake("prune tuned --keep 3 --by size -o new", 64, "unknown ranking rule 'size'", "relative-norm"),
        Mistake("rank-modules tuned --keep 31", 64, "'31'", "30 modules"),
        Mistake("prune tuned --keep 0% -o new", 64, "'0%'"),
        Mistake("prune tuned --select strange.json -o new", 65, "model.layers.9.self_attn.q_proj"),
        Mistake("merge BASE --adapter adapter -o new", 65, "no token statistics"),
        Mistake("merge BASE --adapter dense -o new", 65, "would change nothing"),
        Mistake("merge BASE --adapter parallel -o new", 69, "parallel", "not linear"),
        Mistake("merge BASE --adapter dora --adapter dense -o new", 69, "dora rescales", "merge it alone"),
        Mistake("merge BASE --adapter dora:0.5 -o new", 69, "dora rescales"),
        Mistake("merge BASE --adapter tuned --adapter tuned:0.5 -o new", 64, "tuned: is given twice"),
        Mistake("merge BASE --adapter tuned --adapter second -o new", 64, "second: is the same adapter as tuned"),
        Mistake("merge BASE --adapter tuned:0 -o new", 64, "tuned:0", "other than 0"),
        Mistake("merge BASE --adapter tuned:nan -o new", 64, "tuned:nan", "finite"),
        Mistake("merge BASE --adapter tuned:-inf -o new", 64, "tuned:-inf", "finite"),
        Mistake("merge BASE --adapter missing:0.5 -o new", 66, "missing: no such file or directory"),
        Mistake("merge BASE --adapter tuned:half -o new", 66, "tuned:half: no such file or directory"),
        Mistake("merge BASE --adapter tuned --adapter missing -o new", 66, "missing: no such file or directory"),
        // Records.
        Mistake(train + " --data missing.json", 66, "missing.json"),
        Mistake(train + " --data empty", 65, "empty"),
        Mistake(train + " --data fields.json", 65, "fields.json, line 2", "'completion'"),
        Mistake(train + " --data long.json", 65, "long.json, line 1", "512"),
        Mistake("eval BASE --data broken.json", 65, "broken.json"),
        Mistake("generate BASE --chat -p hello", 65, "no chat template"),
        // Outputs.
        Mistake("inject BASE -o adapter", 73, "adapter", "--force"),
        Mistake("prune tuned --keep 50% -o adapter", 73, "adapter", "--force"),
        Mistake("merge BASE --adapter tuned -o adapter", 73, "adapter", "--force"),
        Mistake("rank-modules tuned --keep 50% -o records.json", 73, "records.json", "--force"),
        Mistake("train BASE --adapter adapter --data records.json -o tuned", 73, "tuned", "--force", "--resume"),
        Mistake("train BASE --adapter adapter --data records.json -o empty --force", 73, "empty"),
        Mistake("inject BASE -o project --force", 73, "project", "neither a model nor an adapter"),
        Mistake("inject BASE -o empty/there/new", 73, "No such file or directory"),
        Mistake("inject other -o other --force", 73, "would replace the input"),
        Mistake("prune tuned --keep 50% -o tuned --force", 73, "would replace the input"),
        Mistake("merge copy --adapter tuned -o copy --force", 73, "would replace the input"),
        Mistake("train BASE --adapter tuned --data records.json -o tuned --force", 73, "would replace the input"),
        Mistake(train + " --data records.json --resume", 66, "no run to resume"),
        // Options.
        Mistake("eval BASE --data records.json --threads 0", 64, "--threads", "not 0"),
        Mistake("eval BASE --data records.json --threads 3000000000", 64, "--threads", "between 1 and"),
        Mistake("generate BASE -p hello -n 4 --threads 1025", 64, "--threads", "between 1 and"),
        Mistake("train BASE --adapter adapter --data records.json --epochs 1e30 -o new", 64, "--epochs", "1e+30"),
        Mistake("frobnicate tuned", 64, "'frobnicate'", "rank-modules"),
    ]

    /// Lays out what the mistakes need beside what `TinyRun` has.
    static func prepare(_ folder: String, _ run: TinyRun) throws {
        let files = FileManager.default
        for name in ["adapter", "tuned", "records.json"] {
            try files.copyItem(atPath: run.path(name), toPath: folder + "/" + name)
        }
        try files.createDirectory(atPath: folder + "/empty", withIntermediateDirectories: false)
        try files.createDirectory(atPath: folder + "/project", withIntermediateDirectories: false)
        try writeFile(folder + "/project/config.json", "{}")
        try writeFile(folder + "/project/notes.txt", "dear")
        let model = try readFile(TinyRun.base + "/model.safetensors")
        try files.copyItem(atPath: run.path("tuned"), toPath: folder + "/second")
        for name in ["truncated", "other", "copy"] {
            try files.copyItem(atPath: TinyRun.base, toPath: folder + "/" + name)
        }
        try changeConfigurations(in: folder)
        try writeFile(folder + "/truncated/model.safetensors", Array(model.prefix(100_000)))
        var other = model
        other[other.count - 1] ^= 1
        try writeFile(folder + "/other/model.safetensors", other)
        let gguf = try readFile(fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf"))
        try writeFile(folder + "/truncated.gguf", Array(gguf.prefix(gguf.count - 1000)))
        try makeForeignModel(at: folder + "/gpt")
        try writeFile(folder + "/skipped.json", #"{"modules": ["model.layers.0.self_attn.q_proj"]}"#)
        try writeFile(folder + "/strange.json", #"{"modules": ["model.layers.9.self_attn.q_proj"]}"#)
        try writeFile(
            folder + "/fields.json", #"{"prompt": "a", "completion": " b"}"# + "\n" + #"{"prompt": "a"}"# + "\n")
        let long = String(repeating: "word ", count: 2000)
        try writeFile(folder + "/long.json", #"{"text": ""# + long + #""}"# + "\n")
        try writeFile(folder + "/broken.json", #"{"text": "a"#)
        for (method, name) in [("lora", "dense"), ("dora", "dora"), ("adapter", "parallel")] {
            let size = method == "adapter" ? "--adapter-size" : "--rank"
            let outcome = try Program(folder: folder).run(
                ["inject", TinyRun.base, "--method", method, size, "1", "-o", name])
            guard outcome.status == 0 else { throw UnusableRun(command: "inject", errors: outcome.errors) }
        }
    }

    /// Models whose `config.json` says something else than their tensors or than itself.
    private static func changeConfigurations(in folder: String) throws {
        let files = FileManager.default
        for (name, base, replacements) in [
            ("qwen", fixture("tiny-qwen3"), [("\"qwen3\"", "\"llama\""), ("Qwen3For", "LlamaFor")]),
            ("disagreeing", fixture("tiny-qwen3"), [("\"qwen3\"", "\"llama\"")]),
            ("fewer", TinyRun.base, [("\"num_hidden_layers\": 6", "\"num_hidden_layers\": 5")]),
            ("ends", TinyRun.base, [("\"eos_token_id\": ", "\"eos_token_id\": 9999999999, \"old\": ")]),
            ("weightless", TinyRun.base, []),
        ] {
            let path = folder + "/" + name
            try files.copyItem(atPath: base, toPath: path)
            var text = String(decoding: try readFile(path + "/config.json"), as: UTF8.self)
            for (old, new) in replacements {
                guard text.contains(old) else { throw UnusableRun(command: "replace", errors: old) }
                text = text.replacing(old, with: new)
            }
            try files.removeItem(atPath: path + "/config.json")
            try writeFile(path + "/config.json", text)
        }
        try files.removeItem(atPath: folder + "/weightless/model.safetensors")
    }

    @Test func mistakesAreToldInOneSentenceAndLeaveNothingBehind() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            try Self.prepare(folder, run)
            let before = contents(of: folder)
            for mistake in Self.mistakes {
                let outcome = try Program(folder: folder).run(mistake.arguments)
                let name = mistake.testDescription
                #expect(outcome.status == mistake.status, "\(name): \(outcome.errors)")
                #expect(outcome.output.isEmpty, "\(name)")
                #expect(outcome.errorLines.count == 1, "\(name): \(outcome.errors)")
                #expect(outcome.errors.hasPrefix("tspeft: "), "\(name): \(outcome.errors)")
                for word in mistake.words {
                    #expect(outcome.errors.contains(word), "\(name): \(outcome.errors)")
                }
                #expect(contents(of: folder) == before, "\(name)")
            }
        }
    }

    @Test(arguments: [
        ("inject BASE --foo -o new", "Unknown option '--foo'"), ("inject BASE", "-o"),
        ("train BASE --adapter a --data d -o new --steps 0", "--steps must be at least 1, not 0"),
        ("train BASE --adapter a --data d -o new --epochs 1 --steps 1", "not both"),
        ("train BASE --adapter a --data d -o new --steps 3000000000", "--steps must be at most 2147483647"),
        ("train BASE --adapter a --data d -o new --batch-size 9223372036854775807", "--batch-size must be at most"),
        ("train BASE --adapter a --data d -o new --accumulation 9223372036854775807", "--accumulation must be at most"),
        ("train BASE --adapter a --data d -o new --warmup=-1", "--warmup must be at least 0, not -1"),
        ("train BASE --adapter a --data d -o new --warmup 9223372036854775807", "--warmup must be at most"),
        ("train BASE --adapter a --data d -o new --clip=-1", "--clip must be 0 or more, not -1.0"),
        ("train BASE --adapter a --data d -o new --clip nan", "--clip must be 0 or more, not nan"),
        ("train BASE --adapter a --data d -o new --epochs inf", "--epochs must be above 0"),
        ("train BASE --adapter a --data d -o new --max-length 9223372036854775807", "--max-length must be at most"),
        ("generate BASE -p hello -n 9223372036854775807", "--max-tokens must be at most 2147483647"),
        ("eval BASE --data d --max-new-tokens 0", "--max-new-tokens must be at least 1, not 0"),
        ("eval BASE --data d --max-new-tokens 9223372036854775807", "--max-new-tokens must be at most"),
        ("inject BASE -o new --layers 0-9223372036854775807", "no layer has a number above 100000"),
        ("inject BASE -o new --layers 3-1", "no layer or range"),
        ("eval BASE --data d --limit 0", "--limit must be at least 1"),
        ("demo --steps 9223372036854775807", "--steps must be at most"),
        ("prune a -o new", "either --keep or --select"),
        ("prune a --select s --by sparsity -o new", "--by is for --keep"),
        ("inject", "Missing expected argument '<base>'"),
        ("merge BASE --adapter -o new", "Missing value for '--adapter"),
        ("rank-modules a -o new", "--keep"),
        ("merge BASE --adapter a -o new --gates half", "half"),
    ])
    func unusableOptionsAreToldInOneSentenceWithTheHelpToAskFor(_ line: String, _ words: String) throws {
        try withTemporaryFolder { folder in
            let outcome = try Program(folder: folder).run(Mistake(line, 64).arguments)
            #expect(outcome.status == 64)
            #expect(outcome.output.isEmpty)
            #expect(outcome.errors.contains(words), "\(outcome.errors)")
            let command = line.split(separator: " ").first ?? ""
            #expect(outcome.errorLines.count == 1 && outcome.errors.hasPrefix("tspeft: "), "\(outcome.errors)")
            #expect(outcome.errors.hasSuffix("; see 'tspeft \(command) --help'\n"), "\(outcome.errors)")
            #expect(contents(of: folder).isEmpty)
        }
    }

    @Test func divergingLossIsToldWithStepAndModuleAndLeavesNothing() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let outcome = try Program(folder: folder).run([
                "train", TinyRun.base, "--adapter", run.path("adapter"), "--data", run.path("records.json"), "-o",
                "new", "--steps", "4", "--batch-size", "2", "--learning-rate", "1e30", "--threads", "1",
            ])
            #expect(outcome.status == 70)
            let last = outcome.errorLines.last ?? ""
            #expect(last.contains("step 2") && last.contains("model.layers."), "\(outcome.errors)")
            #expect(contents(of: folder).isEmpty)
        }
    }

    @Test func failedRunGivesBackWhatForceHadPutAside() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            try FileManager.default.copyItem(atPath: run.path("tuned"), toPath: folder + "/tuned")
            let before = contents(of: folder)
            let outcome = try Program(folder: folder).run([
                "train", TinyRun.base, "--adapter", run.path("adapter"), "--data", run.path("records.json"), "-o",
                "tuned", "--steps", "4", "--batch-size", "2", "--learning-rate", "1e30", "--threads", "1", "--force",
            ])
            #expect(outcome.status == 70)
            #expect(contents(of: folder) == before)
        }
    }

    /// A limit on the size of files stands in for a full disk; its signal must not end the program.
    @Test(arguments: [
        "inject BASE --rank 2 -o new", "merge BASE --adapter RUN/tuned -o new",
        "prune RUN/tuned --keep 50% -o new",
        "train BASE --adapter RUN/adapter --data RUN/records.json -o new --steps 1 --batch-size 1 --threads 1",
    ])
    func fullDiskIsAnErrorThatLeavesNothing(_ line: String) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let arguments = line.replacingOccurrences(of: "BASE", with: TinyRun.base)
                .replacingOccurrences(of: "RUN", with: run.folder)
            let outcome = try Program(folder: folder).shell("ulimit -f 16; exec \"$T\" " + arguments)
            #expect(outcome.status == 74, "\(outcome.errors)")
            #expect(outcome.errorLines.last?.contains("cannot be written: File too large") == true, "\(outcome.errors)")
            #expect(contents(of: folder).isEmpty)
        }
    }

    @Test func resultThatCannotBeStoredIsAFailure() throws {
        let run = try TinyRun.shared.get()
        let outcome = try Program(folder: run.folder).shell("exec \"$T\" inspect tuned > /dev/full")
        #expect(outcome.status == 74)
        #expect(outcome.errors == "tspeft: standard output cannot be written: No space left on device\n")
    }

    @Test(arguments: ["--help", "merge --help", "help prune", "--version", "--version --verbose"])
    func helpThatCannotBeStoredIsAFailure(_ arguments: String) throws {
        let outcome = try Program(folder: packageRoot).shell("exec \"$T\" \(arguments) > /dev/full")
        #expect(outcome.status == 74)
        #expect(outcome.errors == "tspeft: standard output cannot be written: No space left on device\n")
    }

    @Test func readerThatStopsReadingIsNoFailure() throws {
        let run = try TinyRun.shared.get()
        let outcome = try Program(folder: run.folder).shell(
            "{ \"$T\" rank-modules tuned; echo \"ended with $?\" >&2; } | head -n 1")
        #expect(outcome.errors == "ended with 0\n")
        #expect(outcome.output.split(separator: "\n").count == 1)
    }
}
