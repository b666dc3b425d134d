import CheckpointIO
import Foundation
import TestSupport
import Testing
import TSPEFT

/// Weights are read where they lie in the base's files: a base that is written to meanwhile ends every command that
/// computes, whatever came of the mixture.
@Suite struct ChangedBaseTests {
    private static let bytes: [UInt8] = [0x3C, 0xFF]

    /// A copy of the tiny model, and how to write to its weights.
    private func withBase(_ body: (_ base: String, _ write: @escaping (UInt8) throws -> Void) throws -> Void) throws {
        try withTemporaryFolder { folder in
            let base = folder + "/base"
            try FileManager.default.copyItem(atPath: TinyTraining.base, toPath: base)
            let weights = base + "/model.safetensors"
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: weights)
            try body(base) { byte in
                let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: weights))
                // 0xFF in every byte of numbers is a NaN; 0x3C one of about 0.01.
                try handle.seek(toOffset: 50_000)
                try handle.write(contentsOf: [UInt8](repeating: byte, count: 40_000))
                try handle.close()
            }
        }
    }

    private func expectChanged(_ body: () throws -> Void) {
        let error = #expect(throws: CheckpointError.self) { try body() }
        #expect(error?.exitStatus == .inputOutput)
        #expect(error.map { "\($0)".contains("was changed while in use") } == true)
    }

    @Test(arguments: Self.bytes) func evaluationEnds(byte: UInt8) throws {
        try withBase { base, write in
            var request = EvaluateRequest(basePath: base, dataPath: fixture("sst2/dev.json"))
            request.limit = 40
            request.compute = ComputeOptions(precision: .f32, threadCount: 1)
            var isWritten = false
            expectChanged {
                _ = try evaluateModel(request) { _, _, _ in
                    if !isWritten { try write(byte) }
                    isWritten = true
                }
            }
            #expect(isWritten)
        }
    }

    @Test(arguments: Self.bytes) func generationEnds(byte: UInt8) throws {
        try withBase { base, write in
            var request = GenerateRequest(basePath: base, prompt: "a film")
            request.limit = 8
            request.compute = ComputeOptions(precision: .f32, threadCount: 1)
            expectChanged {
                _ = try generateText(request) { _ in
                    try write(byte)
                    return true
                }
            }
        }
    }

    @Test(arguments: Self.bytes) func trainingEndsAtTheNextStep(byte: UInt8) throws {
        try withBase { base, write in
            try withTemporaryFolder { folder in
                let run = try TinyTraining(folder)
                let request = run.request("out") {
                    $0.basePath = base
                    $0.training.checkpointInterval = nil
                }
                var steps = 0
                expectChanged {
                    _ = try trainAdapter(
                        request,
                        progress: { event in
                            guard case .step = event else { return }
                            steps += 1
                            try write(byte)
                        })
                }
                #expect(steps == 1)
                #expect(!FileManager.default.fileExists(atPath: folder + "/out/adapter_model.safetensors"))
            }
        }
    }
}
