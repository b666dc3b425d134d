import Adapters
import CheckpointIO
import Foundation
import TestSupport
import Testing
import TSPEFT

/// Loss over the tiny run's records, with an adapter.
private func evaluation(_ adapter: String, of tiny: TinyTraining) throws -> EvaluateReport {
    var request = EvaluateRequest(basePath: TinyTraining.base, adapterPath: adapter, dataPath: tiny.records)
    request.compute = ComputeOptions(precision: .f32, threadCount: 1)
    return try evaluateModel(request)
}

private func mergedBytes(_ adapter: String, to output: String) throws -> [UInt8] {
    _ = try mergeAdapter(
        MergeRequest(basePath: TinyTraining.base, adapters: [.init(adapter)], outputPath: output))
    return try readFile(output + "/model.safetensors")
}

@Suite struct PackAdapterTests {
    @Test func packDoesWhatItsDirectoryDoes() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let run = tiny.request("tuned") { $0.evaluationPath = tiny.records }
            #expect(try tiny.train(run).error == nil)
            let (directory, pack) = (folder + "/tuned", folder + "/tuned.tspeft.zst")
            let report = try packAdapter(directory, to: pack)
            #expect(report.packed == AdapterFiles.names)
            #expect(report.leftOut.contains("log.jsonl"))
            #expect(report.packBytes < report.contentBytes)

            let (unpacked, packed) = try (AdapterDirectory.read(directory), AdapterDirectory.read(pack))
            #expect(packed.configuration == unpacked.configuration)
            #expect(packed.modules == unpacked.modules && packed.thresholds == unpacked.thresholds)
            #expect(packed.statistics == unpacked.statistics && packed.base == unpacked.base)
            let losses = try (evaluation(directory, of: tiny), evaluation(pack, of: tiny))
            #expect(losses.0.loss.lossSum == losses.1.loss.lossSum)
            #expect(losses.0.modules == losses.1.modules)
            let merged = try [directory, pack].map { try mergedBytes($0, to: $0 + ".merged") }
            #expect(merged[0] == merged[1])
            guard case .adapter(let inspection) = try inspectFiles(pack, TensorRequest(pattern: "*tau*")) else {
                Issue.record("a pack is an adapter")
                return
            }
            #expect(inspection.byteCount == (try readFile(directory + "/adapter_model.safetensors").count))
            #expect(inspection.tensors?.tensors.count == unpacked.modules.count)
            let again = tiny.request("again") { $0.adapterPath = pack }
            #expect(try tiny.train(again).error == nil)
        }
    }

    @Test func packHasTheSameBytesAgainAndGivesTheFilesBack() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let packs = ["/one.tspeft.zst", "/two.tspeft.zst"].map { folder + $0 }
            for pack in packs { _ = try packAdapter(tiny.adapter, to: pack) }
            #expect(try readFile(packs[0]) == readFile(packs[1]))
            let back = folder + "/back"
            _ = try unpackAdapter(packs[0], to: back)
            #expect(try names(in: back) == names(in: tiny.adapter))
            for name in try names(in: back) {
                #expect(try readFile(back + "/" + name) == readFile(tiny.adapter + "/" + name), "\(name)")
            }
        }
    }

    @Test(arguments: ["llama-dora", "llama-adalora", "llama-vera", "llama-adapter", "llama-lora-dense-saved"])
    func anyMethodsAdapterSurvivesThePack(name: String) throws {
        try withTemporaryFolder { folder in
            let (directory, pack) = (fixture("golden/\(name)/adapter"), folder + "/\(name).tspeft.zst")
            _ = try packAdapter(directory, to: pack)
            let (unpacked, packed) = try (AdapterDirectory.read(directory), AdapterDirectory.read(pack))
            #expect(packed.allTensors.map(\.name) == unpacked.allTensors.map(\.name))
            #expect(packed.allTensors.map(\.values) == unpacked.allTensors.map(\.values))
        }
    }

    @Test func whatIsThereIsNotReplacedUnasked() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let pack = folder + "/a.tspeft.zst"
            _ = try packAdapter(tiny.adapter, to: pack)
            #expect(throws: CheckpointError.outputExists(path: pack)) { try packAdapter(tiny.adapter, to: pack) }
            _ = try packAdapter(tiny.adapter, to: pack, replaces: true)
            #expect(throws: (any Error).self) { try unpackAdapter(pack, to: tiny.adapter) }
            #expect(throws: (any Error).self) { try packAdapter(pack, to: folder + "/b.tspeft.zst") }
            #expect(throws: (any Error).self) { try unpackAdapter(tiny.adapter, to: folder + "/c") }
            let inside = tiny.adapter + "/README.md"
            #expect(throws: (any Error).self) { try packAdapter(tiny.adapter, to: inside, replaces: true) }
            #expect(try names(in: folder) == ["a.tspeft.zst", "adapter", "records.json"])
        }
    }

    @Test func packWithFilesOfNoAdapterIsNotUnpacked() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let pack = folder + "/a.tspeft.zst"
            let names = AdapterFiles.names.filter { pathKind(tiny.adapter + "/" + $0) == .regularFile }
            try writeFile(tiny.adapter + "/junk", [])
            truncate(tiny.adapter + "/junk", 32 << 20)
            try FilePack.write(names + ["junk"], in: tiny.adapter, to: AtomicFileWriter(pack))
            let error = #expect(throws: WorkflowError.self) { try unpackAdapter(pack, to: folder + "/out") }
            #expect(error.map { "\($0)" }?.contains("'junk', which is no part of an adapter") == true)
            // The card of an adapter that is read is not looked at, but it would be unpacked.
            truncate(tiny.adapter + "/README.md", 64 << 20 + 1)
            try FilePack.write(names, in: tiny.adapter, to: AtomicFileWriter(OutputTarget(pack, replacing: true)))
            #expect(throws: CheckpointError.tooLarge(path: pack + "/README.md", limit: 64 << 20)) {
                try unpackAdapter(pack, to: folder + "/out")
            }
            #expect(!pathExists(folder + "/out"))
        }
    }

    @Test func tensorsThatPackLikeZerosAreNotRead() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let pack = folder + "/a.tspeft.zst"
            let entry = SafetensorsEntry(name: "zeros", dtype: .u8, shape: [96 << 20])
            try FileManager.default.removeItem(atPath: tiny.adapter + "/adapter_model.safetensors")
            let writer = try SafetensorsWriter(
                AtomicFileWriter(tiny.adapter + "/adapter_model.safetensors"), entries: [entry])
            let zeros = [UInt8](repeating: 0, count: 1 << 20)
            for _ in 0..<96 { try zeros.withUnsafeBytes { try writer.append($0) } }
            try writer.finish()
            let names = AdapterFiles.names.filter { pathKind(tiny.adapter + "/" + $0) == .regularFile }
            try FilePack.write(names, in: tiny.adapter, to: AtomicFileWriter(pack))
            let error = #expect(throws: CheckpointError.self) { try AdapterDirectory.read(pack) }
            #expect(error.map { "\($0)" }?.contains("more than 1000 for each") == true)
        }
    }
}

private func packAdapter(_ directory: String, to path: String, replaces: Bool = false) throws -> PackReport {
    try TSPEFT.packAdapter(directory, to: OutputTarget(path, replacing: replaces))
}

private func unpackAdapter(_ path: String, to output: String) throws -> PackReport {
    try TSPEFT.unpackAdapter(path, to: OutputTarget(output))
}
