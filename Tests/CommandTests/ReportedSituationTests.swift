import CheckpointIO
import Foundation
import TestSupport
import Testing

/// A Python with torch, transformers, peft and safetensors; the test's own environment names it.
private let python = ProcessInfo.processInfo.environment["TSPEFT_PYTHON"]

/// Situations of kinds that users of other programs reported, made by `Tests/Scripts/make_reported_situations.py`, each
/// as a user meets it. What transformers and peft make of them is what is expected.
@Suite(.enabled(if: python != nil, "TSPEFT_PYTHON names no Python with torch, transformers and peft"))
struct ReportedSituationTests {
    /// Makes the inputs of a kind in a folder of their own, and lends a program that runs there and what is expected.
    private func with(_ kind: String, _ body: (Program, _ folder: String, _ expected: JSONValue) throws -> Void) throws
    {
        try withTemporaryFolder { folder in
            let process = Process()
            process.executableURL = URL(fileURLWithPath: try #require(python))
            process.arguments = [fixture("../Tests/Scripts/make_reported_situations.py"), kind, folder]
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            try #require(process.terminationStatus == 0, "the situation '\(kind)' could not be made")
            let file = folder + "/expected.json"
            let expected = try pathKind(file) == .nothing ? JSONValue.null : JSONValue.parse(readFile(file))
            try body(Program(folder: folder), folder, expected)
        }
    }

    /// Tokens and scored tokens of a file of records.
    private func counts(
        _ program: Program, _ base: String, _ data: String
    ) throws -> (tokens: Int?, scored: Int?) {
        let outcome = try program.run(["eval", base, "--data", data, "--json", "--dtype", "f32"])
        #expect(outcome.status == 0, "\(base), \(data): \(outcome.errors)")
        let value = try JSONValue.parse(Array(outcome.output.utf8))
        return (value["tokens"]?.intValue, value["scored_tokens"]?.intValue)
    }

    @Test func tokenBeyondTheEmbeddingIsRefusedBeforeAnyWork() throws {
        try with("token-beyond-embedding") { program, folder, _ in
            let made = try names(in: folder)
            #expect(try program.run(["inject", "eos", "--method", "lora", "--rank", "2", "-o", "a"]).status == 0)
            let train = ["train", "eos", "--adapter", "a", "--data", "pair.json", "--steps", "1", "-o", "run"]
            for arguments in [
                ["generate", "model", "-p", "one <|im_end|>", "-n", "1"], ["eval", "model", "--data", "marked.json"],
                train, train + ["--dry-run"], ["convert", "model", "-o", "x.gguf"],
            ] {
                let outcome = try program.run(arguments)
                #expect(outcome.status == 65 && outcome.errors.contains("embedding has 2048 rows"), "\(outcome.errors)")
                #expect(try names(in: folder) == (made + ["a"]).sorted())
            }
            // What has no such token is computed, and what may come is said.
            let sound = try program.run(["eval", "model", "--data", "plain.json"])
            #expect(sound.status == 0 && sound.errors.contains("ids up to 2049"))
        }
    }

    @Test func everyFieldOfAChatCountsOrIsRefused() throws {
        try with("chat-fields") { program, _, expected in
            var found: [String: (tokens: Int?, scored: Int?)] = [:]
            for (name, tokens) in try #require(expected.objectValue).members {
                found[name] = try counts(program, "model", "\(name).json")
                #expect(found[name]?.tokens == tokens.intValue, "\(name)")
            }
            #expect(found["weight"]?.scored == found["train"]?.scored && found["weight"]?.scored == 3)
            #expect(found["two"]?.scored == 8)
            // The reasoning is the assistant's too, and the call of a function is more than an end.
            let plain = try #require(found["plain"]?.scored)
            #expect((found["reasoning"]?.scored ?? 0) > plain && (found["calls"]?.scored ?? 0) > plain)
            for name in ["tools", "calls", "reasoning"] {
                let refused = try program.run(["eval", "simple", "--data", "\(name).json"])
                #expect(refused.status == 65 && refused.errors.contains("is not written by the model's chat template"))
            }
        }
    }

    @Test func endOfTheTurnIsScoredWhereverItStands() throws {
        try with("turn-ends") { program, _, _ in
            let bare = try #require(try counts(program, "nowhere", "one.json").scored)
            for (model, one, two) in [("behind", 1, 2), ("line", 2, 4), ("space", 3, 6), ("next", 0, 1)] {
                #expect(try counts(program, model, "one.json").scored == bare + one, "\(model)")
                #expect(try counts(program, model, "two.json").scored == 2 * bare + two, "\(model)")
            }
            for (model, data, warns) in [
                ("nowhere", "two.json", true), ("next", "one.json", true), ("behind", "one.json", false),
            ] {
                let adapter = "a-\(model)"
                #expect(
                    try program.run(["inject", model, "--method", "lora", "--rank", "2", "-o", adapter]).status == 0)
                for rehearsal in [["--dry-run"], []] {
                    let run = try program.run(
                        ["train", model, "--adapter", adapter, "--data", data, "--steps", "1", "-o", "t-\(model)"]
                            + rehearsal)
                    #expect(run.status == 0)
                    #expect(run.errors.contains("teaches no end") == warns, "\(model): \(run.errors)")
                }
            }
        }
    }

    @Test func trainedModelStopsWhereTheTemplateEndsTheTurn() throws {
        try with("turn-ends") { program, _, _ in
            for model in ["behind", "line"] {
                for arguments in [
                    ["inject", model, "--method", "lora", "--targets", "all-linear", "--rank", "16", "--alpha", "32"]
                        + ["-o", "a-\(model)"],
                    [
                        "train", model, "--adapter", "a-\(model)", "--data", "two.json", "--steps", "150", "-o",
                        "t-\(model)",
                    ]
                        + ["--learning-rate", "1e-2", "--schedule", "constant", "--dtype", "f32"],
                ] { #expect(try program.run(arguments).status == 0) }
                let said = try program.run(
                    ["generate", model, "--adapter", "t-\(model)", "--chat", "-p", "Hi", "-n", "30", "--dtype", "f32"])
                #expect(said.output.hasPrefix("Hello you") && said.errors.contains("ended by end token"), "\(said)")
            }
        }
    }

    @Test func templateSeesEverySpecialTokenAndTheClock() throws {
        try with("template-tokens") { program, _, expected in
            for (name, tokens) in try #require(expected.objectValue).members {
                #expect(try counts(program, name, "chat.json").tokens == tokens.intValue, "\(name)")
            }
        }
    }

    @Test func selectorThatMatchesNothingIsRefused() throws {
        try with("selectors") { program, folder, _ in
            let inject = [
                "inject", "model", "--method", "lora", "--rank", "4", "-o", "a", "--targets", "q_proj,v_proj",
            ]
            for wrong in [
                ["--rank-pattern", "q_porj=16"], ["--alpha-pattern", "q_porj=99"], ["--exclude", "v_porj"],
                ["--layers", "1,5"], ["--exclude", "layers.0.self_attn.q_proj,k_proj"],
                ["--rank-pattern", "layers.7=2"],
            ] {
                let outcome = try program.run(inject + wrong)
                #expect([64, 65].contains(outcome.status) && outcome.errorLines.count == 1, "\(wrong)")
                #expect(outcome.errors.contains(wrong[0]), "\(outcome.errors)")
                #expect(try names(in: folder) == ["model"])
            }
            let right = [
                "--rank-pattern", "q_proj=2", "--alpha-pattern", "v_proj=3", "--exclude", "layers.0.self_attn.v_proj",
            ]
            #expect(try program.run(inject + right + ["--layers", "0,1"]).status == 0)
        }
    }

    /// To within the rounding of float32, of weights below 4.
    @Test func whatPeftWritesBesideAnAdapterIsMergedAsPeftDoes() throws {
        try with("copies") { program, folder, _ in
            for (adapter, base) in [("head", "model"), ("whole", "resized"), ("frozen", "resized")] {
                let merged = try program.run(["merge", base, "--adapter", adapter, "-o", "merged-\(adapter)"])
                #expect(merged.status == 0, "\(merged.errors)")
                let expected = try SafetensorsFile.open("\(folder)/\(adapter).safetensors")
                let found = try Checkpoint.open("\(folder)/merged-\(adapter)")
                for record in expected.tensors {
                    let own = try #require(found.record(record.name), "\(record.name)")
                    #expect(own.shape == record.shape)
                    let pairs = zip(try expected.floats(of: record), try found.floats(of: own))
                    #expect(pairs.reduce(0) { max($0, abs($1.0 - $1.1)) } <= 0x1p-20, "\(adapter): \(record.name)")
                }
            }
        }
    }

    @Test func numbersThatAreNoneAreCountedAndNotSpread() throws {
        try with("not-finite") { program, _, _ in
            for options in [[], ["--stats"], ["--checksum"]] {
                let outcome = try program.run(["inspect", "adapter"] + options)
                #expect(outcome.status == 0 && outcome.output.contains("1 NaN in "), "\(outcome)")
            }
            let refused = try program.run(["merge", "model", "--adapter", "adapter", "-o", "m"])
            #expect(refused.status == 65 && refused.errors.contains("lora_B"))
            let noted = try program.run(["merge", "bad", "--adapter", "sound", "-o", "m"])
            #expect(noted.status == 0, "\(noted.errors)")
            #expect(
                noted.output.contains(
                    "NaN or infinite in the base, and so still: 2 in model.layers.0.self_attn.q_proj.weight"))
        }
    }
}
