import Adapters
import CheckpointIO
import Foundation
import TestSupport
import Testing
import Transforms

@testable import Workflows

@Suite struct DryRunTests {
    static let base = fixture("tiny-llama")
    static let gguf = fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")

    /// Sizes by path of the regular files at or in a path.
    func sizes(_ path: String) throws -> [String: Int] {
        guard pathKind(path) == .directory else { return [path: try #require(fileSize(path))] }
        return Dictionary(
            uniqueKeysWithValues: try names(in: path).map { ("\(path)/\($0)", try #require(fileSize("\(path)/\($0)"))) }
        )
    }

    /// Holds a dry run against the real one: nothing is there after it, and then what it told.
    func expect(_ output: String, _ rehearse: () throws -> DryRun, _ run: () throws -> Void) throws {
        let folder = parentDirectory(of: output)
        let before = try names(in: folder)
        let told = try rehearse()
        #expect(try names(in: folder) == before)
        #expect(told.fits && told.reads.allSatisfy { $0.byteCount > 0 } && told.json["fits"]?.boolValue == true)
        #expect(told.lines.last == "nothing was written")
        try run()
        let found = try sizes(output)
        #expect(Set(told.writes.map(\.path)) == Set(found.keys))
        for file in told.writes where !file.isEstimate { #expect(found[file.path] == file.byteCount, "\(file.path)") }
        #expect(told.writes.allSatisfy { !$0.isEstimate || !$0.path.hasSuffix(".safetensors") })
        // Now something is there.
        #expect(throws: (any Error).self) { try rehearse() }
    }

    @Test func adaptersAreMadePrunedAndExportedAsTold() throws {
        try withTemporaryFolder { folder in
            let adapter = folder + "/adapter"
            var inject = InjectRequest(basePath: Self.base, outputPath: adapter)
            inject.method = "lora"
            inject.modulesToSave = []
            try expect(adapter, { try dryRun(of: inject) }, { _ = try injectAdapter(inject) })
            let selection = folder + "/kept.json"
            try writeFile(selection, #"{"modules": ["model.layers.0.self_attn.q_proj"]}"#)
            let prune = PruneRequest(
                adapterPath: adapter, choice: .selection(path: selection), outputPath: folder + "/pruned")
            try expect(folder + "/pruned", { try dryRun(of: prune) }, { _ = try pruneAdapter(prune) })
            for format in ExportFormat.allCases {
                let output = folder + "/" + (format == .ggufLoRA ? "lora.gguf" : format.rawValue)
                var export = ExportRequest(adapterPath: adapter, format: format, outputPath: output)
                export.basePath = Self.base
                try expect(output, { try dryRun(of: export) }, { _ = try exportAdapter(export) })
            }
        }
    }

    @Test func checkpointsAreConvertedAsTold() throws {
        try withTemporaryFolder { folder in
            for (input, name, type) in [
                (Self.base, "model.gguf", "q8_0"), (Self.gguf, "hf", nil), (Self.base, "one.safetensors", "f16"),
            ] {
                var request = ConvertRequest(inputPath: input, outputPath: folder + "/" + name)
                request.type = type
                try expect(request.outputPath, { try dryRun(of: request) }, { _ = try convertCheckpoint(request) })
            }
            let packed = ConvertRequest(inputPath: Self.base, outputPath: folder + "/m.safetensors.zst")
            let told = try dryRun(of: packed)
            #expect(told.writes.count == 1 && told.writes[0].isEstimate && pathKind(packed.outputPath) == .nothing)
        }
    }

    @Test func mergesAreMadeAsTold() throws {
        try withTemporaryFolder { folder in
            let adapter = fixture("peft/lora")
            let base = fixture("peft/model")
            let request = MergeRequest(basePath: base, adapters: [.init(adapter)], outputPath: folder + "/merged")
            try expect(request.outputPath, { try dryRun(of: request) }, { _ = try mergeAdapter(request) })
            #expect(
                try dryRun(
                    of: MergeRequest(
                        basePath: base, adapters: [.init(adapter)], outputPath: folder + "/again")
                ).memory.count == 2)
        }
    }

    @Test func whatDoesNotFitIsToldWithItsOwnExitCode() throws {
        let error = WorkflowError.doesNotFit(path: "out", needed: 12, available: 3)
        #expect(error.exitStatus.rawValue == 74)
        #expect(error.description == "out: would need 12 bytes, but the disk has room for 3")
        let space = try #require(DiskSpace(at: "/tmp/nothing-there-yet"))
        #expect(space.available > 0 && space.taken(by: 1) == space.blockSize && space.taken(by: 0) == 0)
    }
}
