import Adapters
import CheckpointIO
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Merging into GGUF files of models without a graph: what comes out is the conversion of the merged checkpoint. That the
/// table reads such files as their checkpoints is what `GGUFNamesTests` holds against conversions made elsewhere.
@Suite struct GGUFNamesMergeTests {
    /// The checkpoint of a fixture, in F32, as far as its tensors are known by name.
    private func checkpoint(of model: GGUFNamesFixture, in folder: String) throws -> ModelCheckpoint {
        let directory = try AtomicDirectory(folder + "/base")
        try directory.write("config.json", text: #"{"model_type": "of no graph"}"#)
        let tensors = model.tensors.filter { $0.name != nil }
        let writer = try SafetensorsWriter(
            try directory.writer("model.safetensors"),
            entries: tensors.map { SafetensorsEntry(name: $0.name ?? "", dtype: .f32, shape: $0.shape) }, metadata: [])
        for tensor in tensors { try encoded(tensor.values, .f32).withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
        try directory.commit()
        return try ModelCheckpoint.open(folder + "/base")
    }

    @Test(arguments: GGUFNamesFixture.models, [AdapterKind.lora, .dora])
    func mergedFileIsTheConversionOfTheMergedCheckpoint(_ name: String, _ kind: AdapterKind) throws {
        let model = try GGUFNamesFixture(name)
        try withTemporaryFolder { folder in
            let base = try checkpoint(of: model, in: folder)
            let adapter = try randomAdapter(
                AdapterConfiguration(
                    kind.newSettings(rank: 3, alpha: 5), isGated: false,
                    targets: .names(base.linearModules.map(\.path))),
                on: base)
            #expect(adapter.modules.count > 4)
            _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged")
            let expected = try ModelCheckpoint.open(folder + "/merged")
            let file = try ModelCheckpoint.open(model.path)
            _ = try CheckpointMerge(base: file, adapter: adapter).write(to: folder + "/merged.gguf", as: .plain(.f32))
            let found = try ModelCheckpoint.open(folder + "/merged.gguf")
            #expect(found.tensorNames == file.tensorNames)
            let changed = Set(adapter.modules.map(CheckpointNames.weight(of:)))
            for tensor in file.tensorNames where !changed.contains(tensor) {
                let (old, new) = (file.record(of: tensor)!, found.record(of: tensor)!)
                #expect(try bytes(file.checkpoint, old.name) == bytes(found.checkpoint, new.name), "\(tensor)")
            }
            for tensor in changed {
                #expect(found.record(of: tensor)?.encoding == .plain(.f32))
                let (want, got) = (try expected.floats(tensor), try found.floats(tensor))
                let largest = want.map(\.magnitude).max() ?? 0
                // Columns that lie elsewhere are rounded elsewhere in a vector, and DoRA's norms added up in their order.
                let bound = (kind == .dora ? 4 : 1) * largest.ulp
                #expect(zip(want, got).allSatisfy { abs($0 - $1) <= bound }, "\(tensor)")
            }
        }
    }

    @Test func updateOfATensorThatTheTableLacksIsRefused() throws {
        for module in ["blk.0.ffn_down_exps", "model.layers.0.mlp.experts"] {
            try withTemporaryFolder { folder in
                let adapter = try adapter(of: module, outputSize: 12, inputSize: 10)
                let file = try ModelCheckpoint.open(try GGUFNamesFixture("gpt_oss").path)
                #expect(throws: (any Error).self) { try CheckpointMerge(base: file, adapter: adapter) }
            }
        }
    }

    @Test func headOfItsOwnIsRefusedWhereTheFormatHasNone() throws {
        try withTemporaryFolder { folder in
            let adapter = try adapter(of: "lm_head", outputSize: 14, inputSize: 12)
            let merge = try CheckpointMerge(
                base: try ModelCheckpoint.open(try GGUFNamesFixture("gemma2").path), adapter: adapter)
            let error = try #require(throws: TransformError.self) { try merge.write(to: folder + "/merged.gguf") }
            #expect(error.exitStatus == .unsupported && error.description.contains("'lm_head.weight'"), "\(error)")
            #expect(try names(in: folder) == [])
            let other = try CheckpointMerge(
                base: try ModelCheckpoint.open(try GGUFNamesFixture("gemma3_text").path), adapter: adapter)
            _ = try other.write(to: folder + "/merged.gguf", as: .plain(.f32))
            #expect(try Checkpoint.open(folder + "/merged.gguf").record("output.weight")?.shape == [14, 12])
        }
    }

    @Test func changesOfEveryKindFollowRowsAndColumns() {
        let rows = RowOrder.rotaryPairs(headSize: 4)
        let columns = RowOrder.transposedGroups(first: 0, groupCount: 2, groupSize: 3, headSize: 1)
        let (height, width) = (8, 6)
        let low = LowRankChange(
            a: randomValues(2 * width, seed: 1, in: -1...1), b: randomValues(height * 2, seed: 2, in: -1...1), rank: 2,
            scale: 0.5)
        let changes: [TensorChange] = [
            .added(low), .rescaled(low, magnitude: randomValues(height, seed: 3, in: 1...2), share: 0.5),
            .scaled(ScaledChange(factors: randomValues(width, seed: 4, in: 1...2), axis: .columns)),
            .scaled(ScaledChange(factors: randomValues(height, seed: 5, in: 1...2), axis: .rows)),
            .rescaledColumns(low, factors: randomValues(width, seed: 6, in: 1...2), share: 1),
        ]
        let base = randomValues(height * width, seed: 7, in: -1...1)
        var stored = base
        for row in 0..<height {
            for column in 0..<width {
                stored[rows.gguf(row) * width + columns.gguf(column)] = base[row * width + column]
            }
        }
        for change in changes {
            var (plain, file) = (base, stored)
            plain.withUnsafeMutableBufferPointer {
                change.apply(to: $0.baseAddress!, before: base, rows: 0..<height, width: width)
            }
            let inFile = change.stored(in: GGUFForm(rows: rows, columns: columns), rowCount: height)
            file.withUnsafeMutableBufferPointer {
                inFile.apply(to: $0.baseAddress!, before: stored, rows: 0..<height, width: width)
            }
            for row in 0..<height {
                for column in 0..<width {
                    let (want, got) = (
                        plain[row * width + column], file[rows.gguf(row) * width + columns.gguf(column)]
                    )
                    #expect(abs(want - got) <= 4 * Float(1).ulp)
                }
            }
        }
    }

    /// An adapter of one module.
    private func adapter(of module: String, outputSize: Int, inputSize: Int) throws -> AdapterDirectory {
        try AdapterDirectory(
            configuration: AdapterConfiguration(
                AdapterKind.lora.newSettings(rank: 2, alpha: 4), isGated: false, targets: .names([module])),
            modules: [module],
            tensors: [
                AdapterTensor(
                    PEFTNames.key(module, PEFTNames.loraA), [2, inputSize],
                    randomValues(2 * inputSize, seed: 1, in: -1...1)),
                AdapterTensor(
                    PEFTNames.key(module, PEFTNames.loraB), [outputSize, 2],
                    randomValues(outputSize * 2, seed: 2, in: -1...1)),
            ])
    }
}
