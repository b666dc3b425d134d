import CKernels
import Testing

/// Adding a low-rank product to a weight as it is stored, and counting what changed.
@Suite struct MergeTests {
    private static let sizes: [(rows: Int, rank: Int, width: Int)] = [
        (1, 1, 1), (4, 2, 64), (5, 3, 65), (7, 8, 15), (3, 1, 16), (9, 32, 131), (6, 5, 33),
        (4, 3, 8), (2, 0, 20), (0, 2, 3), (3, 2, 0),
    ]

    private func merge(
        _ level: KernelLevel, _ source: Buffer, into target: Buffer, b: [Float], a: [Float], scale: Float,
        _ size: (rows: Int, rank: Int, width: Int)
    ) -> tspeft_change {
        level.kernels.merge_rows(
            target.pointer, source.pointer, source.element.rawValue, b, a, scale, size.rows, size.rank, size.width)
    }

    /// Sums of `rank` products in float: each step rounds by half a unit of at most the sum of magnitudes; what is
    /// stored is rounded once more.
    @Test(arguments: KernelLevel.all, Element.allCases)
    func mergedWeightsAgreeWithDoubles(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 41)
        for size in Self.sizes {
            let source = Buffer(numbers.floats(size.rows * size.width), element)
            let target = Buffer(count: source.count, element)
            let (a, b) = (numbers.floats(size.rank * size.width), numbers.floats(size.rows * size.rank))
            _ = merge(level, source, into: target, b: b, a: a, scale: 0.75, size)
            let (before, after) = (source.values, target.values)
            for row in 0..<size.rows {
                for column in 0..<size.width {
                    let products = (0..<size.rank).map {
                        Double(b[row * size.rank + $0]) * Double(a[$0 * size.width + column])
                    }
                    let place = row * size.width + column
                    let exact = Double(before[place]) + 0.75 * products.reduce(0, +)
                    let magnitude = products.reduce(0) { $0 + abs($1) }
                    // The last term: half a unit of the smallest F16, below which rounding is absolute.
                    let bound =
                        (magnitude * Double(size.rank + 2) + abs(exact)) * 0x1p-23
                        + abs(exact) * element.rounding * 1.01 + 0x1p-25
                    #expect(abs(Double(after[place]) - exact) <= bound, "\(size), row \(row), column \(column)")
                }
            }
        }
    }

    /// What is stored is the float sum, rounded as `convert` rounds; what is counted is the stored numbers' change.
    @Test(arguments: KernelLevel.all, Element.allCases)
    func storedWeightsAreTheRoundedFloatSumsAndTheirChangesAreCounted(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 42)
        for size in Self.sizes {
            let source = Buffer(numbers.floats(size.rows * size.width), element)
            // Small updates, so that some of them are lost.
            let (a, b) = (numbers.floats(size.rank * size.width, 0.02), numbers.floats(size.rows * size.rank, 0.2))
            let sums = Buffer(source.values), expected = Buffer(count: source.count, element)
            _ = merge(level, sums, into: sums, b: b, a: a, scale: 0.5, size)
            level.kernels.convert(
                sums.pointer, Element.f32.rawValue, expected.pointer, element.rawValue, source.count)
            let target = Buffer(count: source.count, element)
            let change = merge(level, source, into: target, b: b, a: a, scale: 0.5, size)
            #expect(target.bits == expected.bits, "\(size)")

            let distances = zip(source.values, target.values).map { abs($1 - $0) }.filter { $0 > 0 }
            #expect(change.changed == UInt64(distances.count), "\(size)")
            #expect(change.largest == distances.max() ?? 0, "\(size)")

            let inPlace = merge(level, source, into: source, b: b, a: a, scale: 0.5, size)
            #expect(source.bits == target.bits, "\(size)")
            #expect(inPlace.changed == change.changed && inPlace.largest == change.largest)
        }
    }

    /// Rows of 0 and sums that cancel leave every bit, of -0 and of NaN with a payload too.
    @Test(arguments: KernelLevel.all, Element.allCases)
    func zeroUpdateKeepsEveryBit(level: KernelLevel, element: Element) {
        let size = (rows: 2, rank: 2, width: 35)
        let source = Buffer((0..<70).map { $0 % 3 == 0 ? -0.0 : Float($0) }, element)
        // Signaling NaN, which arithmetic would make quiet.
        if element == .f32 {
            source.bytes.storeBytes(of: 0x7F80_0001, toByteOffset: 4 * 7, as: UInt32.self)
        } else {
            source.bytes.storeBytes(of: element == .bf16 ? 0x7F81 : 0x7C01, toByteOffset: 2 * 7, as: UInt16.self)
        }
        let target = Buffer(count: 70, element)
        let a = [Float](repeating: 1, count: size.rank * size.width)
        let change = merge(level, source, into: target, b: [0, 0, 1, -1], a: a, scale: 1, size)
        #expect(target.bits == source.bits)
        #expect(change.changed == 0 && change.largest == 0)
    }

    /// A sum beyond the type is infinite, which the change tells.
    @Test(arguments: KernelLevel.all, [(Element.f16, Float(65504), Float(64)), (.bf16, 0x1.FEp127, 0x1p126)])
    func overflowMakesTheLargestChangeInfinite(level: KernelLevel, _ limit: (Element, Float, Float)) {
        let source = Buffer([limit.1, 1], limit.0), target = Buffer(count: 2, limit.0)
        let change = merge(level, source, into: target, b: [1], a: [limit.2, 0], scale: 1, (1, 1, 2))
        #expect(target.values[0] == .infinity && target.values[1] == 1)
        #expect(change.changed == 1 && change.largest == .infinity)
    }

    @Test(arguments: KernelLevel.all) func changesAreCountedByBitsAndMeasured(level: KernelLevel) {
        let before: [Float] = [1, 2, -0.0, .nan, 5, 7]
        let after: [Float] = [1, 2.5, 0, .nan, 5, 6]
        let change = level.kernels.changes(before, after, 6)
        #expect(change.changed == 3)
        #expect(change.largest == 1)
        #expect(level.kernels.changes([1], [.infinity], 1).largest == .infinity)
        #expect(level.kernels.changes([1], [.nan], 1).largest == .infinity)
        #expect(level.kernels.changes([], [], 0).changed == 0)
    }

    /// What was NaN or infinite and stays so is counted apart, changed bits or not; what becomes a number has changed.
    @Test(arguments: KernelLevel.all, Element.allCases)
    func numbersThatWereNotFiniteAreCountedApart(level: KernelLevel, element: Element) {
        let signaling = Float(bitPattern: 0x7F80_0001)
        let before: [Float] = [.nan, .infinity, -.infinity, signaling, .nan, 3, 4]
        let after: [Float] = [.nan, .infinity, .infinity, .nan, 2, 3, 4.5]
        let change = level.kernels.changes(before, after, 7)
        #expect(change.unusable == 4 && change.changed == 2 && change.largest == 0.5)

        // Two rows of 37: the second has no update.
        var values = (0..<74).map { Float($0 % 9) }
        for (place, value) in [(0, Float.nan), (20, .infinity), (36, -.infinity), (40, .nan)] { values[place] = value }
        let source = Buffer(values, element), target = Buffer(count: 74, element)
        let a = [Float](repeating: 1, count: 37)
        let merged = merge(level, source, into: target, b: [1, 0], a: a, scale: 1, (2, 1, 37))
        #expect(merged.unusable == 4 && merged.changed == 34 && merged.largest == 1)
        #expect(target.values[0].isNaN && target.values[20] == .infinity && target.values[36] == -.infinity)
        #expect(target.values[1] == 2)
    }

    @Test(arguments: KernelLevel.all, [1, 7, 16, 33, (1 << 16) + 5])
    func changesAreTheSameAtEveryLevel(level: KernelLevel, count: Int) {
        var numbers = Numbers(seed: UInt64(count))
        let before = numbers.floats(count)
        let after = before.enumerated().map { $0 % 3 == 1 ? $1 + Float($0 % 5) * 0x1p-8 : $1 }
        let pairs = zip(before, after)
        let change = level.kernels.changes(before, after, count)
        #expect(change.changed == UInt64(pairs.count { $0.bitPattern != $1.bitPattern }))
        #expect(change.largest == pairs.map { abs($1 - $0) }.max())
    }
}
