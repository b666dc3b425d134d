import Adapters
import CheckpointIO
import Foundation
import TestSupport
import Testing

/// Names that Unicode calls equivalent and that are two to every other program: bytes are what counts, in every command.
@Suite struct NameBytesTests {
    static let composed = "caf\u{E9}"
    static let decomposed = "cafe\u{301}"

    private func succeed(_ folder: String, _ line: String) throws -> String {
        let outcome = try Program(folder: folder).run(line.split(separator: " ").map(String.init))
        #expect(outcome.status == 0, "\(line): \(outcome.errors)")
        return outcome.output
    }

    private func values(_ factor: Float) -> [Float] { (0..<12).map { Float($0) * factor } }

    @Test func twoSpellingsAreTwoTensorsToEveryCommand() throws {
        try withTemporaryFolder { folder in
            let base: [(name: String, shape: [Int], values: [Float])] = [
                ("block.\(Self.composed).weight", [3, 4], values(1)),
                ("block.\(Self.decomposed).weight", [3, 4], values(2)),
            ]
            try SafetensorsWriter.write(base, to: folder + "/base.safetensors")
            #expect(try Checkpoint.open(folder + "/base.safetensors").tensors.count == 2)
            _ = try succeed(folder, "inspect base.safetensors --stats")
            _ = try succeed(folder, "inject base.safetensors --method lora --rank 1 --targets \(Self.composed) -o one")
            let one = try AdapterDirectory.read(folder + "/one")
            #expect(one.modules.map { Array($0.utf8) } == [Array("block.\(Self.composed)".utf8)])
            _ = try succeed(folder, "inject base.safetensors --method lora --rank 1 --targets all-linear -o two")
            #expect(try AdapterDirectory.read(folder + "/two").modules.count == 2)

            // A change for one of the two.
            let prefix = "base_model.model.block.\(Self.decomposed)"
            try SafetensorsWriter.write(
                [
                    (prefix + ".lora_A.weight", [1, 4], [1, 0, 0, 0]),
                    (prefix + ".lora_B.weight", [3, 1], [1, 1, 1]),
                ], to: folder + "/one/adapter_model.safetensors", replacing: true)
            try writeFile(
                folder + "/one/adapter_config.json",
                #"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["\#(Self.decomposed)"]}"#)
            #expect(removeFile(folder + "/one/tspeft.json"))
            _ = try succeed(folder, "merge base.safetensors --adapter one -o merged")
            let merged = try Checkpoint.open(folder + "/merged")
            #expect(try merged.floats(of: merged.requiredRecord(base[0].0)) == values(1))
            let changed = try merged.floats(of: merged.requiredRecord(base[1].0))
            #expect(changed == values(2).enumerated().map { $0 % 4 == 0 ? $1 + 1 : $1 })
            let compared = try succeed(folder, "inspect base.safetensors merged")
            #expect(compared.contains("1 "), "\(compared)")

            _ = try succeed(folder, "convert base.safetensors --max-shard-size 60 -o sharded")
            #expect(try Checkpoint.open(folder + "/sharded").files.count == 2)
            let sharded = try Checkpoint.open(folder + "/sharded")
            #expect(try sharded.floats(of: sharded.requiredRecord(base[1].0)) == values(2))
        }
    }

    /// Layers and experts of names may have any number; nothing is computed with one that cannot be.
    @Test(arguments: [
        "model.layers.NUMBER.self_attn.q_proj", "transformer.h.NUMBER.attn.c_attn", "a.NUMBER.b.NUMBER",
        "model.layers.NUMBER.mlp.experts.NUMBER.up_proj", "model.layers.0.mlp.experts.NUMBER.up_proj",
    ])
    func numbersInNamesMayBeAny(pattern: String) throws {
        try withTemporaryFolder { folder in
            let modules = ["9223372036854775807", "9223372036854775806", "0", "99999999999999999999999"].map {
                pattern.replacing("NUMBER", with: $0)
            }
            try SafetensorsWriter.write(
                modules.map { ($0 + ".weight", [3, 4], values(1)) }, to: folder + "/base.safetensors")
            mkdir(folder + "/adapter", 0o755)
            let list = modules.map { "\"\($0)\"" }.joined(separator: ", ")
            try writeFile(
                folder + "/adapter/adapter_config.json",
                #"{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": [\#(list)]}"#)
            let factors = modules.flatMap { module -> [(name: String, shape: [Int], values: [Float])] in
                let prefix = "base_model.model.\(module)"
                return [
                    (prefix + ".lora_A.weight", [1, 4], [1, 0, 0, 0]),
                    (prefix + ".lora_B.weight", [3, 1], [1, 1, 1]),
                ]
            }
            try SafetensorsWriter.write(factors, to: folder + "/adapter/adapter_model.safetensors")
            for line in [
                "inspect base.safetensors", "inspect adapter --against base.safetensors", "inspect adapter --json",
                "merge base.safetensors --adapter adapter -o merged", "export adapter --to peft -o exported",
                "inject base.safetensors --method lora --rank 1 --targets all-linear -o new",
                "convert base.safetensors -o half --type bf16", "prune adapter --select kept.json -o pruned",
                "export adapter --to gguf-lora --base base.safetensors -o lora.gguf",
                "export adapter --to mlx --base base.safetensors -o mlx",
            ] {
                let outcome = try Program(folder: folder).run(line.split(separator: " ").map(String.init))
                #expect((0...74).contains(outcome.status), "\(line): \(outcome.errors)")
            }
        }
    }

    /// Neither looking for names near to it nor telling of it takes longer than for another.
    @Test func nameThatFillsAFileIsRefusedAsAnyOther() throws {
        let tuned = try TinyRun.shared.get().path("tuned")
        try withTemporaryFolder { folder in
            let name = String(repeating: "a", count: 4_000_000)
            try writeFile(folder + "/kept.json", "{\"modules\": [\"\(name)\"]}")
            for arguments in [
                ["prune", tuned, "--select", "kept.json", "-o", "out"],
                ["inject", TinyRun.base, "--select", "kept.json", "-o", "out"],
            ] {
                let outcome = try Program(folder: folder).run(arguments)
                #expect(outcome.status == 65 && outcome.errorLines.count == 1)
                #expect(outcome.errors.utf8.count < 5000 && outcome.errors.contains("module 'aaaa"))
            }
        }
    }

    @Test func ggufTakesBothSpellings() throws {
        try withTemporaryFolder { folder in
            var builder = GGUFBuilder()
            builder.add("general.architecture", text: "unknown")
            for (name, byte) in [(Self.composed, UInt8(1)), (Self.decomposed, 2)] {
                builder.addTensor(name + ".weight", extents: [4], type: 0, data: [UInt8](repeating: byte, count: 16))
            }
            try writeFile(folder + "/two.gguf", builder.file)
            let opened = try Checkpoint.open(folder + "/two.gguf")
            #expect(opened.tensors.count == 2)
            #expect(opened.record(Self.composed + ".weight") != opened.record(Self.decomposed + ".weight"))
            _ = try succeed(folder, "inspect two.gguf")
        }
    }
}
