import CKernels
import Foundation
import Testing

@Suite struct LevelTests {
    /// The level that the environment asks of this run, as the program documents the variable; nil for none.
    private static let asked = ProcessInfo.processInfo.environment["TSPEFT_CPU_LEVEL"].flatMap { text -> Int32? in
        let names = ["plain", "avx2", "avx512"]
        return names.firstIndex(of: text.lowercased()).map(Int32.init) ?? Int32(text)
    }

    /// The best level that the processor has.
    private static let best = Int32(KernelLevel.all.count - 1)

    @Test func theCurrentLevelIsOneTheProcessorHas() {
        #expect(tspeft_kernels_at(tspeft_cpu_level()) != nil)
    }

    /// What a limited run of the tests stands on: the level in force is the one that was asked for.
    @Test func theLevelInForceIsTheAskedForOrTheProcessorsBest() {
        print("level in force: \(String(cString: tspeft_level_name(tspeft_cpu_level())))")
        #expect(tspeft_cpu_level() == min(Self.best, Self.asked ?? Self.best))
        #expect(tspeft_asked_level() == Self.asked ?? 2)
    }

    @Test func aLimitBelowTheHighestTakesHardwareBF16Away() {
        if tspeft_cpu_level() < 2 { #expect(tspeft_multiplies_bf16() == 0) }
    }

    @Test func levelsHaveTheNamesThatTheEnvironmentTakes() {
        #expect((0..<3).map { String(cString: tspeft_level_name($0)) } == ["plain", "avx2", "avx512"])
        #expect(tspeft_level_name(-1) == nil && tspeft_level_name(3) == nil)
    }

    @Test func thereIsNoLevelBeyondTheLast() {
        #expect(tspeft_kernels_at(-1) == nil)
        #expect(tspeft_kernels_at(3) == nil)
    }

    @Test(arguments: KernelLevel.all)
    func copyingConversionKeepsValues(level: KernelLevel) {
        var out = [Float](repeating: 0, count: 3)
        level.kernels.convert([1, 2, 3] as [Float], 0, &out, 0, 3)
        #expect(out == [1, 2, 3])
    }
}
