import CheckpointIO
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Adapters
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

    /// gpt-oss: gate and up alternate in a checkpoint's columns, and are tensors of their own in the file, transposed.
    @Test(arguments: [true, false]) func expertsThatAlternateFindTheirRows(isPacked: Bool) throws {
        let file = try ModelCheckpoint.open(try GGUFNamesFixture("gpt_oss").path)
        let shape = try #require(file.shape(of: "blk.0.ffn_down_exps.bias"))
        let (experts, width) = (shape[0], shape[1])
        let inner = try #require(file.shape(of: "model.layers.0.mlp.experts.w1"))[1]
        func old(_ layer: Int, _ part: String, _ checkpoint: ModelCheckpoint) throws -> [Float] {
            try checkpoint.floats("model.layers.\(layer).mlp.experts.\(part)")
        }
        try withTemporaryFolder { folder in
            let directory = try AtomicDirectory(folder + "/base")
            let settings = #"{"model_type": "gpt_oss", "architectures": ["GptOssForTokenClassification"]}"#
            try directory.write("config.json", text: settings)
            let names = [0, 1].flatMap { layer in
                ["gate_up_proj", "down_proj"].map { "model.layers.\(layer).mlp.experts.\($0)" }
            }
            let shapes = [0, 1].flatMap { _ in [[experts, width, 2 * inner], [experts, inner, width]] }
            let writer = try SafetensorsWriter(
                try directory.writer("model.safetensors"),
                entries: zip(names, shapes).map { SafetensorsEntry(name: $0, dtype: .f32, shape: $1) }, metadata: [])
            for layer in [0, 1] {
                let (gate, up, down) = (
                    try old(layer, "w1", file), try old(layer, "w3", file), try old(layer, "w2", file)
                )
                var both = [Float](repeating: 0, count: 2 * gate.count)
                var turned = down
                for expert in 0..<experts {
                    for row in 0..<inner {
                        for column in 0..<width {
                            let place = (expert * inner + row) * width + column
                            let target = ((expert * width + column) * inner + row) * 2
                            (both[target], both[target + 1]) = (gate[place], up[place])
                            turned[place] = down[(expert * width + column) * inner + row]
                        }
                    }
                }
                for values in [both, turned] { try encoded(values, .f32).withUnsafeBytes { try writer.append($0) } }
            }
            try writer.finish()
            try directory.commit()
            let adapter = try isPacked ? packedExperts(experts, width, inner) : singleExperts(width, inner)
            _ = try CheckpointMerge(base: try ModelCheckpoint.open(folder + "/base"), adapter: adapter)
                .write(to: folder + "/merged")
            _ = try CheckpointMerge(base: file, adapter: adapter).write(to: folder + "/merged.gguf", as: .plain(.f32))
            let (want, got) = (
                try ModelCheckpoint.open(folder + "/merged"), try ModelCheckpoint.open(folder + "/merged.gguf")
            )
            for layer in [0, 1] {
                let (gate, up) = (try old(layer, "w1", got), try old(layer, "w3", got))
                let (both, down) = (try old(layer, "gate_up_proj", want), try old(layer, "down_proj", want))
                let found = try old(layer, "w2", got)
                let size = both.map(\.magnitude).max() ?? 0
                for expert in 0..<experts {
                    for row in 0..<inner {
                        for column in 0..<width {
                            let place = (expert * inner + row) * width + column
                            let target = ((expert * width + column) * inner + row) * 2
                            #expect(abs(gate[place] - both[target]) <= size.ulp)
                            #expect(abs(up[place] - both[target + 1]) <= size.ulp)
                            let turned = found[(expert * width + column) * inner + row]
                            #expect(abs(turned - down[place]) <= size.ulp)
                        }
                    }
                }
                #expect(try gate != old(layer, "w1", file) && up != old(layer, "w3", file))
                #expect(try found != old(layer, "w2", file))
            }
        }
    }

    /// LoRA on the packed parameters of both layers.
    private func packedExperts(_ experts: Int, _ width: Int, _ inner: Int) throws -> AdapterDirectory {
        var updates: [MatrixUpdate] = []
        for layer in [0, 1] {
            for (name, sizes) in [("gate_up_proj", (2 * inner, width)), ("down_proj", (width, inner))] {
                let path = "model.layers.\(layer).mlp.experts"
                let seed = UInt64(10 * layer + sizes.0)
                updates.append(
                    MatrixUpdate(
                        path: path, form: .parameter(name: name, expertCount: experts),
                        a: AdapterTensor(
                            "\(path).\(name).a", [2 * experts, sizes.1],
                            randomValues(2 * experts * sizes.1, seed: seed, in: -1...1)),
                        b: AdapterTensor(
                            "\(path).\(name).b", [sizes.0, 2 * experts],
                            randomValues(sizes.0 * 2 * experts, seed: seed + 1, in: -1...1)),
                        magnitude: nil, rank: 2, scale: 0.5))
            }
        }
        return try AdapterDirectory(
            configuration: AdapterConfiguration(
                AdapterKind.lora.newSettings(rank: 2, alpha: 1), isGated: false, targets: .names(["none"])),
            modules: [], tensors: [], extras: AdapterExtras(updates: updates))
    }

    /// LoRA on the matrices of one expert in each layer, gate and up together, and apart.
    private func singleExperts(_ width: Int, _ inner: Int) throws -> AdapterDirectory {
        let sizes: [(module: String, rows: Int, columns: Int)] = [
            ("model.layers.0.mlp.experts.gate_up_projs.1", 2 * inner, width),
            ("model.layers.0.mlp.experts.down_projs.1", width, inner),
            ("model.layers.1.mlp.experts.2.gate_proj", inner, width),
            ("model.layers.1.mlp.experts.2.up_proj", inner, width),
            ("model.layers.1.mlp.experts.2.down_proj", width, inner),
        ]
        var tensors: [AdapterTensor] = []
        for (index, size) in sizes.enumerated() {
            let seed = UInt64(7 * index)
            tensors.append(
                AdapterTensor(
                    PEFTNames.key(size.module, PEFTNames.loraA), [2, size.columns],
                    randomValues(2 * size.columns, seed: seed, in: -1...1)))
            tensors.append(
                AdapterTensor(
                    PEFTNames.key(size.module, PEFTNames.loraB), [size.rows, 2],
                    randomValues(size.rows * 2, seed: seed + 1, in: -1...1)))
        }
        return try AdapterDirectory(
            configuration: AdapterConfiguration(
                AdapterKind.lora.newSettings(rank: 2, alpha: 1), isGated: false, targets: .names(sizes.map(\.module))),
            modules: sizes.map(\.module), tensors: tensors)
    }

    /// RoBERTa's positions: the file begins behind the padding token's row.
    @Test func positionsThatTheFileLeavesOutAreLeftOutOfUpdates() throws {
        let (rows, width, dropped) = (6, 4, 2)
        let stored = randomValues(rows * width, seed: 1, in: -1...1)
        func file(_ folder: String, padding: UInt32?) throws -> ModelCheckpoint {
            var builder = GGUFBuilder()
            builder.add("general.architecture", text: "bert")
            builder.add("bert.block_count", integer: 1)
            builder.add("tokenizer.ggml.model", text: "gpt2")
            if let padding { builder.add("tokenizer.ggml.padding_token_id", integer: padding) }
            builder.addTensor("position_embd.weight", shape: [rows, width], floats: stored)
            try writeFile(folder + "/model.gguf", builder.file)
            return try ModelCheckpoint.open(folder + "/model.gguf")
        }
        let path = "roberta.embeddings.position_embeddings"
        func adapter(_ count: Int, magnitude: Bool = false) throws -> AdapterDirectory {
            let kind = magnitude ? AdapterKind.dora : .lora
            let update = MatrixUpdate(
                path: path, form: .embedding,
                a: AdapterTensor("a", [2, count], randomValues(2 * count, seed: 2, in: -1...1)),
                b: AdapterTensor("b", [width, 2], randomValues(2 * width, seed: 3, in: -1...1)),
                magnitude: magnitude ? AdapterTensor("m", [width], [1, 2, 3, 4]) : nil, rank: 2, scale: 0.5)
            return try AdapterDirectory(
                configuration: AdapterConfiguration(
                    kind.newSettings(rank: 2, alpha: 1), isGated: false, targets: .names(["position_embeddings"])),
                modules: [], tensors: [], extras: AdapterExtras(updates: [update]))
        }
        try withTemporaryFolder { folder in
            let base = try file(folder, padding: UInt32(dropped - 1))
            let whole = try adapter(rows + dropped)
            _ = try CheckpointMerge(base: base, adapter: whole).write(to: folder + "/merged.gguf")
            let merged = try Checkpoint.open(folder + "/merged.gguf")
            let found = try merged.floats(of: merged.requiredRecord("position_embd.weight"))
            let (a, b) = (whole.extras.updates[0].a.values, whole.extras.updates[0].b.values)
            for row in 0..<rows {
                for column in 0..<width {
                    let sum = (0..<2).reduce(0.0) {
                        $0 + Double(a[$1 * (rows + dropped) + row + dropped]) * Double(b[column * 2 + $1])
                    }
                    let want = Double(stored[row * width + column]) + 0.5 * sum
                    #expect(abs(Double(found[row * width + column]) - want) < 1e-6)
                }
            }
            for other in [try adapter(rows), try adapter(rows + dropped + 1)] {
                #expect(throws: TransformError.self) { try CheckpointMerge(base: base, adapter: other) }
            }
            let norms = try adapter(rows + dropped, magnitude: true)
            #expect(throws: TransformError.self) { try CheckpointMerge(base: base, adapter: norms) }
            // Where nothing says how many rows are left out, the table has no name.
            #expect(removeFile(folder + "/model.gguf"))
            let silent = try file(folder, padding: nil)
            #expect(throws: TransformError.self) { try CheckpointMerge(base: silent, adapter: whole) }
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
