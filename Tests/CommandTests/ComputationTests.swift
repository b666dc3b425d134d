import Foundation
import TestSupport
import Testing

/// What the program computes does not depend on how many threads it is given.
@Suite struct ComputationTests {
    private func loss(_ program: Program, _ environment: [String: String]) throws -> Double {
        let outcome = try program.run(
            ["eval", TinyRun.base, "--data", "records.json", "--dtype", "f32", "--threads", "2", "--json"],
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
    @Test(arguments: ["0", "1"]) func lowerVectorLevelsGiveTheSameLoss(level: String) throws {
        let program = Program(folder: try TinyRun.shared.get().folder)
        let free = try loss(program, [:])
        let limited = try loss(program, ["TSPEFT_CPU_LEVEL": level])
        #expect(abs(free - limited) <= 1e-5 * free)
    }
}
