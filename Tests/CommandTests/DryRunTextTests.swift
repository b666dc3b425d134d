import CheckpointIO
import TestSupport
import Testing

@testable import TSPEFT
@testable import tspeft

/// What a dry run prints.
@Suite struct DryRunTextTests {
    static let base = fixture("tiny-llama")

    @Test func packsHaveMemoryFigures() throws {
        try withTemporaryFolder { folder in
            for (input, output) in [(Self.base, "m.safetensors.zst"), (fixture("peft/lora"), "a.tspeft.zst")] {
                let told = try dryRun(of: ConvertRequest(inputPath: input, outputPath: folder + "/" + output))
                #expect(told.memoryBytes == told.json["memory_bytes"]?.intValue)
                #expect(told.lines.contains { $0.hasPrefix("memory needed  about ") })
            }
        }
    }

    @Test func fullDiskAndMemoryAreToldApart() throws {
        try withTemporaryFolder { folder in
            var told = try dryRun(of: ConvertRequest(inputPath: Self.base, outputPath: folder + "/m.gguf"))
            func isTold(_ line: String, fits: Bool = false) {
                #expect(told.lines.contains { $0.hasPrefix("fits") && $0.hasSuffix(line) }, "\(told.lines)")
                #expect(told.json["fits"]?.boolValue == fits)
                #expect(told.lines.last == "nothing was written")
            }
            told.space = DiskSpace(available: told.neededBytes, blockSize: 1)
            told.availableMemory = told.memoryBytes
            isTold("yes", fits: true)
            told.availableMemory = told.memoryBytes - 1
            isTold("no: there is too little memory")
            told.space = DiskSpace(available: told.neededBytes - 1, blockSize: 1)
            isTold("no: the disk is too full, and there is too little memory")
            told.availableMemory = nil
            isTold("no: the disk is too full")
        }
    }
}
