import Adapters
import CheckpointIO
import Foundation
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// A merge straight into another type or format is what the merge and a conversion of it are, to the byte.
@Suite struct MergeFormTests {
    /// A base, by what it is made from.
    enum Base: String, CaseIterable {
        case llama, qwen2, qwen3, shards, packed, float32, half, gguf, ggufBlocks, ggufWide

        var isGGUF: Bool { rawValue.hasPrefix("gguf") }

        func open(in folder: String) throws -> ModelCheckpoint {
            func converted(_ type: String?, limit: Int? = nil) throws -> ModelCheckpoint {
                let source = try Checkpoint.open(fixture("tiny-llama"))
                try CheckpointConversion(
                    source, to: .huggingFace, at: folder + "/base", type: type.flatMap { QuantizationMix(named: $0) },
                    shardByteLimit: limit
                ).write()
                return try ModelCheckpoint.open(folder + "/base")
            }
            return switch self {
            case .llama: try ModelCheckpoint.open(fixture("tiny-llama"))
            case .qwen2: try ModelCheckpoint.open(fixture("tiny-qwen2"))
            case .qwen3: try ModelCheckpoint.open(fixture("tiny-qwen3"))
            case .shards: try converted(nil, limit: 1 << 20)
            case .packed: try MergeFormTests.packed(folder)
            case .float32: try converted("f32")
            case .half: try converted("f16")
            case .gguf: try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"))
            case .ggufBlocks: try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf"))
            case .ggufWide: try BlockModel.write(folder + "/base.gguf", .named("Q4_K"))
            }
        }
    }

    /// The tiny model with its tensors packed.
    private static func packed(_ folder: String) throws -> ModelCheckpoint {
        let (source, target) = (fixture("tiny-llama"), folder + "/base")
        try FileManager.default.copyItem(atPath: source, toPath: target)
        try FileManager.default.removeItem(atPath: target + "/model.safetensors")
        try CheckpointConversion(
            Checkpoint.open(source), to: .safetensorsZstd, at: target + "/model.safetensors.zst"
        ).write()
        return try ModelCheckpoint.open(target)
    }

    /// An adapter for a base: of a method, or with whole layers beside.
    enum Kind: String, CaseIterable {
        case lora, gated, dora, ia3, wholeHead, two

        func adapters(for base: ModelCheckpoint) throws -> [WeightedAdapter] {
            func adapter(_ kind: AdapterKind, tau: Float? = nil, seed: UInt64 = 11) throws -> AdapterDirectory {
                let settings = try kind.newSettings(rank: 2, alpha: 4)
                let made = try randomAdapter(
                    AdapterConfiguration(settings, isGated: tau != nil, targets: .allLinear), on: base, spread: 0.05,
                    tau: tau, seed: seed)
                guard tau != nil else { return made }
                return made.with(
                    made.modules.enumerated().map { index, module in
                        var entry = ModuleStatistics(module: module, rank: 2)
                        (entry.tokens, entry.active, entry.sumUpdateSquared) = (100, index % 3 == 0 ? 0 : 40, 20)
                        (entry.sumActiveUpdateSquared, entry.sumBaseSquared) = (index % 3 == 0 ? 0 : 11, 1000)
                        return entry
                    })
            }
            switch self {
            case .lora: return [WeightedAdapter(try adapter(.lora))]
            case .gated: return [WeightedAdapter(try adapter(.lora, tau: 0.1))]
            case .dora: return [WeightedAdapter(try adapter(.dora))]
            case .ia3: return [WeightedAdapter(try adapter(.ia3))]
            case .two:
                return [WeightedAdapter(try adapter(.lora)), WeightedAdapter(try adapter(.lora, seed: 5), weight: 0.5)]
            case .wholeHead:
                let plain = try adapter(.lora)
                var fields = try #require(plain.configuration.json.objectValue)
                fields["modules_to_save"] = .array([.string(WholeModule.outputHead.name)])
                let shape = try #require(base.shape(of: LlamaNames.embedding))
                let head = AdapterTensor(
                    PEFTNames.key(WholeModule.outputHead.path, PEFTNames.weight), shape,
                    randomValues(shape.reduce(1, *), seed: 6, in: -1...1))
                return [
                    WeightedAdapter(
                        try AdapterDirectory(
                            configuration: AdapterConfiguration(json: .object(fields), file: "adapter_config.json"),
                            modules: plain.modules, tensors: plain.tensors + [head]))
                ]
            }
        }
    }

    /// Writes in one pass as `folder`/direct... and in two as `folder`/twice/..., the last part of the names the same;
    /// returns the paths.
    private func write(
        _ merge: CheckpointMerge, _ folder: String, _ form: CheckpointMerge.Form, as type: TensorEncoding? = nil
    ) throws -> (direct: String, twice: String, report: MergeReport) {
        let isGGUF = merge.base.checkpoint.layout == .gguf
        for name in ["direct", "twice", "between"] {
            try FileManager.default.createDirectory(
                atPath: folder + "/" + name, withIntermediateDirectories: true)
        }
        let ending = form.format == .gguf ? ".gguf" : ""
        let direct = folder + "/direct/tiny-model" + ending
        let report = try merge.write(to: OutputTarget(direct), as: type, in: form, threadCount: 2)
        let between = folder + "/between/tiny-model" + (isGGUF ? ".gguf" : "")
        try merge.write(to: between, as: type)
        let twice = folder + "/twice/tiny-model" + ending
        try CheckpointConversion(Checkpoint.open(between), to: form.format, at: twice, type: form.type).write()
        #expect(try names(in: folder + "/direct") == ["tiny-model" + ending])
        return (direct, twice, report)
    }

    /// Whether files, or all that directories hold, are the same; of records of merges the numbers too.
    private func expectSame(_ direct: String, _ twice: String, _ what: String) throws {
        guard pathKind(direct) == .directory else {
            let isSame = try readFile(direct) == readFile(twice)
            #expect(isSame, "\(what)")
            return
        }
        let all = try names(in: twice)
        #expect(try names(in: direct) == all, "\(what)")
        for name in all {
            let isSame = try readFile(direct + "/" + name) == readFile(twice + "/" + name)
            #expect(isSame, "\(what): \(name)")
        }
    }

    @Test(arguments: Base.allCases, [nil, "bf16", "f32", "q8_0", "q4_k_m", "q4_0", "q6_k"] as [String?])
    func ggufFileIsThatOfMergeAndConversion(_ kind: Base, _ type: String?) throws {
        if kind.isGGUF, type == nil { return }
        try withTemporaryFolder { folder in
            let base = try kind.open(in: folder)
            let merge = try CheckpointMerge(base: base, adapters: Kind.lora.adapters(for: base))
            let form = CheckpointMerge.Form(.gguf, type.flatMap { QuantizationMix(named: $0) })
            let (direct, twice, report) = try write(merge, folder, form)
            try expectSame(direct, twice, "\(kind) \(type ?? "kept")")
            #expect(report.mergedCount == report.moduleCount && report.conversion != nil)
            #expect(try MergeRecord.read(of: Checkpoint.open(direct)).merges.count == 1)
        }
    }

    @Test(arguments: Kind.allCases, [Base.llama, .qwen2, .ggufBlocks])
    func everyAdapterComesThrough(_ adapter: Kind, _ kind: Base) throws {
        // The one is refused with a bias.
        if adapter == .ia3, kind == .qwen2 { return }
        try withTemporaryFolder { folder in
            let base = try kind.open(in: folder)
            let merge = try CheckpointMerge(base: base, adapters: adapter.adapters(for: base))
            let form = CheckpointMerge.Form(.gguf, QuantizationMix(named: "q4_k_m"))
            let (direct, twice, _) = try write(merge, folder, form)
            try expectSame(direct, twice, "\(adapter) \(kind)")
        }
    }

    @Test(arguments: [Base.llama, .qwen2, .shards, .packed, .float32], ["f16", "f32", "bf16"])
    func directoryIsThatOfMergeAndConversion(_ kind: Base, _ type: String) throws {
        for adapter in [Kind.gated, .wholeHead] {
            try withTemporaryFolder { folder in
                let base = try kind.open(in: folder)
                let merge = try CheckpointMerge(base: base, adapters: adapter.adapters(for: base))
                let form = CheckpointMerge.Form(.huggingFace, QuantizationMix(named: type))
                let (direct, twice, _) = try write(merge, folder, form)
                try expectSame(direct, twice, "\(kind) \(type)")
            }
        }
    }

    @Test(arguments: [Base.llama, .ggufBlocks])
    func changedWeightsMayHaveATypeBefore(_ kind: Base) throws {
        try withTemporaryFolder { folder in
            let base = try kind.open(in: folder)
            let merge = try CheckpointMerge(base: base, adapters: Kind.lora.adapters(for: base))
            let form = CheckpointMerge.Form(.gguf, QuantizationMix(named: "q5_k_m"))
            let (direct, twice, _) = try write(merge, folder, form, as: .plain(.f32))
            try expectSame(direct, twice, "\(kind)")
        }
    }

    @Test func dryRunHasTheSizeAndWritesNothing() throws {
        try withTemporaryFolder { folder in
            let base = try Base.llama.open(in: folder)
            let merge = try CheckpointMerge(base: base, adapters: Kind.lora.adapters(for: base))
            let form = CheckpointMerge.Form(.gguf, QuantizationMix(named: "q4_k_m"))
            let rehearsal = OutputRehearsal()
            let output = folder + "/x.gguf"
            _ = try merge.write(to: OutputTarget(output, rehearsal: rehearsal), in: form, threadCount: 2)
            #expect(try names(in: folder).isEmpty)
            let report = try merge.write(to: OutputTarget(output), in: form, threadCount: 2)
            let size = try readFile(output).count
            #expect(rehearsal.files.map(\.path) == [output] && rehearsal.files.map(\.byteCount) == [size])
            #expect(!rehearsal.files[0].isEstimate)
            #expect(try names(in: folder) == ["x.gguf"] && report.tensorFiles == ["x.gguf"])
        }
    }

    @Test func unknownModelIsRefusedByName() throws {
        try withTemporaryFolder { folder in
            let path = try makeBase(in: folder) { $0["model_type"] = .string("strange") }
            let base = try ModelCheckpoint.open(path)
            let merge = try CheckpointMerge(base: base, adapter: goldenAdapter())
            let form = CheckpointMerge.Form(.gguf, nil)
            let before = try names(in: folder)
            let error = #expect(throws: ModelError.self) {
                try merge.write(to: OutputTarget(folder + "/x.gguf"), in: form, threadCount: 1)
            }
            #expect("\(try #require(error))".contains("strange"))
            #expect(try names(in: folder) == before)
        }
    }

    @Test func mergeThatChangesNothingLeavesNothing() throws {
        try withTemporaryFolder { folder in
            let base = try Base.llama.open(in: folder)
            let small = try randomAdapter(
                AdapterConfiguration(
                    AdapterKind.lora.newSettings(rank: 2, alpha: 1), isGated: false, targets: .allLinear), on: base,
                spread: 1e-12)
            let tiny = try AdapterDirectory(
                configuration: small.configuration, modules: small.modules,
                tensors: small.tensors.map { AdapterTensor($0.name, $0.shape, $0.values.map { $0 * 1e-12 }) })
            let merge = try CheckpointMerge(base: base, adapter: tiny)
            #expect(throws: TransformError.self) {
                try merge.write(
                    to: OutputTarget(folder + "/x.gguf"), in: CheckpointMerge.Form(.gguf, nil), threadCount: 1)
            }
            #expect(throws: TransformError.self) {
                try merge.write(
                    to: OutputTarget(folder + "/x"),
                    in: CheckpointMerge.Form(.huggingFace, QuantizationMix(named: "f32")), threadCount: 1)
            }
            #expect(try names(in: folder).isEmpty)
        }
    }
}
