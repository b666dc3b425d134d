import Adapters
import CKernels
import CheckpointIO
import Compute
import Glibc
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Merging adapters of every method.
@Suite struct MethodMergeTests {
    static let kinds: [AdapterKind] = [.lora, .dora, .adalora, .vera, .ia3]

    @Test(arguments: kinds, [DType.f32, .bf16, .f16, .f64])
    func mergedWeightsAreOneRoundingFromTheFormula(_ kind: AdapterKind, _ dtype: DType) throws {
        for share in [nil, 0.375] {
            try withTemporaryFolder { folder in
                let base = try OddModel.base(in: folder, dtype)
                let adapter = try OddModel.adapter(kind, activeShare: share)
                let report = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged")
                #expect(report.mergedCount == 3 && report.moduleCount == 3)
                let merged = try ModelCheckpoint.open(folder + "/merged")
                for module in adapter.modules {
                    let name = CheckpointNames.weight(of: module)
                    let old = try doubles(base.checkpoint, name)
                    let new = try doubles(merged.checkpoint, name)
                    let (values, magnitudes) = try OddModel.exact(
                        adapter, module, base: old, width: base.shape(of: name)![1], factor: share ?? 1)
                    var worst = 0.0
                    for index in values.indices {
                        // The products of the factors are added up in float32 whatever the type; DoRA's norms too.
                        let rounding = unitInLastPlace(of: values[index], in: dtype) / 2 * 1.001
                        let bound = rounding + 10 * magnitudes[index] * 0x1p-24
                        worst = max(worst, abs(new[index] - values[index]) / bound)
                    }
                    #expect(worst <= 1, "\(module)")
                }
                let other = try bytes(merged.checkpoint, "model.layers.0.mlp.up_proj.weight")
                #expect(try other == bytes(base.checkpoint, "model.layers.0.mlp.up_proj.weight"))
            }
        }
    }

    /// What `merge_and_unload` wrote (Tests/Scripts/make_merge_fixtures.py), within a unit in the last place of the
    /// larger of weight and change, element by element. A processor without fused products adds them up otherwise than
    /// PyTorch; there it is a unit of the tensor's largest.
    @Test(
        arguments: [
            "llama-lora-dense", "llama-rslora", "llama-dora", "llama-adalora", "llama-vera", "llama-ia3",
        ],
        [DType.f32, .bf16])
    func mergedWeightsAreThoseOfPEFT(_ name: String, _ dtype: DType) throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(
                makeBase(in: folder, dtype: dtype, model: "golden/\(name)/model"))
            let adapter = try AdapterDirectory.read(fixture("golden/\(name)/adapter"))
            _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged")
            try expectPEFTs(name, dtype, base: base, merged: folder + "/merged")
        }
    }

    @Test func sumOfAdaptersIsThatOfPEFT() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(fixture("golden/llama-lora-dense/model"))
            let adapters = [
                WeightedAdapter(try AdapterDirectory.read(fixture("golden/llama-lora-dense/adapter"))),
                WeightedAdapter(try AdapterDirectory.read(fixture("golden/llama-rslora/adapter")), weight: 0.3),
            ]
            _ = try CheckpointMerge(base: base, adapters: adapters).write(to: folder + "/merged")
            // There the factors go into A, here into B, so that single sums are rounded otherwise.
            try expectPEFTs("lora-sum", .f32, base: base, merged: folder + "/merged", ofLargest: true)
        }
    }

    private func expectPEFTs(
        _ name: String, _ dtype: DType, base: ModelCheckpoint, merged path: String, ofLargest: Bool = false
    ) throws {
        let peft = try SafetensorsFile.open(fixture("merged/\(name).safetensors"))
        let merged = try ModelCheckpoint.open(path)
        for part in ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"] {
            let tensor = "model.layers.1.\(part).weight"
            let expected = try peft.floats(of: peft.requiredRecord("\(dtype.rawValue).\(tensor)")).map(Double.init)
            let old = try doubles(base.checkpoint, tensor)
            let found = try doubles(merged.checkpoint, tensor)
            let sizes = zip(old, expected).map { max(abs($0), abs($1 - $0)) }
            let largest = sizes.max()!
            var worst = 0.0
            for index in found.indices {
                let size = ofLargest || tspeft_cpu_level() == 0 ? largest : sizes[index]
                worst = max(worst, abs(found[index] - expected[index]) / unitInLastPlace(of: size, in: dtype))
            }
            #expect(worst <= 1, "\(tensor)")
        }
    }

    @Test(arguments: kinds, [false, true]) func mergedModelComputesWhatTheAdapterDoes(
        _ kind: AdapterKind, _ gated: Bool
    ) throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            // With all of its tokens active a gate is none.
            let adapter = try OddModel.adapter(kind, activeShare: gated ? 1 : nil)
            let thresholds = gated ? NameTable(uniqueKeysWithValues: adapter.modules.map { ($0, Float(-1)) }) : [:]
            _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged")
            let context = ComputeContext(dtype: .f32, threadCount: 1)
            let model = try base.makeModel(context)
            let tokens = AdaptedModel.tokens(17, seed: 3, below: 23)
            let bare = try AdaptedModel.logits(model, [tokens])
            _ = try InjectedAdapter(
                into: model, adapter.configuration, tensors: adapter.allTensors, thresholds: thresholds,
                source: "adapter")
            let expected = try AdaptedModel.logits(model, [tokens])
            let found = try AdaptedModel.logits(
                ModelCheckpoint.open(folder + "/merged").makeModel(context), [tokens])
            #expect(relativeError(found, expected) < 2e-6)
            #expect(relativeError(bare, expected) > 0.01)
        }
    }

    @Test func parallelAdapterIsRefused() throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            for share in [nil, 0.5] {
                let error = #expect(throws: TransformError.self) {
                    try CheckpointMerge(base: base, adapter: OddModel.adapter(.adapter, activeShare: share))
                }
                #expect(error?.exitStatus == .unsupported)
                #expect(error?.description.contains("not linear") == true)
            }
        }
    }

    @Test func ranklessModulesOfAdaLoRAAreLeftAndTold() throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            let none = [false, false, false]
            let kept: NameTable = [
                OddModel.modules[0]: none, OddModel.modules[1]: [true, false, true],
                OddModel.modules[2]: [true, true, true],
            ]
            let adapter = try OddModel.adapter(.adalora, keptRanks: kept)
            let report = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged")
            #expect(report.mergedCount == 2 && report.moduleCount == 3)
            #expect(report.parts[0].withoutRank.map(\.plan.module) == [OddModel.modules[0]])
            #expect(report.parts[0].lostInRounding.isEmpty && report.parts[0].neverFiring.isEmpty)
            let merged = try Checkpoint.open(folder + "/merged")
            for module in OddModel.modules {
                let name = CheckpointNames.weight(of: module)
                let isSame = try bytes(merged, name) == bytes(base.checkpoint, name)
                #expect(isSame == (kept[module] == none))
            }
            let all = try OddModel.adapter(
                .adalora, keptRanks: NameTable(uniqueKeysWithValues: OddModel.modules.map { ($0, none) }))
            let error = #expect(throws: TransformError.self) { try CheckpointMerge(base: base, adapter: all) }
            #expect(error?.description.contains("the rank of every module is 0") == true)
        }
    }

    @Test(arguments: [DType.f32, .bf16, .f64]) func biasOfLoRAIsAddedToTheBasesBias(_ dtype: DType) throws {
        let modules = Array(OddModel.modules[..<2])
        for share in [nil, 0.375] {
            try withTemporaryFolder { folder in
                let base = try OddModel.base(in: folder, dtype, hasBias: true)
                let adapter = try OddModel.adapter(.lora, activeShare: share, hasLoRABias: true, modules: modules)
                let report = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged")
                #expect(report.parts[0].modules.map(\.weightCount) == [18 * 18 + 18, 6 * 18 + 6])
                #expect(report.total.weightCount == 18 * 18 + 18 + 6 * 18 + 6)
                let merged = try ModelCheckpoint.open(folder + "/merged")
                for module in modules {
                    let name = CheckpointNames.bias(of: module)
                    let old = try doubles(base.checkpoint, name)
                    let new = try doubles(merged.checkpoint, name)
                    let bias = try #require(adapter.tensor(module, PEFTNames.loraBias)).values
                    var worst = 0.0
                    for index in old.indices {
                        let change = (share ?? 1) * 5 / 3 * Double(bias[index])
                        let rounding = unitInLastPlace(of: old[index] + change, in: dtype) / 2 * 1.001
                        let bound = rounding + (abs(change) + abs(old[index])) * 0x1p-23
                        worst = max(worst, abs(new[index] - old[index] - change) / bound)
                    }
                    #expect(worst <= 1)
                }
            }
        }
    }

    @Test func biasWithoutPlaceIsRefused() throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            let error = #expect(throws: TransformError.self) {
                try CheckpointMerge(base: base, adapter: OddModel.adapter(.lora, hasLoRABias: true))
            }
            #expect(error?.exitStatus == .unsupported)
            #expect(error?.description.contains("'\(OddModel.modules[0]).bias'") == true)
        }
    }

    @Test(arguments: [1, 0.5]) func rowOfZerosStaysOne(_ factor: Double) {
        let low = LowRankChange(a: [1, 2], b: [0, 1], rank: 1, scale: 1)
        let change = TensorChange.rescaled(low, magnitude: [3, 10], share: factor)
        let base: [Float] = [0, 0, 2, 2]
        var rows = base
        change.apply(to: &rows, before: base, rows: 0..<2, width: 2)
        let second = [6, 8].map { Float(2 + factor * ($0 - 2)) }
        #expect(rows == [0, 0] + second)
        let wide = base.map(Double.init)
        var doubles = wide
        var scratch = [Float](repeating: 7, count: 4)
        scratch.withUnsafeMutableBufferPointer {
            change.apply(to: &doubles, before: wide, rows: 0..<2, width: 2, scratch: $0)
        }
        #expect(doubles == ([0, 0] + second).map(Double.init))
    }

    @Test func untrainedDoRAChangesNothing() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(makeBase(in: folder))
            let configuration = try AdapterConfiguration(
                DoRASettings(LowRankNumbers(rank: 2, alpha: 4)), isGated: false,
                targets: .names(["q_proj", "down_proj"]))
            let modules = try configuration.match(base.linearModules).modules
            let tensors = try modules.flatMap {
                try DoRA.initialTensors($0, configuration, RandomStream(seed: 1), weights: base.weights(of:))
            }
            let adapter = try AdapterDirectory(
                configuration: configuration, modules: modules.map(\.path), tensors: tensors)
            let merge = try CheckpointMerge(base: base, adapter: adapter)
            #expect(throws: TransformError.self) { try merge.write(to: folder + "/merged") }
            #expect(directoryEntries(folder) == ["base"])
        }
    }

    /// Magnitudes that nothing divides to are refused, not taken for zero.
    @Test func normBeyondTheTypeIsRefused() throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            let small = try OddModel.adapter(.dora)
            let huge = try AdapterDirectory(
                configuration: small.configuration, modules: small.modules,
                tensors: small.tensors.map { tensor in
                    let isB = tensor.name.hasSuffix(PEFTNames.loraB)
                    return AdapterTensor(tensor.name, tensor.shape, tensor.values.map { isB ? $0 * 1e30 : $0 })
                })
            let merge = try CheckpointMerge(base: base, adapter: huge)
            #expect(throws: TransformError.self) { try merge.write(to: folder + "/merged") }
        }
    }
}

extension MethodMergeTests {
    /// As peft merges the one; the other is ours.
    @Test func denseIA3ScalesTheBiasOfAnOutputAndAGatedOneLeavesIt() throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder, hasBias: true)
            let dense = try OddModel.adapter(.ia3)
            _ = try CheckpointMerge(base: base, adapter: dense).write(to: folder + "/dense")
            let scaled = try ModelCheckpoint.open(folder + "/dense")
            for (module, scales) in [("self_attn.q_proj", true), ("self_attn.k_proj", false)] {
                let path = "model.layers.0." + module
                let factors = scales ? dense.tensor(path, PEFTNames.ia3L)?.values : nil
                let old = try base.floats(path + ".bias")
                #expect(try scaled.floats(path + ".bias") == zip(old, factors ?? old.map { _ in 1 }).map(*))
            }
            let gated = try OddModel.adapter(.ia3, activeShare: 1)
            _ = try CheckpointMerge(base: base, adapter: gated).write(to: folder + "/merged")
            let merged = try ModelCheckpoint.open(folder + "/merged")
            let bias = "model.layers.0.self_attn.q_proj.bias"
            #expect(try merged.floats(bias) == base.floats(bias))
        }
    }
}
