import Adapters
import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// An adapter that was made for a checkpoint belongs to the GGUF files that tspeft makes of it, too.
@Suite struct ConversionSourceTests {
    private static let original = fixture("tiny-llama")

    private func convert(_ path: String, _ type: String?, to output: String) throws {
        let mix = try type.map { name in try #require(QuantizationMix.all.first { $0.name.lowercased() == name }) }
        try CheckpointConversion(Checkpoint.open(path), to: .gguf, at: output, type: mix).write(threadCount: 2)
    }

    /// A LoRA that was made for the original.
    private func adapter() throws -> AdapterDirectory {
        let base = try ModelCheckpoint.open(Self.original)
        let configuration = try AdapterConfiguration(
            LoRASettings(rank: 2, alpha: 2), isGated: false, targets: .names(["q_proj", "v_proj"]))
        let modules = try configuration.match(base.linearModules).modules
        let tensors = modules.flatMap { module in
            configuration.tensorRoles(of: module.path).map { role in
                let shape = role.shape(rank: 2, outputSize: module.outputSize, inputSize: module.inputSize)
                return AdapterTensor(
                    PEFTNames.key(module.path, role.suffix), shape, randomValues(shape.reduce(1, *), seed: 5))
            }
        }
        return try AdapterDirectory(
            configuration: configuration, modules: modules.map(\.path), tensors: tensors,
            origin: AdapterOrigin(base: try BaseFingerprint(json: base.fingerprint().json)))
    }

    @Test(arguments: [nil, "f32", "bf16", "f16", "q8_0"]) func convertedBaseTakesTheOriginalsAdapter(
        _ type: String?
    ) throws {
        try withTemporaryFolder { folder in
            try convert(Self.original, type, to: folder + "/a.gguf")
            let base = try ModelCheckpoint.open(folder + "/a.gguf")
            let report = try CheckpointMerge(base: base, adapter: adapter()).write(to: folder + "/out.gguf")
            #expect(try report.mergedCount == adapter().modules.count)
            // The merge is another model, of which nothing is to be found in the original.
            let merged = try ModelCheckpoint.open(folder + "/out.gguf").fingerprint()
            #expect(merged.sources.isEmpty)
            #expect(try #require(adapter().base).difference(from: merged) != nil)
        }
    }

    /// What is quantized anew is of the file before and of the original.
    @Test func everyStepIsWrittenDown() throws {
        try withTemporaryFolder { folder in
            try convert(Self.original, "f16", to: folder + "/a.gguf")
            try convert(folder + "/a.gguf", "q8_0", to: folder + "/b.gguf")
            try convert(folder + "/b.gguf", nil, to: folder + "/c.gguf")
            let found = try ["a", "b", "c"].map { try ModelCheckpoint.open("\(folder)/\($0).gguf").fingerprint() }
            let first = try ModelCheckpoint.open(Self.original).fingerprint()
            #expect(found[1].sources == [first.digest, found[0].digest])
            // The same tensors: nothing was converted.
            #expect(found[2] == found[1] && found[2].sources == found[1].sources)
            for older in [first, found[0]] { #expect(older.difference(from: found[2]) == nil) }
            #expect(found[1].difference(from: first) != nil)
        }
    }

    /// A number that is not the original's shows where the file holds it as the original does.
    @Test func fileThatWasChangedSinceIsAnotherBase() throws {
        try withTemporaryFolder { folder in
            try convert(Self.original, nil, to: folder + "/a.gguf")
            let file = try Checkpoint.open(folder + "/a.gguf")
            let record = try #require(file.record("blk.0.attn_v.weight"))
            var bytes = try readSmallFile(folder + "/a.gguf", limit: 1 << 24)
            bytes[record.offset] ^= 1
            try writeFile(folder + "/b.gguf", bytes)
            let changed = try ModelCheckpoint.open(folder + "/b.gguf")
            let error = #expect(throws: AdapterError.self) {
                _ = try CheckpointMerge(base: changed, adapter: adapter())
            }
            #expect(error?.description.contains("belongs to another base") == true)
        }
    }

    /// A merge and a conversion in one pass write what the two would; a model with an adapter in it names no source.
    @Test func modelWithAnAdapterInItNamesNoSource() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(Self.original)
            let merge = try CheckpointMerge(base: base, adapter: adapter())
            _ = try merge.write(to: folder + "/merged")
            try convert(folder + "/merged", nil, to: folder + "/a.gguf")
            #expect(try ModelCheckpoint.open(folder + "/a.gguf").fingerprint().sources.isEmpty)
        }
    }
}
