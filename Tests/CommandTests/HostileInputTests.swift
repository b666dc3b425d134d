import CheckpointIO
import Foundation
import TestSupport
import Testing

/// Files that are made to harm: each is refused with a sentence, in a second of computing and 256 MB, and leaves
/// nothing.
@Suite struct HostileInputTests {
    /// Gives a hostile file to its own command and to `others`, which have `Y` for it.
    private func check(_ hostile: Hostile, others: [String] = []) throws {
        guard Limits.isRelease || !hostile.needsRelease else { return }
        let run = try TinyRun.shared.get()
        let input = hostile.command.split(separator: " ").first { $0.hasPrefix("X") }.map(String.init) ?? "X"
        try withTemporaryFolder { folder in
            try hostile.make(folder + "/x")
            let before = contents(of: folder)
            for line in [hostile.command] + others.map({ $0.replacingOccurrences(of: "Y", with: input) }) {
                let command = line.replacingOccurrences(of: "BASE", with: TinyRun.base)
                    .replacingOccurrences(of: "RUN", with: run.folder).replacingOccurrences(of: "X", with: "x")
                let outcome = try Program(folder: folder).runLimited(command)
                let errors = outcome.errors.prefix(3000)
                let place: Comment = "\(hostile.testDescription), \(command): \(outcome.status) \(errors)"
                #expect(outcome.status == hostile.status, place)
                #expect(outcome.errorLines.count == 1 && errors.hasPrefix("tspeft: "), place)
                for word in hostile.words { #expect(word.isEmpty || errors.contains(word), place) }
                #expect(contents(of: folder) == before, place)
            }
        }
    }

    /// What a model is given to beside `inspect`.
    private static let modelCommands = [
        "convert Y -o new", "convert Y -o new.gguf", "convert Y -o new.safetensors",
        "merge Y --adapter RUN/tuned -o new",
    ]

    @Test(arguments: Hostile.safetensorsFiles) func safetensorsFileIsRefused(_ hostile: Hostile) throws {
        try check(hostile, others: Self.modelCommands + ["convert Y -o new.safetensors.zst"])
    }
    @Test(arguments: Hostile.largeHeaders) func largeHeaderIsRefused(_ hostile: Hostile) throws {
        try check(hostile, others: ["convert Y -o new.safetensors", "merge Y --adapter RUN/tuned -o new"])
    }
    @Test(arguments: Hostile.indexFiles) func indexIsRefused(_ hostile: Hostile) throws {
        try check(hostile, others: Self.modelCommands)
    }
    @Test(arguments: Hostile.configurations) func configurationIsRefused(_ hostile: Hostile) throws {
        try check(hostile, others: ["convert Y -o new.gguf", "merge Y --adapter RUN/tuned -o new"])
    }
    @Test(arguments: Hostile.adapters) func adapterIsRefused(_ hostile: Hostile) throws {
        // What only a base tells has a command of its own.
        let isRefusedAlone = hostile.command == Hostile.adapterCommand
        try check(hostile, others: isRefusedAlone ? ["inspect Y", "convert Y -o new.tspeft.zst"] : [])
    }
    @Test(arguments: Hostile.packs) func packIsRefused(_ hostile: Hostile) throws {
        try check(hostile, others: ["merge BASE --adapter Y -o new", "convert Y -o new"])
    }
    @Test(arguments: Hostile.foreignPacks) func packOfAnotherAdapterIsRefused(_ hostile: Hostile) throws {
        try check(hostile)
    }
    @Test(arguments: Hostile.packedModels) func packedModelIsRefused(_ hostile: Hostile) throws {
        try check(
            hostile,
            others: ["inspect Y --stats", "convert Y -o new.safetensors", "merge Y --adapter RUN/tuned -o new"])
    }
    @Test(arguments: Hostile.tokenizers) func tokenizerIsRefused(_ hostile: Hostile) throws {
        try check(hostile, others: ["convert Y -o new.gguf"])
    }
    @Test(arguments: Hostile.recordFiles) func recordsAreRefused(_ hostile: Hostile) throws { try check(hostile) }

    @Test(arguments: CostlyGGUF.all) func costlyGGUFIsReadOrRefusedWithinTheLimits(_ costly: CostlyGGUF) throws {
        guard Limits.isRelease || !costly.needsRelease else { return }
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            var builder = GGUFBuilder()
            costly.make(&builder)
            try writeFile(folder + "/x.gguf", builder.file)
            for line in [
                "inspect x.gguf", "inspect x.gguf --json", "inspect x.gguf --tensors '*'", "convert x.gguf -o new",
                "convert x.gguf -o new.gguf", "merge x.gguf --adapter RUN/tuned -o new.gguf",
            ] {
                let command = line.replacingOccurrences(of: "RUN", with: run.folder)
                let outcome = try Program(folder: folder).runLimited(command)
                let place: Comment = "\(costly), \(command): \(outcome.status) \(outcome.errors.prefix(3000))"
                #expect([0, 65, 66, 69].contains(outcome.status), place)
                let sentences = outcome.errorLines.filter { $0.hasPrefix("tspeft: ") }
                #expect(sentences.count == (outcome.status == 0 ? 0 : 1), place)
                #expect(outcome.output.utf8.count < Self.outputLimit, place)
                if outcome.status == 0 {
                    for name in ["/new", "/new.gguf"] { try? FileManager.default.removeItem(atPath: folder + name) }
                }
                #expect(try names(in: folder) == ["x.gguf"], place)
            }
        }
    }

    /// Bytes that `inspect` may say of a file of 60 MB.
    private static let outputLimit = 32 << 20

    /// Every path that a command takes, with `Y` for it.
    static let paths = [
        "inject Y -o new", "inject Y.gguf -o new", "inject BASE --from-peft Y -o new",
        "inject BASE --from-peft Y.tspeft.zst -o new", "inject BASE --select Y -o new",
        "train Y --adapter RUN/adapter --data RUN/records.json -o new",
        "train BASE --adapter Y --data RUN/records.json -o new", "train BASE --adapter RUN/adapter --data Y -o new",
        "train BASE --adapter RUN/adapter --data RUN/records.json --eval-data Y -o new",
        "train BASE --adapter RUN/adapter --data RUN/records.json --resume -o Y",
        "train BASE --data RUN/records.json --select Y -o new",
        "train BASE --data RUN/records.json --from-peft Y -o new",
        "train BASE --data RUN/records.json --config Y -o new", "inspect --config Y",
        "train BASE --data RUN/records.json --csv Y -o new",
        "eval Y --data RUN/records.json", "eval BASE --data Y", "eval BASE --data Y.json.zst",
        "eval BASE --adapter Y --data RUN/records.json",
        "generate Y -p a", "generate BASE --adapter Y -p a", "generate BASE --adapter Y.tspeft.zst -p a",
        "rank-modules Y", "prune Y --keep 50% -o new", "prune RUN/tuned --select Y -o new",
        "merge Y --adapter RUN/tuned -o new", "merge Y.gguf --adapter RUN/tuned -o new.gguf",
        "merge Y.safetensors.zst --adapter RUN/tuned -o new", "merge BASE --adapter Y -o new",
        "merge BASE --adapter Y.tspeft.zst -o new", "merge BASE --adapter Y:0.5 -o new",
        "merge BASE --adapter RUN/tuned --adapter Y -o new",
        "convert Y -o new", "convert Y -o new.gguf", "convert Y -o new.safetensors",
        "convert Y.gguf -o new", "convert Y.safetensors -o new.safetensors.zst",
        "convert Y.safetensors.zst -o new.safetensors", "convert Y.tspeft.zst -o new",
        "export Y --to peft -o new", "export Y.tspeft.zst --to peft -o new",
        "export RUN/tuned --to mlx --gates drop --base Y -o new",
        "inspect Y", "inspect Y.gguf", "inspect Y.safetensors", "inspect Y.safetensors.zst", "inspect Y.tspeft.zst",
        "inspect BASE Y", "inspect Y BASE", "demo --fixtures Y",
        // An output that exists and is nothing of ours.
        "inject BASE -o Y --force", "prune RUN/tuned --keep 50% -o Y --force",
        "merge BASE --adapter RUN/tuned -o Y --force",
        "convert GGUF -o Y.gguf --force", "convert GGUF -o Y --force",
        "rank-modules RUN/tuned --keep 50% -o Y --force",
        "export RUN/tuned --to gguf-lora --gates drop --base BASE -o Y --force",
        "export RUN/tuned --to mlx --gates drop --base BASE -o Y --force",
        "export RUN/tuned --to peft --gates drop -o Y --force", "export RUN/tuned --to torch -o Y --force",
        "train BASE --adapter RUN/adapter --data RUN/records.json -o Y --force",
        "convert BASE -o Y --force", "convert BASE -o Y.gguf --force", "convert BASE -o Y.safetensors --force",
        "convert BASE -o Y.safetensors.zst --force", "convert RUN/tuned -o Y.tspeft.zst --force",
        "convert BASE -o Y.gguf --force --dry-run", "merge BASE --adapter RUN/tuned -o Y --force --dry-run",
        // Or that is not to be replaced.
        "inject BASE -o Y", "merge BASE --adapter RUN/tuned -o Y", "convert BASE -o Y", "convert BASE -o Y.gguf",
        "convert BASE -o Y.safetensors.zst", "convert RUN/tuned -o Y.tspeft.zst", "demo -o Y",
        "rank-modules RUN/tuned --keep 50% -o Y",
        // Or that would lie in it.
        "inject BASE -o Y/new", "convert BASE -o Y/new.gguf",
        "rank-modules RUN/tuned --keep 50% -o Y/new.json",
    ]

    /// Each path with a pipe and some others, so that a short run meets all of them somewhere.
    private static func strangers(for line: String) -> [Stranger] {
        guard Faults.asked == nil, let place = paths.firstIndex(of: line) else { return Stranger.allCases }
        let others = Stranger.allCases.filter { $0 != .pipe }
        return [.pipe] + (0..<2).map { others[(2 * place + $0) % others.count] }
    }

    @Test(arguments: paths) func pathThatIsNoFileIsRefusedAndNeverWaitedFor(_ line: String) throws {
        let run = try TinyRun.shared.get()
        let word = line.split(separator: " ").first { $0.hasPrefix("Y") }.map(String.init) ?? "Y"
        // A weight or a file in it are no part of the name.
        let name = "strange" + word.dropFirst().prefix { $0 != ":" && $0 != "/" }
        for stranger in Self.strangers(for: line) {
            try withTemporaryFolder { folder in
                try stranger.make(folder + "/" + name)
                // First, since the other paths may hold a "Y".
                let command = line.replacingOccurrences(of: "Y", with: "strange")
                    .replacingOccurrences(of: "BASE", with: TinyRun.base)
                    .replacingOccurrences(of: "GGUF", with: fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf"))
                    .replacingOccurrences(of: "RUN", with: run.folder)
                let outcome = try Program(folder: folder).runLimited(command)
                let place: Comment = "\(command) with a \(stranger): \(outcome.status) \(outcome.errors)"
                if outcome.status == 0 {
                    // An empty directory may be replaced, or take a file.
                    let isOutput = line.contains("-o Y") && (line.contains("--force") || line.contains("Y/"))
                    #expect(stranger == .directory && isOutput, place)
                    return
                }
                #expect([65, 66, 73].contains(outcome.status), place)
                // Lines of progress may come before it.
                #expect(outcome.errorLines.count { $0.hasPrefix("tspeft: ") } == 1, place)
                #expect(outcome.errors.contains("strange"), place)
                #expect(try names(in: folder) == [name], place)
            }
        }
    }

    /// Files of a model or an adapter that a command reads on its way.
    static let members = [
        ("BASE", "config.json", "inject Y -o new"), ("BASE", "model.safetensors", "inject Y -o new"),
        ("BASE", "tokenizer.json", "generate Y -p a -n 1"), ("BASE", "tokenizer_config.json", "generate Y -p a -n 1"),
        ("RUN/tuned", "adapter_config.json", "merge BASE --adapter Y -o new"),
        ("RUN/tuned", "adapter_model.safetensors", "merge BASE --adapter Y -o new"),
        ("RUN/tuned", "tspeft.json", "merge BASE --adapter Y -o new"),
        ("RUN/tuned", "tspeft_statistics.safetensors", "rank-modules Y"),
    ]

    @Test(arguments: members) func memberThatIsNoFileIsRefusedAndNeverWaitedFor(
        _ source: String, _ name: String, _ line: String
    ) throws {
        let run = try TinyRun.shared.get()
        func filled(_ text: String) -> String {
            text.replacingOccurrences(of: "BASE", with: TinyRun.base).replacingOccurrences(of: "RUN", with: run.folder)
        }
        for stranger in Stranger.allCases {
            try withTemporaryFolder { folder in
                try variant(folder + "/strange", of: filled(source), replacing: [name: nil])
                try stranger.make(folder + "/strange/" + name)
                let command = filled(line.replacingOccurrences(of: "Y", with: "strange"))
                let outcome = try Program(folder: folder).runLimited(command)
                let place: Comment = "\(command), \(name) a \(stranger): \(outcome.status) \(outcome.errors)"
                // A link that leads nowhere is no file, and this one need not be there.
                if stranger == .dangling, name == "tokenizer_config.json", outcome.status == 0 { return }
                #expect([65, 66].contains(outcome.status), place)
                #expect(outcome.errorLines.count == 1 && outcome.errors.contains("strange"), place)
                #expect(try names(in: folder) == ["strange"], place)
            }
        }
    }
}
