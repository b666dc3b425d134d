import Foundation
import TestSupport

/// What most tests start from, made once by the program itself: records, a new adapter and a trained one of the tiny
/// model.
struct TinyRun: Sendable {
    /// The folder that holds `records.json`, `adapter` and `tuned`; removed when the tests end.
    let folder: String

    /// The tiny model.
    static let base = fixture("tiny-llama")
    /// Options that make a short run with some gates open and some closed.
    static let training = [
        "--steps", "8", "--batch-size", "2", "--learning-rate", "1e-3", "--s", "5e-3", "--lambda", "1e-4", "--dtype",
        "f32", "--threads", "1", "--eval-limit", "4",
    ]

    static let shared: Result<TinyRun, any Error> = Result { try TinyRun() }

    /// The path of something in the folder.
    func path(_ name: String) -> String { folder + "/" + name }

    private init() throws {
        folder = try makeTemporaryFolder()
        atexit {
            guard case .success(let run) = TinyRun.shared else { return }
            try? FileManager.default.removeItem(atPath: run.folder)
        }
        let records = String(decoding: try readFile(fixture("sst2/dev.json")), as: UTF8.self)
        try writeFile(
            path("records.json"), records.split(separator: "\n").prefix(12).joined(separator: "\n") + "\n")
        let program = Program(folder: folder)
        for arguments in [
            ["inject", Self.base, "--rank", "2", "-o", "adapter"],
            ["train", Self.base, "--adapter", "adapter", "--data", "records.json", "--eval-data", "records.json"]
                + ["-o", "tuned"] + Self.training,
        ] {
            let outcome = try program.run(arguments)
            guard outcome.status == 0 else {
                throw UnusableRun(command: arguments.joined(separator: " "), errors: outcome.errors)
            }
        }
    }
}

/// A command that the tests rest on failed.
struct UnusableRun: Error {
    let command: String
    let errors: String
}
