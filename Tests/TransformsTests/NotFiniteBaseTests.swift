import Adapters
import CheckpointIO
import Foundation
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Merging into a base that holds numbers which are none.
@Suite struct NotFiniteBaseTests {
    private static let tensor = "model.layers.0.self_attn.q_proj.weight"

    /// A copy of a small model whose tensor has these bits at these places.
    private func spoiled(
        _ source: String, to path: String, _ tensor: String, _ bits: [Int: UInt32]
    ) throws -> ModelCheckpoint {
        try FileManager.default.copyItem(atPath: source, toPath: path)
        let checkpoint = try Checkpoint.open(path)
        let record = try #require(checkpoint.record(tensor))
        let file = checkpoint.files[record.fileIndex]
        var bytes = try readFile(file)
        let width = record.encoding == .plain(.f32) ? 4 : 2
        for (place, value) in bits {
            for byte in 0..<width {
                bytes[record.offset + place * width + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte))
            }
        }
        try writeFile(file, bytes)
        return try ModelCheckpoint.open(path)
    }

    private func adapter(of base: ModelCheckpoint) throws -> AdapterDirectory {
        try randomAdapter(
            AdapterConfiguration(
                LoRASettings(LowRankNumbers(rank: 2, alpha: 2, dropout: 0)), isGated: false,
                targets: TargetSpecification(argument: "q_proj,v_proj")), on: base)
    }

    /// NaN, both infinities and a signaling NaN: kept, counted by tensor, and no change.
    @Test(arguments: [nil, "BF16"] as [String?]) func oneThatTheBaseHasIsKeptAndCounted(type: String?) throws {
        try withTemporaryFolder { folder in
            let base = try spoiled(
                AdaptedModel.randomModel, to: folder + "/base", Self.tensor,
                [0: 0x7FC0_0000, 70: 0x7F80_0000, 71: 0xFF80_0000, 4095: 0x7F80_0001])
            let merge = try CheckpointMerge(base: base, adapter: adapter(of: base))
            let report = try merge.write(
                to: OutputTarget(folder + "/out"), as: type.flatMap { TensorEncoding(writableName: $0) })
            #expect(report.notFinite == [MergeReport.NotFinite(tensor: Self.tensor, count: 4)])
            #expect(report.largestChange.isFinite && report.mergedCount == 6)
            let merged = try ModelCheckpoint.open(folder + "/out").floats(Self.tensor)
            #expect(merged[0].isNaN && merged[70] == .infinity && merged[71] == -.infinity && merged[4095].isNaN)
            #expect(merged.count { !$0.isFinite } == 4)
        }
    }

    @Test func inAGGUFFileToo() throws {
        try withTemporaryFolder { folder in
            let base = try spoiled(
                fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"), to: folder + "/base.gguf", "blk.0.attn_q.weight",
                [5: 0x7FC0, 900: 0xFF80])
            let report = try CheckpointMerge(base: base, adapter: adapter(of: base)).write(
                to: OutputTarget(folder + "/out.gguf"))
            #expect(report.notFinite.map(\.count) == [2] && report.largestChange.isFinite)
        }
    }

    /// A block whose scale is NaN has no number that something could be added to.
    @Test func blockOfAGGUFFileWithoutNumbersKeepsItsBytes() throws {
        try withTemporaryFolder { folder in
            let source = fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")
            let path = folder + "/base.gguf"
            var bytes = try readFile(source)
            let record = try #require(Checkpoint.open(source).record("blk.0.attn_q.weight"))
            // The scale, F16, of the third block of 34 bytes.
            (bytes[record.offset + 68], bytes[record.offset + 69]) = (0x00, 0x7E)
            try writeFile(path, bytes)
            let base = try ModelCheckpoint.open(path)
            let report = try CheckpointMerge(base: base, adapter: adapter(of: base)).write(
                to: OutputTarget(folder + "/out.gguf"))
            #expect(report.notFinite.map(\.count) == [32] && report.largestChange.isFinite)
            let merged = try readFile(folder + "/out.gguf")
            let there = try #require(Checkpoint.open(folder + "/out.gguf").record("blk.0.attn_q.weight"))
            let block = 68..<102
            #expect(
                merged[block.lowerBound + there.offset..<block.upperBound + there.offset]
                    == bytes[block.lowerBound + record.offset..<block.upperBound + record.offset])
        }
    }

    /// DoRA divides each row by its norm, so that one such number would make all of its row so.
    @Test func oneThatAnUpdateWouldSpreadIsRefusedByWhatItIs() throws {
        try withTemporaryFolder { folder in
            let base = try spoiled(AdaptedModel.randomModel, to: folder + "/base", Self.tensor, [70: 0x7FC0_0000])
            let sound = try ModelCheckpoint.open(AdaptedModel.randomModel)
            let adapter = try randomAdapter(
                AdapterConfiguration(
                    DoRASettings(LowRankNumbers(rank: 2, alpha: 2)), isGated: false,
                    targets: TargetSpecification(argument: "q_proj,v_proj")), on: sound)
            let error = #expect(throws: TransformError.self) {
                _ = try CheckpointMerge(base: base, adapter: adapter).write(to: OutputTarget(folder + "/out"))
            }
            #expect("\(String(describing: error))".contains("the update spreads them"))
            #expect(try names(in: folder) == ["base"])
        }
    }

    /// A sum that is none where base and update are numbers is refused as before.
    @Test func oneThatTheMergeWouldMakeIsRefused() throws {
        try withTemporaryFolder { folder in
            let base = try spoiled(
                AdaptedModel.randomModel, to: folder + "/base", Self.tensor, [0: 0x7FC0_0000, 9: 0x7F7F_FFFF])
            var adapter = try adapter(of: base)
            adapter = try AdapterDirectory(
                configuration: adapter.configuration, modules: adapter.modules,
                tensors: adapter.tensors.map { tensor in
                    AdapterTensor(tensor.name, tensor.shape, tensor.values.map { _ in 1e19 })
                })
            let error = #expect(throws: TransformError.self) {
                _ = try CheckpointMerge(base: base, adapter: adapter).write(to: OutputTarget(folder + "/out"))
            }
            #expect("\(String(describing: error))".contains("a sum is too large for F32"))
            #expect(try names(in: folder) == ["base"])
        }
    }
}
