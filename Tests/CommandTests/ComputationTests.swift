import Foundation
import TensorCore
import TestSupport
import Testing

/// What the program computes does not depend on how many threads it is given.
@Suite struct ComputationTests {
    private func loss(
        _ program: Program, _ environment: [String: String], dtype: String = "f32"
    ) throws -> Double {
        let outcome = try program.run(
            ["eval", TinyRun.base, "--data", "records.json", "--dtype", dtype, "--threads", "2", "--json"],
            environment: environment)
        #expect(outcome.status == 0, "\(outcome.errors)")
        let json = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? [String: Any]
        return try #require(json?["loss"] as? Double)
    }

    /// libgomp gives fewer threads than are asked for where the environment limits them.
    @Test(arguments: ["OMP_THREAD_LIMIT", "OMP_DYNAMIC"]) func fewerThreadsThanAskedForLeaveNothingUndone(
        variable: String
    ) throws {
        let program = Program(folder: try TinyRun.shared.get().folder)
        let free = try loss(program, [:])
        let limited = try loss(program, [variable: variable == "OMP_DYNAMIC" ? "true" : "1"])
        #expect(abs(free - limited) <= 1e-5 * free)
    }

    /// The plain kernels, which processors without AVX2 run, compute the same up to rounding.
    @Test(arguments: ["plain", "AVX2", "0", "1"]) func lowerVectorLevelsGiveTheSameLoss(level: String) throws {
        let program = Program(folder: try TinyRun.shared.get().folder)
        let free = try loss(program, [:])
        let limited = try loss(program, ["TSPEFT_CPU_LEVEL": level])
        #expect(abs(free - limited) <= 1e-5 * free)
    }

    /// BF16 is storage everywhere: where the processor does not multiply it, operands are decoded.
    @Test(arguments: ["plain", "avx2", "avx512"]) func bf16RunsAtEveryLevel(level: String) throws {
        let program = Program(folder: try TinyRun.shared.get().folder)
        let exact = try loss(program, [:])
        let stored = try loss(program, ["TSPEFT_CPU_LEVEL": level], dtype: "bf16")
        #expect(abs(exact - stored) <= 0.01 * exact)
    }

    @Test func unknownLevelIsRefused() throws {
        let program = Program(folder: try TinyRun.shared.get().folder)
        for level in ["3", "-1", "sse", "avx 2"] {
            let outcome = try program.run(["--version"], environment: ["TSPEFT_CPU_LEVEL": level])
            #expect(outcome.status == 64)
            #expect(
                outcome.errorLines == [
                    "tspeft: unknown level in TSPEFT_CPU_LEVEL '\(level)'; known: plain, avx2, avx512"
                ])
        }
    }

    @Test func verboseVersionSaysWhichPathsAreInUse() throws {
        let program = Program(folder: try TinyRun.shared.get().folder)
        let outcome = try program.run(["--version", "--verbose"], environment: ["TSPEFT_CPU_LEVEL": "plain"])
        #expect(outcome.status == 0)
        let lines = outcome.output.split(separator: "\n")
        #expect(lines.first == "tspeft \(ToolVersion.current)")
        #expect(lines.contains("kernels: plain") && lines.contains("BF16 products: decoded into F32"))
        #expect(lines.contains { $0.hasPrefix("products: oneDNN 2.") && $0.hasSuffix(", sse41") })
    }
}
