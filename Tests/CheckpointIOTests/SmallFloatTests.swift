import TensorCore
import Testing

@testable import CheckpointIO

/// Types of one byte that only inspection reads. The numbers are those of PyTorch 2 (`float8_e4m3fn`, `float8_e5m2`).
@Suite struct SmallFloatTests {
    /// The value of each byte.
    func values(_ type: DType) -> [Double] {
        var values = [Double](repeating: 0, count: 256)
        (0...255).map { UInt8($0) }.withUnsafeBytes { bytes in
            values.withUnsafeMutableBufferPointer { TensorEncoding.plain(type).decodeNumbers(bytes, into: $0) }
        }
        return values
    }

    /// Sign, `exponentBits` and the fraction as a number, by the definition.
    func number(_ byte: Int, exponentBits: Int, bias: Int) -> Double {
        let fractionBits = 7 - exponentBits
        let exponent = (byte & 0x7F) >> fractionBits
        let fraction = Double(byte & ((1 << fractionBits) - 1)) / Double(1 << fractionBits)
        let size =
            exponent == 0
            ? fraction * Double(sign: .plus, exponent: 1 - bias, significand: 1)
            : (1 + fraction) * Double(sign: .plus, exponent: exponent - bias, significand: 1)
        return byte & 0x80 == 0 ? size : -size
    }

    @Test func e4m3HasNoInfinitiesAndOneNaN() {
        let values = values(.f8e4m3)
        for byte in 0...255 where byte & 0x7F != 0x7F {
            #expect(values[byte] == number(byte, exponentBits: 4, bias: 7), "byte \(byte)")
        }
        #expect(values.indices.filter { values[$0].isNaN } == [0x7F, 0xFF])
        let known = [
            0x01: 0.001953125, 0x07: 0.013671875, 0x08: 0.015625, 0x38: 1, 0x3B: 1.375, 0x7E: 448, 0x81: -0.001953125,
            0xC1: -2.25, 0xFB: -352,
        ]
        for (byte, value) in known { #expect(values[byte] == value, "byte \(byte)") }
        #expect(values.filter(\.isFinite).reduce(0) { $0 + abs($1) } == 10815.75)
        #expect(values[0x80].sign == .minus)
    }

    @Test func e5m2HasInfinitiesAndNaN() {
        let values = values(.f8e5m2)
        for byte in 0...255 where byte & 0x7C != 0x7C {
            #expect(values[byte] == number(byte, exponentBits: 5, bias: 15), "byte \(byte)")
        }
        #expect(values[0x7C] == .infinity && values[0xFC] == -.infinity)
        #expect(values.indices.filter { values[$0].isNaN } == [0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF])
        let known = [0x01: 1.52587890625e-05, 0x07: 0.0001068115234375, 0x38: 0.5, 0x7B: 57344, 0xC1: -2.5]
        for (byte, value) in known { #expect(values[byte] == value, "byte \(byte)") }
    }

    @Test func truthValuesAreZeroAndOne() {
        #expect(values(.bool) == [0] + [Double](repeating: 1, count: 255))
    }
}
