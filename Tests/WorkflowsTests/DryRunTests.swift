import Adapters
import CheckpointIO
import Foundation
import TestSupport
import Testing
import Transforms

@testable import TSPEFT

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
        #expect(told.fits && told.reads.allSatisfy { $0.byteCount > 0 })
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
            for format in ExportRequest.Format.allCases {
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

    /// Into one file of GGUF, into the parts of one, and over what is there.
    @Test func ggufOutputsAndReplacedOnesAreToldToTheByte() throws {
        try withTemporaryFolder { folder in
            let adapter = folder + "/adapter"
            var inject = InjectRequest(basePath: Self.base, outputPath: adapter)
            inject.method = "lora"
            inject.modulesToSave = []
            _ = try injectAdapter(inject)
            inject.replaces = true
            let again = try dryRun(of: inject)
            #expect(try again.replacedBytes == sizes(adapter).values.reduce(0, +) && again.fits)
            #expect(try Set(again.writes.map(\.path)) == Set(sizes(adapter).keys))

            var split = ConvertRequest(inputPath: Self.base, outputPath: folder + "/parts.gguf")
            split.shardSize = "40kB"
            let told = try dryRun(of: split)
            #expect(told.writes.count > 2 && told.writes.map(\.path) == told.writes.map(\.path).sorted())
            _ = try convertCheckpoint(split)
            for file in told.writes { #expect(fileSize(file.path) == file.byteCount, "\(file.path)") }

            inject.basePath = Self.gguf
            _ = try injectAdapter(inject)
            // A new adapter changes nothing: all its numbers become 0.0115.
            let numbers = adapter + "/adapter_model.safetensors"
            let bytes = try readFile(numbers)
            let start = 8 + bytes[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
            try writeFile(numbers, bytes[..<start] + [UInt8](repeating: 0x3C, count: bytes.count - start))
            let merge = MergeRequest(
                basePath: Self.gguf, adapters: [.init(adapter)], outputPath: folder + "/merged.gguf")
            try expect(merge.outputPath, { try dryRun(of: merge) }, { _ = try mergeAdapter(merge) })
        }
    }

    @Test func packsHaveMemoryFigures() throws {
        try withTemporaryFolder { folder in
            for (input, output) in [
                (Self.base, "m.safetensors.zst"), (fixture("peft/lora"), "a.tspeft.zst"),
            ] {
                let request = ConvertRequest(inputPath: input, outputPath: folder + "/" + output)
                let told = try dryRun(of: request)
                // A frame that waits and one that is packed, at least.
                #expect(told.memoryBytes > 2 << 20)
                _ = try convertCheckpoint(request)
            }
            let back = ConvertRequest(inputPath: folder + "/a.tspeft.zst", outputPath: folder + "/a")
            #expect(try dryRun(of: back).memory.count == 2)
        }
    }

    @Test func fullDiskAndMemoryAreToldApart() throws {
        try withTemporaryFolder { folder in
            var told = try dryRun(of: ConvertRequest(inputPath: Self.base, outputPath: folder + "/m.gguf"))
            told.space = DiskSpace(available: told.neededBytes, blockSize: 1)
            told.availableMemory = told.memoryBytes
            #expect(throws: Never.self) { try told.check() }
            func isTold(_ error: WorkflowError) {
                #expect(throws: error) { try told.check() }
                #expect(error.exitStatus.rawValue == 74 && !told.fits)
            }
            told.availableMemory = told.memoryBytes - 1
            let memory = WorkflowError.doesNotFitMemory(
                path: told.outputPath, needed: told.memoryBytes, available: told.memoryBytes - 1)
            isTold(memory)
            told.space = DiskSpace(available: told.neededBytes - 1, blockSize: 1)
            let disk = WorkflowError.doesNotFit(
                path: told.outputPath, needed: told.neededBytes, available: told.neededBytes - 1)
            isTold(disk)
            told.availableMemory = nil
            isTold(disk)
        }
    }

    @Test func availableMemoryIsReadOrLeftOut() {
        #expect(DryRun.availableMemory(inMeminfo: "MemTotal: 9 kB\nMemAvailable:   123 kB\n") == 123 * 1024)
        for text in ["", "MemAvailable:", "MemAvailable: many kB", "MemAvailable: 12", "MemFree: 12 kB"] {
            #expect(DryRun.availableMemory(inMeminfo: text) == nil)
        }
        #expect(DryRun.availableMemory(inMeminfo: "MemAvailable: \(Int.max) kB") == .max)
    }

    @Test func whatDoesNotFitIsToldWithItsOwnExitCode() throws {
        let error = WorkflowError.doesNotFit(path: "out", needed: 12, available: 3)
        #expect(error.exitStatus.rawValue == 74)
        #expect(error.description == "out: would need 12 bytes, but the disk has room for 3")
        let space = try #require(DiskSpace(at: "/tmp/nothing-there-yet"))
        #expect(space.available > 0 && space.taken(by: 1) == space.blockSize && space.taken(by: 0) == 0)
    }
}
