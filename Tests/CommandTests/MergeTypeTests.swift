import Adapters
import CheckpointIO
import Foundation
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import tspeft

/// `merge --type` as a user gives it.
@Suite struct MergeTypeTests {
    /// The tiny model with an MLP of this size in two layers, `folder`/base, and an adapter on some of it.
    private func prepare(_ folder: String, intermediateSize: Int) throws -> Int {
        try FileManager.default.copyItem(atPath: fixture("tiny-llama"), toPath: folder + "/base")
        let tiny = try Checkpoint.open(fixture("tiny-llama"))
        var members = try #require(tiny.configuration?.objectValue)
        members["intermediate_size"] = .integer(intermediateSize)
        members["num_hidden_layers"] = .integer(2)
        try writeFile(folder + "/base/config.json", JSONValue.object(members).text())
        let kept = tiny.tensors.filter { !$0.name.contains(".layers.") || $0.name.contains(".layers.0.") }
        let all = kept + tiny.tensors.filter { $0.name.contains(".layers.1.") }
        let entries = all.map { record in
            SafetensorsEntry(
                name: record.name, dtype: .bf16, shape: record.shape.map { $0 == 512 ? intermediateSize : $0 })
        }
        try FileManager.default.removeItem(atPath: folder + "/base/model.safetensors")
        let writer = try SafetensorsWriter(
            AtomicFileWriter(folder + "/base/model.safetensors"), entries: entries)
        for entry in entries {
            // Numbers between 0.5 and 1 in BF16.
            var bytes = [UInt8](repeating: 0x3F, count: entry.byteCount)
            for index in stride(from: 0, to: bytes.count, by: 2) { bytes[index] = UInt8(index / 2 % 128) }
            try bytes.withUnsafeBytes { try writer.append($0) }
        }
        try writer.finish()
        let base = try ModelCheckpoint.open(folder + "/base")
        let targets = TargetSpecification.names(["q_proj", "down_proj"])
        let adapter = try randomAdapter(
            AdapterConfiguration(
                AdapterKind.lora.newSettings(rank: 1, alpha: 1, targets: targets), isGated: false, targets: targets),
            on: base)
        try adapter.write(to: OutputTarget(folder + "/adapter"))
        return entries.reduce(0) { $0 + $1.byteCount }
    }

    @Test func memoryDoesNotGrowWithTheModel() throws {
        try withTemporaryFolder { folder in
            let size = try prepare(folder, intermediateSize: 49152)
            let kibibytes = 88 << 10
            #expect(size > 110_000_000 && size > kibibytes << 10)
            let program = Program(folder: folder)
            let merged = try program.shell(
                "ulimit -d \(kibibytes); exec \"$T\" merge base --adapter adapter -o x.gguf --type q8_0 --threads 2")
            #expect(merged.status == 0, "\(merged.errors)")
            #expect(try names(in: folder) == ["adapter", "base", "x.gguf"])
        }
    }

    @Test func optionsThatContradictEachOtherAreRefused() throws {
        let run = try TinyRun.shared.get()
        let gguf = fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            for (line, status, words) in [
                ("merge \(TinyRun.base) -o x --type q4_k_m", 69, "safetensors holds no blocks"),
                ("merge \(TinyRun.base) -o x.gguf --type q9", 64, "--type must be one of"),
                ("merge \(TinyRun.base) -o x.gguf --changed-type q8_0", 69, "--changed-type Q8_0"),
                ("merge \(gguf) -o x --type q4_k", 69, "--type q4_k_m: a Hugging Face directory holds no blocks"),
                ("merge \(gguf) -o x --type bf16 --changed-type f32", 64, "--type bf16"),
                ("merge \(TinyRun.base) -o x.gguf --changed-type f32 --dtype f32", 64, "another name"),
                ("merge \(TinyRun.base) -o x.bin", 64, "no .bin file is written"),
            ] {
                let outcome = try program.run(
                    line.split(separator: " ").map(String.init) + ["--adapter", run.path("tuned")])
                #expect(outcome.status == Int32(status), "\(line): \(outcome.errors)")
                #expect(outcome.errors.contains(words) && outcome.errorLines.count == 1, "\(line): \(outcome.errors)")
                #expect(try names(in: folder).isEmpty)
            }
        }
    }

    @Test func dryRunTellsTheSizeThatComes() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let merge = ["merge", TinyRun.base, "--adapter", run.path("tuned"), "-o", "x.gguf", "--type", "q4_k"]
            let told = try program.run(merge + ["--dry-run", "--json"])
            #expect(told.status == 0 && contents(of: folder).isEmpty, "\(told.errors)")
            let json = try JSONSerialization.jsonObject(with: Data(told.output.utf8)) as? [String: Any]
            let merged = try program.run(merge)
            #expect(merged.status == 0 && merged.output.contains("changes are counted in BF16"), "\(merged.errors)")
            let size = try readFile(folder + "/x.gguf").count
            let files = json?["writes"] as? [[String: Any]]
            #expect(files?.count == 1 && files?.first?["bytes"] as? Int == size, "\(told.output)")
        }
    }
}
