import Adapters
import CheckpointIO
import Foundation
import Models
import TestSupport
import Testing
import TSPEFT

/// Copies the directory `source` with each safetensors file packed in its place.
private func packed(_ source: String, as target: String) throws {
    try FileManager.default.createDirectory(atPath: target, withIntermediateDirectories: true)
    for name in try names(in: source) {
        if name.hasSuffix(".safetensors") {
            try SafetensorsZstd.pack(
                SafetensorsFile.open(source + "/" + name), to: AtomicFileWriter(target + "/\(name).zst"))
        } else if name == ShardIndex.fileName {
            let text = String(decoding: try readFile(source + "/" + name), as: UTF8.self)
            try writeFile(
                target + "/" + name, text.replacingOccurrences(of: ".safetensors\"", with: ".safetensors.zst\""))
        } else {
            try writeFile(target + "/" + name, readFile(source + "/" + name))
        }
    }
}

private func contents(of folder: String) throws -> [String: [UInt8]] {
    Dictionary(uniqueKeysWithValues: try names(in: folder).map { ($0, try readFile(folder + "/" + $0)) })
}

@Suite struct PackedBaseTests {
    @Test(arguments: [nil, "1MB"]) func mergingIntoAPackedBaseGivesWhatTheBaseGives(shardSize: String?) throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let run = tiny.request("tuned") { $0.evaluationPath = tiny.records }
            #expect(try tiny.train(run).error == nil)
            var base = TinyTraining.base
            if let shardSize {
                var request = ConvertRequest(inputPath: base, outputPath: folder + "/shards")
                request.shardSize = shardSize
                _ = try convertCheckpoint(request)
                base = request.outputPath
                #expect(try Checkpoint.open(base).files.count > 1)
            }
            let packedBase = folder + "/packed"
            try packed(base, as: packedBase)
            #expect(try ModelCheckpoint.open(packedBase).fingerprint() == ModelCheckpoint.open(base).fingerprint())
            let outputs = [folder + "/one", folder + "/two"]
            for (base, output) in zip([base, packedBase], outputs) {
                _ = try mergeAdapter(
                    MergeRequest(basePath: base, adapters: [.init(folder + "/tuned")], outputPath: output))
            }
            var (one, two) = try (contents(of: outputs[0]), contents(of: outputs[1]))
            // The record names the base, and an index may be laid out differently.
            for name in ["tspeft_merge.json", ShardIndex.fileName] {
                one[name] = nil
                two[name] = nil
            }
            #expect(one == two)
            #expect(try Checkpoint.open(outputs[1]).tensors == Checkpoint.open(outputs[0]).tensors)
        }
    }

    @Test func packedBaseIsEvaluatedAndInspectedLikeThePlainOne() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            try packed(TinyTraining.base, as: folder + "/packed")
            let reports = try [TinyTraining.base, folder + "/packed"].map { base in
                var request = EvaluateRequest(basePath: base, adapterPath: tiny.adapter, dataPath: tiny.records)
                request.compute = ComputeOptions(precision: .f32, threadCount: 1)
                return try evaluateModel(request)
            }
            #expect(reports[0].loss.lossSum == reports[1].loss.lossSum)
            guard case .checkpoint(let found) = try inspectFiles(folder + "/packed") else {
                Issue.record("a packed model is a checkpoint")
                return
            }
            #expect(found.modelProblem == nil && found.files.sizes.count == 1)
            #expect(found.files.sizes[0] < (try readFile(TinyTraining.base + "/model.safetensors").count))
        }
    }
}
