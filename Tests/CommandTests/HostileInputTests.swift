import CheckpointIO
import Foundation
import TestSupport
import Testing

/// Files that are made to harm: each is refused with a sentence, in a second of computing and 256 MB, and leaves nothing.
@Suite struct HostileInputTests {
    private func check(_ hostile: Hostile) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            try hostile.make(folder + "/x")
            let before = contents(of: folder)
            let command = hostile.command.replacingOccurrences(of: "BASE", with: TinyRun.base)
                .replacingOccurrences(of: "RUN", with: run.folder).replacingOccurrences(of: "X", with: "x")
            let outcome = try Program(folder: folder).runLimited(command)
            let errors = outcome.errors.prefix(3000)
            #expect(outcome.status == hostile.status, "\(hostile.testDescription): \(outcome.status) \(errors)")
            #expect(
                outcome.errorLines.count == 1 && errors.hasPrefix("tspeft: "), "\(hostile.testDescription): \(errors)")
            for word in hostile.words {
                #expect(word.isEmpty || errors.contains(word), "\(hostile.testDescription): \(errors)")
            }
            #expect(contents(of: folder) == before, "\(hostile.testDescription)")
        }
    }

    @Test(arguments: Hostile.safetensorsFiles) func safetensorsFileIsRefused(_ hostile: Hostile) throws {
        try check(hostile)
    }
    @Test(arguments: Hostile.indexFiles) func indexIsRefused(_ hostile: Hostile) throws { try check(hostile) }
    @Test(arguments: Hostile.configurations) func configurationIsRefused(_ hostile: Hostile) throws {
        try check(hostile)
    }
    @Test(arguments: Hostile.adapters) func adapterIsRefused(_ hostile: Hostile) throws { try check(hostile) }
    @Test(arguments: Hostile.tokenizers) func tokenizerIsRefused(_ hostile: Hostile) throws { try check(hostile) }
    @Test(arguments: Hostile.recordFiles) func recordsAreRefused(_ hostile: Hostile) throws { try check(hostile) }

    /// Every path that a command takes, with `Y` for it.
    static let paths = [
        "inject Y -o new", "inject BASE --from-peft Y -o new", "inject BASE --select Y -o new",
        "train Y --adapter RUN/adapter --data RUN/records.json -o new",
        "train BASE --adapter Y --data RUN/records.json -o new", "train BASE --adapter RUN/adapter --data Y -o new",
        "train BASE --adapter RUN/adapter --data RUN/records.json --eval-data Y -o new",
        "train BASE --adapter RUN/adapter --data RUN/records.json --resume -o Y",
        "eval Y --data RUN/records.json", "eval BASE --data Y", "eval BASE --adapter Y --data RUN/records.json",
        "generate Y -p a", "generate BASE --adapter Y -p a", "rank-modules Y", "prune Y --keep 50% -o new",
        "prune RUN/tuned --select Y -o new", "merge Y --adapter RUN/tuned -o new", "merge BASE --adapter Y -o new",
        "export Y --to peft -o new", "export RUN/tuned --to mlx --gates drop --base Y -o new", "inspect Y",
        // An output that exists and is nothing of ours.
        "inject BASE -o Y --force", "prune RUN/tuned --keep 50% -o Y --force",
        "merge BASE --adapter RUN/tuned -o Y --force",
        "rank-modules RUN/tuned --keep 50% -o Y --force",
        "export RUN/tuned --to gguf-lora --gates drop --base BASE -o Y --force",
        "train BASE --adapter RUN/adapter --data RUN/records.json -o Y --force",
    ]

    @Test(arguments: paths) func pathThatIsNoFileIsRefusedAndNeverWaitedFor(_ line: String) throws {
        let run = try TinyRun.shared.get()
        let strangers = Faults.asked == nil ? [Stranger.pipe, .loop] : Stranger.allCases
        for stranger in strangers {
            try withTemporaryFolder { folder in
                try stranger.make(folder + "/strange")
                let command = line.replacingOccurrences(of: "BASE", with: TinyRun.base)
                    .replacingOccurrences(of: "RUN", with: run.folder).replacingOccurrences(of: "Y", with: "strange")
                let outcome = try Program(folder: folder).runLimited(command)
                if outcome.status == 0 {
                    // An empty directory may be replaced.
                    #expect(stranger == .directory && line.contains("-o Y --force"), "\(command) with a \(stranger)")
                    return
                }
                #expect(
                    [65, 66, 73].contains(outcome.status),
                    "\(command) with a \(stranger): \(outcome.status) \(outcome.errors)")
                // Lines of progress may come before it.
                #expect(
                    outcome.errorLines.count { $0.hasPrefix("tspeft: ") } == 1,
                    "\(command) with a \(stranger): \(outcome.errors)")
                #expect(outcome.errors.contains("strange"), "\(command) with a \(stranger): \(outcome.errors)")
                #expect(try names(in: folder) == ["strange"], "\(command) with a \(stranger)")
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
                let command = filled(line).replacingOccurrences(of: "Y", with: "strange")
                let outcome = try Program(folder: folder).runLimited(command)
                let place: Comment = "\(command), \(name) a \(stranger): \(outcome.status) \(outcome.errors)"
                #expect([65, 66].contains(outcome.status), place)
                #expect(outcome.errorLines.count == 1 && outcome.errors.contains("strange"), place)
                #expect(try names(in: folder) == ["strange"], place)
            }
        }
    }
}
