import Adapters
import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Merging several adapters at once.
@Suite struct SeveralAdaptersTests {
    @Test(arguments: [DType.f32, .bf16, .f64]) func updatesAddUpWithWeightsAndOwnGates(_ dtype: DType) throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder, dtype)
            let modules = OddModel.modules
            // One dense, one gated, one over other modules; the second module is changed by all three.
            let adapters = [
                WeightedAdapter(try OddModel.adapter(.lora, seed: 100, path: "a")),
                WeightedAdapter(
                    try OddModel.adapter(
                        .vera, activeShare: 0.25, modules: [modules[1], modules[2]], seed: 200, path: "b"),
                    weight: -0.5),
                WeightedAdapter(
                    try OddModel.adapter(.adalora, modules: [modules[1]], seed: 300, path: "c"), weight: 2),
            ]
            let report = try CheckpointMerge(base: base, adapters: adapters).write(to: folder + "/merged")
            let merged = try ModelCheckpoint.open(folder + "/merged")
            for module in modules {
                let name = CheckpointNames.weight(of: module)
                let old = try doubles(base.checkpoint, name)
                let width = base.shape(of: name)![1]
                var values = old
                var magnitudes = old.map { abs($0) }
                for weighted in adapters where weighted.adapter.modules.contains(module) {
                    let factor = weighted.weight * (weighted.adapter.configuration.isGated ? 0.25 : 1)
                    let one = try OddModel.exact(weighted.adapter, module, base: old, width: width, factor: factor)
                    for index in old.indices {
                        values[index] += one.values[index] - old[index]
                        magnitudes[index] += max(1, abs(factor)) * one.magnitudes[index]
                    }
                }
                let new = try doubles(merged.checkpoint, name)
                let rounding = [DType.f32: 0x1p-24, .bf16: 0x1p-8, .f64: 0x1p-53][dtype]!
                var worst = 0.0
                for index in old.indices {
                    let bound = abs(values[index]) * rounding * 1.001 + 12 * magnitudes[index] * 0x1p-24
                    worst = max(worst, abs(new[index] - values[index]) / bound)
                }
                #expect(worst <= 1, "\(module)")
            }
            #expect(report.parts.map(\.mergedCount) == [3, 2, 1])
            #expect(report.parts.map { $0.modules.count } == [3, 2, 1])
            #expect(report.mergedCount == 3 && report.moduleCount == 3)
            #expect(report.total.weightCount == 18 * 18 + 6 * 18 + 18 * 13, "each tensor once")
            #expect(report.parts[1].plan.gates == .scale && report.parts[1].plan.source == "dev.json")
            let error = report.parts[1].modules[0].plan.expectedError
            #expect(abs(error - 0.5 * (20 * 0.25 * 0.75 / 1000).squareRoot()) < 1e-9, "half as much of it is merged")
        }
    }

    @Test func recordListsEachWithItsWeightAndEachIsKnownAgain() throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            let adapters = [
                WeightedAdapter(try OddModel.adapter(.lora, seed: 100, path: "a")),
                WeightedAdapter(try OddModel.adapter(.lora, seed: 200, path: "b"), weight: 0.5),
            ]
            _ = try CheckpointMerge(base: base, adapters: adapters).write(to: folder + "/merged")
            let record = try MergeRecord.read(inDirectory: folder + "/merged")
            #expect(record.merges.compactMap { $0["adapter"]?["path"]?.stringValue } == ["a", "b"])
            #expect(record.merges.compactMap { $0["weight"]?.doubleValue } == [1, 0.5])
            let merged = try ModelCheckpoint.open(folder + "/merged")
            for weighted in adapters {
                let error = #expect(throws: TransformError.self) {
                    try CheckpointMerge(base: merged, adapter: weighted.adapter)
                }
                #expect(error?.description.contains("already") == true)
            }
            let third = try OddModel.adapter(.lora, seed: 300, path: "c")
            _ = try CheckpointMerge(base: merged, adapter: third).write(to: folder + "/again")
            #expect(try MergeRecord.read(inDirectory: folder + "/again").merges.count == 3)
        }
    }

    @Test func sameAdapterTwiceIsRefused() throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            let one = try OddModel.adapter(.lora, path: "a")
            let error = #expect(throws: TransformError.repeatedAdapter("b", first: "a")) {
                try CheckpointMerge(
                    base: base,
                    adapters: [
                        WeightedAdapter(one), WeightedAdapter(try OddModel.adapter(.lora, path: "b"), weight: 2),
                    ])
            }
            #expect(error?.exitStatus == .usage)
        }
    }

    /// The same tensors with another factor are another adapter.
    @Test func digestTellsFactorsApart() throws {
        let lora = try AdapterDirectory.read(fixture("golden/llama-lora-dense/adapter"))
        let rsLoRA = try AdapterDirectory.read(fixture("golden/llama-rslora/adapter"))
        #expect(lora.tensors.map(\.values) == rsLoRA.tensors.map(\.values))
        #expect(lora.digest != rsLoRA.digest)
    }

    @Test func doraStandsAloneAndWhole() throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            let dora = try OddModel.adapter(.dora, seed: 1)
            let lora = WeightedAdapter(try OddModel.adapter(.lora, seed: 2))
            for adapters in [
                [lora, WeightedAdapter(dora)], [WeightedAdapter(dora), lora], [WeightedAdapter(dora, weight: 0.5)],
            ] {
                let error = #expect(throws: TransformError.self) {
                    try CheckpointMerge(base: base, adapters: adapters)
                }
                #expect(error?.exitStatus == .unsupported)
                #expect(error?.description.contains("dora rescales the rows") == true)
            }
        }
    }

    @Test func adapterThatAddsNothingIsNamed() throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            let closed = try OddModel.adapter(.lora, activeShare: 0, seed: 2, path: "closed")
            let error = #expect(throws: TransformError.self) {
                try CheckpointMerge(
                    base: base,
                    adapters: [WeightedAdapter(try OddModel.adapter(.lora, seed: 1)), WeightedAdapter(closed)])
            }
            #expect(error?.description.hasPrefix("closed: ") == true)
        }
    }

    @Test func layersSavedWholeHaveNoWeightAndNoSecondSource() throws {
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            func whole(_ seed: UInt64, _ path: String) throws -> AdapterDirectory {
                let lora = try OddModel.adapter(.lora, seed: seed)
                return try AdapterDirectory(
                    configuration: try AdapterConfiguration(
                        LoRASettings(rank: OddModel.rank, alpha: 5), isGated: false,
                        targets: lora.configuration.targets,
                        modulesToSave: ["lm_head"]),
                    modules: lora.modules,
                    tensors: lora.tensors + [
                        AdapterTensor(
                            PEFTNames.key("lm_head", PEFTNames.weight), [23, 18],
                            randomValues(23 * 18, seed: seed)
                        )
                    ], origin: AdapterOrigin(path: path))
            }
            let (one, other) = (try whole(100, "one"), try whole(200, "other"))
            for adapters in [
                [WeightedAdapter(one), WeightedAdapter(other)], [WeightedAdapter(one, weight: 2)],
            ] {
                let error = #expect(throws: TransformError.self) {
                    try CheckpointMerge(base: base, adapters: adapters)
                }
                #expect(error?.exitStatus == .unsupported)
                #expect(error?.description.contains("lm_head") == true)
            }
            let lora = WeightedAdapter(try OddModel.adapter(.lora, seed: 300), weight: 3)
            _ = try CheckpointMerge(base: base, adapters: [lora, WeightedAdapter(one)]).write(to: folder + "/merged")
            let merged = try ModelCheckpoint.open(folder + "/merged")
            #expect(try merged.floats("lm_head.weight") == randomValues(23 * 18, seed: 100))
        }
    }
}
