import Foundation
import TestSupport
import Testing

/// A Python with torch, transformers and gguf; the test's own environment names it.
private let python = ProcessInfo.processInfo.environment["TSPEFT_PYTHON"]

/// `Tests/Scripts/check_conversions.py`, which has other programs read what `convert` writes of the fixture's model, or
/// of the one that TSPEFT_MODEL names.
@Suite(.enabled(if: python != nil, "TSPEFT_PYTHON names no Python with torch, transformers and gguf"))
struct ConversionAgreementTests {
    @Test func otherProgramsReadWhatWeConvert() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            try #require(python), "-W", "ignore", packageRoot + "/Tests/Scripts/check_conversions.py", Program.path,
            ProcessInfo.processInfo.environment["TSPEFT_MODEL"] ?? fixture("tiny-llama"),
        ]
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }
}
