import CheckpointIO
import TestSupport
import Testing

/// Paths that are something else than what was meant.
@Suite struct PathMessageTests {
    private func refused(_ folder: String, _ line: String) throws -> Program.Outcome {
        try Program(folder: folder).run(line.split(separator: " ").map(String.init))
    }

    @Test func pointersOfLargeFilesAreNamedAsSuch() throws {
        try withTemporaryFolder { folder in
            try writeFile(
                folder + "/model.safetensors",
                "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 4400216480\n")
            for line in ["inspect model.safetensors", "inspect ."] {
                let outcome = try refused(folder, line)
                #expect(outcome.status == 66 && outcome.errorLines.count == 1, "\(outcome.errors)")
                #expect(outcome.errors.contains("Git LFS pointer") && outcome.errors.contains("4400216480 bytes"))
            }
        }
    }

    @Test func namesOfTheHubAndFoldersOfItsCacheAreToldHowToUse() throws {
        try withTemporaryFolder { folder in
            let hub = try refused(folder, "inspect HuggingFaceTB/SmolLM2-135M")
            #expect(hub.status == 66, "\(hub.errors)")
            #expect(hub.errors.contains("hf download HuggingFaceTB/SmolLM2-135M"), "\(hub.errors)")
            let plain = try refused(folder, "inspect missing/model.gguf")
            #expect(plain.status == 66 && !plain.errors.contains("hf download"), "\(plain.errors)")

            let cache = folder + "/models--a--b"
            let made = try AtomicDirectory(cache)
            try made.commit()
            for name in ["refs", "snapshots"] { try AtomicDirectory(cache + "/" + name).commit() }
            try AtomicDirectory(cache + "/snapshots/0a1b2c").commit()
            let cached = try refused(folder, "inspect models--a--b")
            #expect(cached.errors.contains("models--a--b/snapshots/0a1b2c"), "\(cached.errors)")
        }
    }

    @Test func adapterWithANaNIsLookedAt() throws {
        try withTemporaryFolder { folder in
            let made = try AtomicDirectory(folder + "/adapter")
            try made.write(
                "adapter_config.json",
                text: #"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}"#)
            try SafetensorsWriter.write(
                [
                    ("base_model.model.a.q_proj.lora_A.weight", [1, 4], [1, .nan, 0, 0]),
                    ("base_model.model.a.q_proj.lora_B.weight", [3, 1], [1, .infinity, 1]),
                ], to: try made.writer("adapter_model.safetensors"))
            try made.commit()
            for line in ["inspect adapter", "inspect adapter --stats", "inspect adapter --checksum"] {
                let outcome = try refused(folder, line)
                #expect(outcome.status == 0, "\(line): \(outcome.errors)")
            }
        }
    }
}
