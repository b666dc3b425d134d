import Adapters
import TestSupport
import Testing

/// What `inject` adapts where no modules are named.
@Suite struct DefaultTargetTests {
    private func run(_ folder: String, _ line: String) throws -> Program.Outcome {
        try Program(folder: folder).run(line.split(separator: " ").map(String.init))
    }

    /// The last parts of the adapted modules' paths.
    private func adapted(_ path: String) throws -> Set<String> {
        Set(try AdapterDirectory.read(path).modules.compactMap { $0.split(separator: ".").last.map(String.init) })
    }

    @Test(arguments: [
        ("tiny-decoders/phi3", ["qkv_proj", "gate_up_proj", "down_proj"]),
        ("tiny-decoders/glm4", ["q_proj", "k_proj", "v_proj", "gate_up_proj", "down_proj"]),
        ("tiny-decoders/mixtral", ["q_proj", "k_proj", "v_proj"]),
        ("tiny-decoders/gpt_oss", ["q_proj", "k_proj", "v_proj"]),
        ("tiny-decoders/smollm3", ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]),
        ("any-model/gpt2", ["c_attn"]), ("any-model/bert", ["query", "value"]), ("any-model/t5", ["q", "v"]),
    ])
    func everyArchitectureHasItsOwn(_ base: String, _ targets: [String]) throws {
        try withTemporaryFolder { folder in
            let outcome = try run(folder, "inject \(fixture(base)) --method lora --rank 1 -o new")
            #expect(outcome.status == 0, "\(outcome.errors)")
            #expect(try adapted(folder + "/new") == Set(targets))
        }
    }

    @Test(arguments: [
        ("any-model/whisper", "--method lora"), ("tiny-decoders/phi3", "--method ia3"),
        ("tiny-decoders/gpt_oss", "--method lora --preset csr"),
    ])
    func baseWithoutThemIsToldHowToNameItsOwn(_ base: String, _ options: String) throws {
        try withTemporaryFolder { folder in
            let outcome = try run(folder, "inject \(fixture(base)) \(options) -o new")
            #expect(outcome.status == 65 && outcome.errorLines.count == 1, "\(outcome.errors)")
            #expect(outcome.errors.contains("--targets all-linear"), "\(outcome.errors)")
            #expect(try names(in: folder).isEmpty)
        }
    }

    @Test func expertsThatAllLinearLeavesOutAreTold() throws {
        try withTemporaryFolder { folder in
            let base = fixture("tiny-decoders/qwen3_moe")
            let mixture = try run(folder, "inject \(base) --method lora --rank 1 --targets all-linear -o a")
            #expect(mixture.status == 0 && mixture.errorLines.count == 1, "\(mixture.errors)")
            #expect(mixture.errors.contains("leaves out the experts and routers"), "\(mixture.errors)")
            let dense = fixture("tiny-decoders/smollm3")
            let plain = try run(folder, "inject \(dense) --method lora --rank 1 --targets all-linear -o b")
            #expect(plain.status == 0 && plain.errors.isEmpty, "\(plain.errors)")
        }
    }
}
