import CKernels
import Testing

@Suite struct LevelTests {
    @Test func theCurrentLevelIsOneTheProcessorHas() {
        #expect(tspeft_kernels_at(tspeft_cpu_level()) != nil)
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
