import CKernels
import Foundation
import Testing

/// Sizes around the widths of vectors and of the kernels' blocks.
let oddSizes = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 577]

/// A level of the kernels: its number and its functions.
struct KernelLevel: CustomTestStringConvertible, @unchecked Sendable {
    let number: Int
    let kernels: tspeft_kernel_table
    var testDescription: String { ["plain", "AVX2", "AVX-512"][number] }

    static let plain = KernelLevel(number: 0, kernels: tspeft_kernels_at(0)!.pointee)
    /// The levels with vectors that this processor has.
    static let vectors = (1...2).compactMap { level in
        tspeft_kernels_at(Int32(level)).map { KernelLevel(number: level, kernels: $0.pointee) }
    }
    static let all = [plain] + vectors
}

/// An element type of activations, with the error of one rounding to it.
enum Element: Int32, CaseIterable {
    case f32 = 0
    case bf16 = 1
    case f16 = 2

    static let activations: [Element] = [.f32, .bf16]
    var byteCount: Int { self == .f32 ? 4 : 2 }
    /// Half a unit in the last place, relative.
    var rounding: Double { self == .f32 ? 0x1p-24 : self == .bf16 ? 0x1p-8 : 0x1p-11 }
}

/// `value` as bf16 bits, to nearest, ties to even: the definition, on reals.
func bf16Bits(_ value: Float) -> UInt16 {
    let low = UInt16(truncatingIfNeeded: value.bitPattern >> 16)
    if value.isNaN { return low | 0x40 }
    let rest = value.bitPattern & 0xFFFF
    return rest > 0x8000 || (rest == 0x8000 && low & 1 == 1) ? low + 1 : low
}

/// Memory for the kernels with a guarded end: floats go in and come out, the element type is inside.
final class Buffer {
    let element: Element
    let count: Int
    let bytes: UnsafeMutableRawBufferPointer
    private static let guardSize = 64

    init(_ values: [Float], _ element: Element = .f32) {
        self.element = element
        count = values.count
        bytes = .allocate(byteCount: values.count * element.byteCount + Self.guardSize, alignment: 64)
        memset(bytes.baseAddress!, 0xA5, bytes.count)
        switch element {
        case .f32: values.withUnsafeBytes { bytes.copyMemory(from: $0) }
        case .bf16: values.map(bf16Bits).withUnsafeBytes { bytes.copyMemory(from: $0) }
        case .f16: values.map { Float16($0) }.withUnsafeBytes { bytes.copyMemory(from: $0) }
        }
    }

    convenience init(count: Int, _ element: Element = .f32) {
        self.init([Float](repeating: 0, count: count), element)
    }

    deinit { bytes.deallocate() }

    var pointer: UnsafeMutableRawPointer { bytes.baseAddress! }
    var floatPointer: UnsafeMutablePointer<Float> { pointer.assumingMemoryBound(to: Float.self) }

    /// The elements as floats, after a check that nothing was written behind them.
    var values: [Float] {
        let end = count * element.byteCount
        #expect(bytes[end...].allSatisfy { $0 == 0xA5 }, "written beyond the end")
        switch element {
        case .f32: return Array(UnsafeBufferPointer(start: floatPointer, count: count))
        case .bf16: return bits.map { Float(bitPattern: $0 << 16) }
        case .f16: return bits.map { Float(Float16(bitPattern: UInt16($0))) }
        }
    }

    /// The elements' bits.
    var bits: [UInt32] {
        (0..<count).map { i in
            element == .f32
                ? bytes.load(fromByteOffset: i * 4, as: UInt32.self)
                : UInt32(bytes.load(fromByteOffset: i * 2, as: UInt16.self))
        }
    }
}

/// Reproducible numbers for tests.
struct Numbers {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

    mutating func bits() -> UInt32 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return UInt32(truncatingIfNeeded: state >> 32)
    }

    /// Uniform in [-size, size).
    mutating func float(_ size: Float = 1) -> Float {
        (Float(bits() >> 8) * 0x1p-23 - 1) * size
    }

    mutating func floats(_ count: Int, _ size: Float = 1) -> [Float] {
        (0..<count).map { _ in float(size) }
    }
}

/// The largest difference of two lists; infinite where one has a NaN that the other has not.
func largestDifference(_ a: [Float], _ b: [Float]) -> Double {
    zip(a, b).reduce(a.count == b.count ? 0 : .infinity) { most, pair in
        if pair.0.isNaN && pair.1.isNaN || pair.0 == pair.1 { return most }
        let difference = abs(Double(pair.0) - Double(pair.1))
        return difference.isNaN ? .infinity : max(most, difference)
    }
}

/// Whether each value is within `tolerance` times max(|expected|, floor) of what is expected.
func agree(_ found: [Float], _ expected: [Double], tolerance: Double, floor: Double = 1) -> Bool {
    found.count == expected.count
        && zip(found, expected).allSatisfy { abs(Double($0) - $1) <= tolerance * max(abs($1), floor) }
}
