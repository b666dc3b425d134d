import Foundation
import TestSupport

/// What the commands of fault tests read, in one folder of their own, made once by the program itself.
struct FaultInputs: Sendable {
    /// Holds `base` and `parts-*.gguf` and `base.gguf` (the tiny model), `new`, `tuned` and `ggufTuned` (adapters),
    /// `tuned.tspeft.zst` and `records.json`; removed when the tests end.
    let folder: String

    static let shared: Result<FaultInputs, any Error> = Result { try FaultInputs() }

    private init() throws {
        folder = try makeTemporaryFolder()
        atexit {
            guard case .success(let inputs) = FaultInputs.shared else { return }
            try? FileManager.default.removeItem(atPath: inputs.folder)
        }
        let run = try TinyRun.shared.get()
        for (source, name) in [
            (TinyRun.base, "base"), (run.path("adapter"), "new"), (run.path("tuned"), "tuned"),
            (run.path("records.json"), "records.json"), (fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf"), "base.gguf"),
        ] {
            try FileManager.default.copyItem(atPath: source, toPath: folder + "/" + name)
        }
        let program = Program(folder: folder)
        for line in [
            "convert base.gguf -o parts.gguf --max-shard-size 1MB", "convert tuned -o tuned.tspeft.zst",
            "inject base.gguf --rank 2 -o ggufNew --method lora",
            "train base.gguf --adapter ggufNew --data records.json -o ggufTuned --steps 1 --batch-size 1 "
                + "--learning-rate 1e-2 --threads 1",
        ] {
            let outcome = try program.run(line.split(separator: " ").map(String.init))
            guard outcome.status == 0 else { throw UnusableRun(command: line, errors: outcome.errors) }
        }
    }
}

/// A command that writes, as fault tests run it.
struct WritingCommand: Sendable, CustomStringConvertible {
    /// Its arguments, with `IN` for the folder of `FaultInputs`; the output is called `out` with an ending.
    let line: String

    var description: String { line }

    /// Those that tests go through: all if that was asked for.
    static let chosen = Faults.asked == nil ? all.indices.filter { quick.contains($0) }.map { all[$0] } : all
    private static let quick: Set = [0, 7, 9, 11, 14, 16, 17, 18]

    /// Every way of writing but training, which keeps what it has saved.
    static let all = [
        "inject IN/base --rank 2 -o out", "prune IN/tuned --keep 50% -o out",
        "rank-modules IN/tuned --keep 50% -o out.json", "export IN/tuned --to peft --gates drop -o out",
        "export IN/tuned --to mlx --gates scale --base IN/base -o out",
        "export IN/tuned --to gguf-lora --gates scale --base IN/base -o out.gguf",
        "export IN/tuned --to torch -o out", "merge IN/base --adapter IN/tuned --threads 1 -o out",
        "merge IN/base.gguf --adapter IN/ggufTuned --threads 1 -o out",
        "merge IN/base.gguf --adapter IN/ggufTuned --threads 1 -o out.gguf",
        "merge IN/parts-00002-of-00003.gguf --adapter IN/ggufTuned --threads 1 -o out.gguf",
        "convert IN/base --type f16 --max-shard-size 2MB --threads 1 -o out",
        "convert IN/base.gguf --threads 1 -o out", "convert IN/base --type q8_0 --threads 1 -o out.gguf",
        "convert IN/base --max-shard-size 2MB --threads 1 -o out.gguf",
        "convert IN/base --type f16 --threads 1 -o out.safetensors",
        "convert IN/base --threads 1 -o out.safetensors.zst", "convert IN/tuned --threads 1 -o out.tspeft.zst",
        "convert IN/tuned.tspeft.zst --threads 1 -o out",
    ].map(WritingCommand.init)

    /// The arguments with the inputs' places.
    func arguments(_ inputs: FaultInputs) -> [String] {
        line.split(separator: " ").map { $0.replacingOccurrences(of: "IN/", with: inputs.folder + "/") }
    }

    /// What the command leaves of each output's name when nothing fails; made in `folder`, which is empty so far.
    func writeWhole(in folder: String, _ inputs: FaultInputs) throws -> [String: [UInt8]] {
        let outcome = try Program(folder: folder).run(arguments(inputs))
        guard outcome.status == 0 else { throw UnusableRun(command: line, errors: outcome.errors) }
        return try snapshot(of: folder)
    }

    /// Puts something else in `folder` under each name that an output in `whole` has: an adapter's directory, or a
    /// file.
    func writeOld(in folder: String, likeThoseIn whole: String, _ inputs: FaultInputs) throws {
        for name in try names(in: whole) {
            var isDirectory: ObjCBool = false
            _ = FileManager.default.fileExists(atPath: whole + "/" + name, isDirectory: &isDirectory)
            if isDirectory.boolValue {
                try FileManager.default.copyItem(atPath: inputs.folder + "/tuned", toPath: folder + "/" + name)
            } else {
                try writeFile(folder + "/" + name, Array("what stood at \(name) before".utf8))
            }
        }
    }
}

/// Empties `target` and copies what is in `source` into it.
func replaceContents(of target: String, byThoseOf source: String) throws {
    for name in try names(in: target) { try FileManager.default.removeItem(atPath: target + "/" + name) }
    for name in try names(in: source) {
        try FileManager.default.copyItem(atPath: source + "/" + name, toPath: target + "/" + name)
    }
}
