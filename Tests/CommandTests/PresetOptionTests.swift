import Foundation
import TestSupport
import Testing

/// `--preset` on the command line, as it lands in the files.
@Suite struct PresetOptionTests {
    private func object(_ path: String) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(readFile(path))) as? [String: Any])
    }

    @Test func presetLandsInTheFilesAndSingleOptionsWin() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            func succeed(_ arguments: [String]) throws {
                let outcome = try program.run(arguments)
                #expect(outcome.status == 0, "\(outcome.errors)")
            }
            try succeed(["inject", TinyRun.base, "--preset", "csr", "-o", "csr"])
            let whole = try object(folder + "/csr/adapter_config.json")
            #expect(whole["r"] as? Int == 32 && whole["lora_alpha"] as? Double == 16)
            #expect(whole["lora_dropout"] as? Double == 0.05)
            #expect(
                Set(whole["target_modules"] as? [String] ?? [])
                    == ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"])
            try succeed([
                "inject", TinyRun.base, "--preset", "csr", "--rank", "2", "--dropout", "0", "--targets", "q_proj", "-o",
                "own",
            ])
            let own = try object(folder + "/own/adapter_config.json")
            #expect(own["r"] as? Int == 2 && own["lora_alpha"] as? Double == 16)
            #expect(own["lora_dropout"] as? Double == 0)
            #expect(own["target_modules"] as? [String] == ["q_proj"])

            let train = [
                "train", TinyRun.base, "--adapter", "own", "--data", run.path("records.json"), "--preset", "csr",
                "--threads", "1", "-o",
            ]
            try succeed(train + ["tuned"])
            let trained = try training(folder + "/tuned")
            #expect(trained["learning_rate"] as? Double == 1e-4 && trained["schedule"] as? String == "linear")
            #expect(trained["batch_size"] as? Int == 16 && trained["epochs"] as? Double == 3)
            #expect(trained["s"] as? Double == 4e-5 && trained["lambda"] as? Double == 4.5e-5)
            try succeed(
                train + ["changed", "--steps", "1", "--batch-size", "2", "--s", "1e-3", "--schedule", "cosine"])
            let changed = try training(folder + "/changed")
            #expect(changed["learning_rate"] as? Double == 1e-4 && changed["schedule"] as? String == "cosine")
            #expect(changed["batch_size"] as? Int == 2)
            #expect(changed["steps"] as? Int == 1 && changed["epochs"] == nil)
            #expect(changed["s"] as? Double == 1e-3 && changed["lambda"] as? Double == 4.5e-5)
        }
    }

    private func training(_ adapter: String) throws -> [String: Any] {
        try #require(try object(adapter + "/tspeft.json")["training"] as? [String: Any])
    }
}
