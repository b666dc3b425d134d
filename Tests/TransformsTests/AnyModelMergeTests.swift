import Adapters
import CheckpointIO
import Glibc
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Merging what peft wrote into files of many families, held against peft's own merge
/// (Tests/Scripts/make_merge_cases.py, make_untied_merge_cases.py).
@Suite struct AnyModelMergeTests {
    static let merging = [
        "arch-albert", "arch-gpt_bigcode", "lora-dora-gpt2", "lora-fan-in-wrong", "lora-conv2d", "lora-embed-tied",
        "lora-head-tied", "lora-resized", "lora-tokens-tied", "lora-bias-all", "lora-save-classifier",
        "moe-qwen3-files-2d", "moe-qwen3-each-expert-files-3d",
        "moe-qwen3-router", "moe-granite", "moe-qwen3-vl-hub", "moe-gpt-oss", "names-dinov2-gate",
        "names-bert-bare-base-lora", "names-vit-old-adapter", "names-compiled",
        "files-mxfp4-attention", "ia3-gpt2", "moe-llama4-square", "untied-bart-head", "untied-bert-embedding",
        "untied-distilbert-embedding", "untied-roberta-head", "untied-whisper-embedding",
        "whole-resnet-counters", "untied-bart-halves", "moe-inkling-in-turn", "names-kimi-square", "names-cosmos3",
        "ia3-nomic_bert", "untied-mpnet-whole-head",
    ]
    static let refused = [
        "lora-conv2d-groups", "files-fp8-target", "wrong-bert-more-layers", "wrong-half", "names-clip-text-adapter",
    ]

    private struct Case {
        let folder: String
        let facts: JSONValue

        init(_ name: String) throws {
            folder = fixture("any-merge/\(name)")
            facts = try JSONValue.parse(readSmallFile(folder + "/case.json", limit: 1 << 16))
        }

        func merge(to output: String) throws -> MergeReport {
            let base = try ModelCheckpoint.open(folder + "/base")
            let adapter = try AdapterDirectory.read(folder + "/adapter", takingExtras: true)
            return try CheckpointMerge(base: base, adapter: adapter).write(to: output)
        }
    }

    @Test(arguments: merging) func mergedTensorsAreThoseOfPEFT(_ name: String) throws {
        let known = try Case(name)
        try withTemporaryFolder { folder in
            let report = try known.merge(to: folder + "/out")
            let base = try Checkpoint.open(known.folder + "/base")
            let merged = try Checkpoint.open(folder + "/out")
            let expected = try SafetensorsFile.open(known.folder + "/expected.safetensors")
            #expect(known.facts["tensors"]?.intValue == merged.tensors.count)
            let names = Set(expected.tensors.map(\.name))
            #expect(names.isSubset(of: merged.tensors.map(\.name)))
            for tensor in merged.tensors {
                let old = base.record(tensor.name)
                guard let want = expected.record(tensor.name) else {
                    let isSame = try old != nil && bytes(merged, tensor.name) == bytes(base, tensor.name)
                    #expect(isSame, "\(tensor.name) is not the base's")
                    continue
                }
                #expect(tensor.shape == want.shape && tensor.encoding == want.encoding, "\(tensor.name)")
                if tensor.encoding.holdsIntegers {
                    let stored = expected.file.withBytes { Array($0[want.byteRange]) }
                    #expect(try bytes(merged, tensor.name) == stored, "\(tensor.name)")
                    continue
                }
                let before = try old.flatMap { $0.shape == want.shape ? try base.floats(of: $0) : nil }
                let worst = try excess(
                    of: merged.floats(of: tensor), over: expected.floats(of: want), before, tensor.encoding)
                #expect(worst <= 1, "\(tensor.name): \(worst)")
            }
            let configuration = try #require(merged.configuration)
            for (key, value) in known.facts["config"]?.objectValue?.members ?? [] {
                #expect(configuration[key] ?? value == value, "\(key)")
            }
            #expect(report.account.baseTensorCount == base.tensors.count)
            #expect(report.account.changedTensorCount > 0 && report.account.adapterTensorCount > 1)
        }
    }

    /// The largest distance in units of what is allowed: one in the last place of the largest of weight, change and sum,
    /// and the rounding of sums in float.
    private func excess(
        of values: [Float], over expected: [Float], _ before: [Float]?, _ encoding: TensorEncoding
    ) throws -> Double {
        guard case .plain(let type) = encoding else { return .infinity }
        let scales = expected.indices.map { index -> Double in
            let (new, old) = (Double(expected[index]), Double(before?[index] ?? 0))
            return max(abs(new), abs(old), abs(new - old))
        }
        let floor = 8 * 0x1p-24 * (scales.max() ?? 0)
        return zip(values, expected).enumerated().reduce(0) { worst, entry in
            let distance = abs(Double(entry.element.0) - Double(entry.element.1))
            return max(worst, distance / (unitInLastPlace(of: scales[entry.offset], in: type) + floor))
        }
    }

    @Test(arguments: refused) func whatHasNoPlaceIsRefusedByName(_ name: String) throws {
        let known = try Case(name)
        try withTemporaryFolder { folder in
            let thrown = #expect(throws: (any Error).self) { _ = try known.merge(to: folder + "/out") }
            let error = thrown as? any ReportableError
            let text = (error?.description ?? "").lowercased()
            let words = known.facts["mentions"]?.arrayValue?.compactMap(\.stringValue) ?? []
            #expect(words.contains { text.contains($0.lowercased()) }, "\(text)")
            #expect([.badData, .unsupported].contains(error?.exitStatus))
            #expect(pathKind(folder + "/out") == .nothing)
        }
    }

    /// Before anything is written, and without a forward pass.
    @Test func accountIsThatOfTheMerge() throws {
        for name in ["moe-qwen3-files-2d", "lora-resized", "lora-embed-tied"] {
            let known = try Case(name)
            let account = try MergeAccount(
                of: AdapterDirectory.read(known.folder + "/adapter", takingExtras: true),
                in: ModelCheckpoint.open(known.folder + "/base"))
            let merged = try withTemporaryFolder { try known.merge(to: $0 + "/out").account }
            #expect(merged == account)
        }
    }

    /// Experts that peft has packed are modules of their own to commands that train or look at gates.
    @Test func packedExpertsOfPeftAreReadOneByOne() throws {
        let folder = fixture("any-merge/moe-gpt-oss/adapter")
        let packed = try AdapterDirectory.read(folder, takingExtras: true)
        let read = try AdapterDirectory.read(folder)
        let experts = packed.extras.updates.reduce(0) { $0 + $1.expertCount }
        #expect(experts > 0 && read.modules.count == packed.modules.count + experts && read.extras.isEmpty)
    }

    /// What can be merged alone is not taken by commands that would pass over it.
    @Test(arguments: ["lora-tokens-tied", "lora-bias-all"])
    func adapterOfMoreThanLinearLayersIsTakenByMergesAlone(_ name: String) throws {
        let error = #expect(throws: AdapterError.self) {
            _ = try AdapterDirectory.read(fixture("any-merge/\(name)/adapter"))
        }
        #expect(error?.exitStatus == .unsupported)
    }
}
