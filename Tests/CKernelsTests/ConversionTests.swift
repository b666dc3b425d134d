import CKernels
import Testing

@Suite struct ConversionTests {
    /// Floats at every kind of boundary, and random ones.
    private static let probes: [Float] = {
        var bits: [UInt32] = [
            0, 1, 0x7FFF, 0x8000, 0x8001, 0x17FFF, 0x18000, 0x18001, 0x7F_8000, 0x7F_FFFF, 0x80_0000, 0x3F80_7FFF,
            0x3F80_8000, 0x3F81_8000, 0x7F7F_7FFF, 0x7F7F_8000, 0x7F7F_FFFF, 0x7F80_0000, 0x7F80_0001, 0x7FBF_FFFF,
            0x7FC0_0000, 0x7FFF_FFFF, 0x3300_0000, 0x3300_0001, 0x3380_0000, 0x33C0_0000, 0x387F_C000, 0x387F_E000,
            0x387F_FFFF, 0x3880_0000, 0x477F_E000, 0x477F_EFFF, 0x477F_F000, 0x4780_0000, 0x3F80_1000, 0x3F80_3000,
            0x3F80_1001, 0x32FF_FFFF,
        ]
        var numbers = Numbers(seed: 1)
        for _ in 0..<4000 { bits.append(numbers.bits() & 0x7FFF_FFFF) }
        return bits.flatMap { [Float(bitPattern: $0), Float(bitPattern: $0 | 0x8000_0000)] }
    }()

    @Test(arguments: KernelLevel.all)
    func everyBFloat16BecomesTheFloatWithItsBits(level: KernelLevel) {
        let all = Buffer(count: 65536, .bf16), out = Buffer(count: 65536)
        for i in 0..<65536 { all.bytes.storeBytes(of: UInt16(i), toByteOffset: i * 2, as: UInt16.self) }
        level.kernels.convert(all.pointer, Element.bf16.rawValue, out.pointer, Element.f32.rawValue, 65536)
        #expect(out.bits == (0..<65536).map { UInt32($0) << 16 })
    }

    @Test(arguments: KernelLevel.all)
    func everyFloat16BecomesTheSameNumber(level: KernelLevel) {
        let all = Buffer(count: 65536, .f16), out = Buffer(count: 65536)
        for i in 0..<65536 { all.bytes.storeBytes(of: UInt16(i), toByteOffset: i * 2, as: UInt16.self) }
        level.kernels.convert(all.pointer, Element.f16.rawValue, out.pointer, Element.f32.rawValue, 65536)
        let wrong = zip(out.bits, 0..<65536).filter { found, i in
            let expected = Float(Float16(bitPattern: UInt16(i)))
            return expected.isNaN ? !Float(bitPattern: found).isNaN : found != expected.bitPattern
        }
        #expect(wrong.isEmpty)
    }

    @Test(arguments: KernelLevel.all)
    func floatsRoundToNearestEvenBFloat16(level: KernelLevel) {
        let source = Buffer(Self.probes), out = Buffer(count: Self.probes.count, .bf16)
        level.kernels.convert(
            source.pointer, Element.f32.rawValue, out.pointer, Element.bf16.rawValue, Self.probes.count)
        #expect(out.bits == Self.probes.map { UInt32(bf16Bits($0)) })
    }

    @Test(arguments: KernelLevel.all)
    func floatsRoundToNearestEvenFloat16(level: KernelLevel) {
        let source = Buffer(Self.probes), out = Buffer(count: Self.probes.count, .f16)
        level.kernels.convert(
            source.pointer, Element.f32.rawValue, out.pointer, Element.f16.rawValue, Self.probes.count)
        let wrong = zip(out.bits, Self.probes).filter { found, value in
            value.isNaN
                ? !Float16(bitPattern: UInt16(found)).isNaN : found != UInt32(Float16(value).bitPattern)
        }
        #expect(wrong.isEmpty)
    }

    @Test(arguments: KernelLevel.vectors)
    func levelsAgreeBitForBitAtEverySize(level: KernelLevel) {
        for size in oddSizes {
            let values = Array(Self.probes.suffix(size))
            for from in Element.allCases {
                for to in Element.allCases where from == .f32 || to == .f32 {
                    let source = Buffer(values, from)
                    let expected = Buffer(count: size, to), found = Buffer(count: size, to)
                    let plain = KernelLevel.plain.kernels
                    plain.convert(source.pointer, from.rawValue, expected.pointer, to.rawValue, size)
                    level.kernels.convert(source.pointer, from.rawValue, found.pointer, to.rawValue, size)
                    #expect(found.bits == expected.bits, "\(from) to \(to), \(size) elements")
                    _ = found.values  // checks the end
                }
            }
        }
    }
}
