import CKernels
import Foundation
import Testing

private let levels = KernelLevel.all

/// Stored numbers of one type, at an odd address, with the kernel that reads them.
private struct Stored: CustomTestStringConvertible, Sendable {
    let testDescription: String
    let kernel: @Sendable (tspeft_statistics_table) -> Kernel
    let bytes: @Sendable ([Double]) -> [UInt8]
    /// What is left of a number once it is stored.
    let rounded: @Sendable (Double) -> Double

    typealias Kernel = @convention(c) (UnsafeRawPointer?, Int, UnsafeMutablePointer<tspeft_moments>?) -> Void

    static let all = [
        Stored(testDescription: "F32", kernel: { $0.moments_f32 }, bytes: { raw($0.map { Float($0) }) }) {
            Double(Float($0))
        },
        Stored(testDescription: "BF16", kernel: { $0.moments_bf16 }, bytes: { raw($0.map { bf16Bits(Float($0)) }) }) {
            Double(Float(bitPattern: UInt32(bf16Bits(Float($0))) << 16))
        },
        Stored(testDescription: "F16", kernel: { $0.moments_f16 }, bytes: { raw($0.map { Float16($0) }) }) {
            Double(Float16($0))
        },
        Stored(testDescription: "F64", kernel: { $0.moments_f64 }, bytes: { raw($0) }) { $0 },
    ]

    /// The moments at a level, of bytes that begin at an odd address.
    func moments(_ values: [Double], level: KernelLevel) -> tspeft_moments {
        let table = tspeft_statistics_at(Int32(level.number)).pointee
        var moments = tspeft_moments()
        ([0] + bytes(values)).withUnsafeBytes { kernel(table)($0.baseAddress! + 1, values.count, &moments) }
        return moments
    }
}

private func raw<Value>(_ values: [Value]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

/// Some of many sizes, with NaN and infinities where `strange` is set.
private func numbers(_ count: Int, strange: Bool) -> [Double] {
    var source = Numbers(seed: UInt64(count + 1))
    return (0..<count).map { index in
        if strange, index % 5 == 0 { return [.nan, .infinity, -.infinity][index / 5 % 3] }
        return Double(source.float(index % 7 == 3 ? 4000 : 1)) + 3
    }
}

/// Whether all fields are the same, bit for bit.
private func isSame(_ a: tspeft_moments, _ b: tspeft_moments) -> Bool {
    withUnsafeBytes(of: a) { left in withUnsafeBytes(of: b) { left.elementsEqual($0) } }
}

@Test(arguments: Stored.all, levels)
private func momentsAreThoseOfTheDefinition(_ stored: Stored, _ level: KernelLevel) {
    for strange in [false, true] {
        for count in oddSizes {
            let values = numbers(count, strange: strange)
            let found = stored.moments(values, level: level)
            let finite = values.map(stored.rounded).filter(\.isFinite)
            #expect(found.finite == finite.count && found.nan == values.count(where: \.isNaN))
            #expect(found.infinite == values.count(where: \.isInfinite))
            #expect(found.minimum == finite.min() ?? .infinity && found.maximum == finite.max() ?? -.infinity)
            guard let shift = finite.first else { continue }
            #expect(found.shift == shift)
            let distances = finite.map { $0 - shift }
            let sum = distances.reduce(0, +)
            let squares = distances.reduce(0) { $0 + $1 * $1 }
            // Sums of at most 577 doubles in another order.
            #expect(abs(found.sum - sum) <= 1e-12 * distances.reduce(0) { $0 + abs($1) })
            #expect(abs(found.squares - squares) <= 1e-12 * squares)
        }
    }
}

@Test(arguments: Stored.all)
private func allLevelsGiveTheSameMoments(_ stored: Stored) {
    for count in oddSizes {
        let values = numbers(count, strange: count % 2 == 0)
        let plain = stored.moments(values, level: .plain)
        for level in KernelLevel.vectors { #expect(isSame(stored.moments(values, level: level), plain)) }
    }
}

@Test(arguments: Stored.all, levels)
private func momentsOfSmallestNumbersAndOfNothingFinite(_ stored: Stored, _ level: KernelLevel) {
    // The least numbers above 0 of F16, BF16 and F32: none is lost.
    let tiny = stored.testDescription == "F16" ? 0x1p-24 : 0x1p-133
    let found = stored.moments([0, tiny, -tiny, .nan], level: level)
    #expect(found.minimum == -tiny && found.maximum == tiny && found.nan == 1)
    let none = stored.moments([.nan, .infinity], level: level)
    #expect(none.finite == 0 && none.nan == 1 && none.infinite == 1 && none.sum == 0)
}

@Test(arguments: levels) private func differencesAreThoseOfTheDefinition(_ level: KernelLevel) {
    let table = tspeft_statistics_at(Int32(level.number)).pointee
    for count in oddSizes {
        let a = numbers(count, strange: true)
        var b = a
        for index in stride(from: 0, to: count, by: 3) { b[index] = index % 2 == 0 ? b[index] + 0.5 : .nan }
        var wide = tspeft_difference()
        table.difference_f64(a, b, count, &wide)
        check(wide, a, b) { $0.bitPattern != $1.bitPattern }
        let (left, right) = (a.map { Float($0) }, b.map { Float($0) })
        var narrow = tspeft_difference()
        table.difference_f32(left, right, count, &narrow)
        check(narrow, left.map { Double($0) }, right.map { Double($0) }) {
            Float($0).bitPattern != Float($1).bitPattern
        }
    }
}

private func check(
    _ found: tspeft_difference, _ a: [Double], _ b: [Double], differs: (Double, Double) -> Bool
) {
    let pairs = Array(zip(a, b))
    let finite = pairs.filter { $0.isFinite && $1.isFinite }
    #expect(found.differing == pairs.count { differs($0, $1) })
    #expect(found.incomparable == pairs.count { differs($0, $1) && !($0.isFinite && $1.isFinite) })
    #expect(found.largest == finite.map { abs($1 - $0) }.max() ?? 0)
    let squares = finite.reduce(0) { $0 + ($1.1 - $1.0) * ($1.1 - $1.0) }
    let reference = finite.reduce(0) { $0 + $1.0 * $1.0 }
    #expect(abs(found.squares - squares) <= 1e-12 * squares)
    #expect(abs(found.reference - reference) <= 1e-12 * reference)
}

@Test(arguments: levels) private func signsOfZeroDifferByNothing(_ level: KernelLevel) {
    let table = tspeft_statistics_at(Int32(level.number)).pointee
    var found = tspeft_difference()
    table.difference_f32([0, 1] as [Float], [-0.0, 1] as [Float], 2, &found)
    #expect(found.differing == 1 && found.incomparable == 0 && found.largest == 0 && found.squares == 0)
}

@Test private func shaInstructionsAgreeWithPlainC() {
    var source = Numbers(seed: 7)
    let bytes = (0..<64 * 9 + 1).map { _ in UInt8(truncatingIfNeeded: source.bits()) }
    for blocks in [0, 1, 2, 9] {
        var (fast, plain) = ((1...8).map { UInt32($0) }, (1...8).map { UInt32($0) })
        bytes.withUnsafeBytes {
            tspeft_sha256_blocks(&fast, $0.baseAddress! + 1, blocks)
            tspeft_sha256_blocks_plain(&plain, $0.baseAddress! + 1, blocks)
        }
        #expect(fast == plain)
    }
}
