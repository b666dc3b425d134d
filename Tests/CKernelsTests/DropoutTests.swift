import CKernels
import Testing

@Suite struct DropoutTests {
    /// Which of `count` elements from `first` on are kept, and with what factor.
    private func factors(_ level: KernelLevel, _ element: Element, count: Int, first: UInt64, key: UInt64, rate: Float)
        -> [Float]
    {
        let ones = Buffer([Float](repeating: 1, count: count), element), out = Buffer(count: count, element)
        level.kernels.dropout(ones.pointer, out.pointer, element.rawValue, count, first, key, rate)
        return out.values
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func everyLevelAndTypeDrawsTheSameMask(level: KernelLevel, element: Element) {
        // The last start makes the index pass a multiple of 2^32 within the call.
        for first: UInt64 in [0, 12345, (7 << 32) - 300] {
            for size in oddSizes {
                let expected = factors(.plain, .f32, count: size, first: first, key: 42, rate: 0.5)
                #expect(factors(level, element, count: size, first: first, key: 42, rate: 0.5) == expected)
            }
        }
    }

    @Test(arguments: KernelLevel.all)
    func splittingTheWorkDoesNotChangeTheMask(level: KernelLevel) {
        let whole = factors(level, .f32, count: 1000, first: 99, key: 5, rate: 0.3)
        var parts: [Float] = []
        for size in [1, 16, 17, 300, 666] {
            parts += factors(level, .f32, count: size, first: 99 + UInt64(parts.count), key: 5, rate: 0.3)
        }
        #expect(parts == whole)
    }

    @Test(arguments: [Float(0.05), 0.1, 0.5, 0.9])
    func theRateIsKeptOverIndicesAndKeys(rate: Float) {
        let count = 40000
        var dropped = 0, droppedAtFirst = 0
        let values = factors(KernelLevel.all.last!, .f32, count: count, first: 0, key: 1, rate: rate)
        for value in values where value == 0 { dropped += 1 }
        for key in 0..<4000 {
            let value = factors(.plain, .f32, count: 1, first: 0, key: UInt64(key), rate: rate)[0]
            if value == 0 { droppedAtFirst += 1 }
        }
        let variance = Double(rate * (1 - rate))
        #expect(abs(Double(dropped) - Double(rate) * Double(count)) < 5 * (variance * Double(count)).squareRoot())
        #expect(abs(Double(droppedAtFirst) - Double(rate) * 4000) < 5 * (variance * 4000).squareRoot())
        #expect(values.allSatisfy { $0 == 0 || abs($0 * (1 - rate) - 1) < 1e-6 })
    }

    @Test func masksOfDifferentKeysAndNeighboursAreUncorrelated() {
        let count = 20000
        let level = KernelLevel.all.last!
        let a = factors(level, .f32, count: count, first: 0, key: 1, rate: 0.5)
        let b = factors(level, .f32, count: count, first: 0, key: 2, rate: 0.5)
        // Agreement of independent fair bits has standard deviation sqrt(n) / 2.
        let limit = 2.5 * Double(count).squareRoot()
        func agreement(_ shift: Int, _ x: [Float], _ y: [Float]) -> Double {
            Double((0..<count).reduce(0) { $0 + (x[$1] == y[($1 + shift) % count] ? 1 : 0) })
        }
        for shift in [0, 1, 2, 16, 64, 576] {
            #expect(abs(agreement(shift, a, b) - Double(count) / 2) < limit)
            if shift > 0 { #expect(abs(agreement(shift, a, a) - Double(count) / 2) < limit) }
        }
    }

    @Test(arguments: KernelLevel.all)
    func rateZeroKeepsAllAndRateOneNothing(level: KernelLevel) {
        #expect(factors(level, .bf16, count: 65, first: 3, key: 9, rate: 0) == [Float](repeating: 1, count: 65))
        #expect(factors(level, .bf16, count: 65, first: 3, key: 9, rate: 1) == [Float](repeating: 0, count: 65))
    }

    @Test(arguments: KernelLevel.all)
    func aDroppedInfinityIsZeroAndInPlaceWorks(level: KernelLevel) {
        let kept = factors(level, .f32, count: 577, first: 0, key: 3, rate: 0.5)
        let x = Buffer(kept.map { $0 == 0 ? .infinity : 2 })
        level.kernels.dropout(x.pointer, x.pointer, Element.f32.rawValue, 577, 0, 3, 0.5)
        #expect(x.values == kept.map { 2 * $0 })
    }
}
