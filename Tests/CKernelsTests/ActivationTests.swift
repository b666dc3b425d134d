import CKernels
import Foundation
import Testing

@Suite struct ActivationTests {
    /// A non-linearity in double precision.
    static let functions: [(kind: Int32, value: @Sendable (Double) -> Double)] = [
        (Int32(TSPEFT_TANH), { tanh($0) }), (Int32(TSPEFT_RELU), { max($0, 0) }),
        (Int32(TSPEFT_GELU), { 0.5 * $0 * erfc(-$0 / 2.0.squareRoot()) }),
        (Int32(TSPEFT_SILU), { $0 / (1 + exp(-$0)) }),
        (
            Int32(TSPEFT_GELU_TANH),
            { $0 / 2 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) }
        ),
        (Int32(TSPEFT_QUICK_GELU), { $0 / (1 + exp(-1.702 * $0)) }),
    ]

    @Test(arguments: KernelLevel.all, functions.indices)
    func valuesAndSlopesAreTheFunctions(level: KernelLevel, index: Int) {
        let (kind, value) = Self.functions[index]
        var numbers = Numbers(seed: 31)
        for element in Element.activations {
            for size in oddSizes {
                for hasFactor in [false, true] {
                    let x = Buffer(numbers.floats(size, 7), element), factor = Buffer(numbers.floats(size, 2), element)
                    let dout = Buffer(numbers.floats(size), element), out = Buffer(count: size, element)
                    let dx = Buffer(count: size, element), dfactor = Buffer(count: size, element)
                    let place = hasFactor ? factor.pointer : nil
                    level.kernels.activation_forward(kind, x.pointer, place, out.pointer, element.rawValue, size)
                    level.kernels.activation_backward(
                        kind, x.pointer, place, dout.pointer, dx.pointer, dfactor.pointer, element.rawValue, size)
                    let (z, d) = (x.values.map(Double.init), dout.values.map(Double.init))
                    let f = hasFactor ? factor.values.map(Double.init) : [Double](repeating: 1, count: size)
                    let h = 1e-6, tolerance = element.rounding * 1.01 + 2e-6
                    let slopes = z.map { (value($0 + h) - value($0 - h)) / (2 * h) }
                    let expected = zip(z, f).map { value($0) * $1 }
                    #expect(agree(out.values, expected, tolerance: tolerance, floor: 1e-1), "size \(size)")
                    let gradients = (0..<size).map { d[$0] * f[$0] * slopes[$0] }
                    #expect(agree(dx.values, gradients, tolerance: tolerance, floor: 1e-1), "size \(size)")
                    guard hasFactor else { continue }
                    let toFactor = (0..<size).map { d[$0] * value(z[$0]) }
                    #expect(agree(dfactor.values, toFactor, tolerance: tolerance, floor: 1e-1), "size \(size)")
                }
            }
        }
    }

    /// gelu to a few units of single precision over its whole range, where the two formulas of the vectors meet too.
    @Test(arguments: KernelLevel.all) func geluIsExactToRounding(level: KernelLevel) {
        let points: [Float] = Array(stride(from: Float(-8), through: 8, by: 0.0037))
        let x = Buffer(points + [1.4, -1.4, 1.3999999, 5.7, -5.7] as [Float])
        let out = Buffer(count: x.count)
        level.kernels.activation_forward(
            Int32(TSPEFT_GELU), x.pointer, nil, out.pointer, Element.f32.rawValue, x.count)
        let root = 2.0.squareRoot()
        let worst = zip(x.values, out.values).map { pair -> Double in
            let (x, found) = (Double(pair.0), Double(pair.1))
            let expected: Double = 0.5 * x * erfc(-x / root)
            return abs(found - expected) / max(1, abs(x))
        }.max()!
        #expect(worst < 2e-7)
    }

    @Test(arguments: KernelLevel.all, functions.indices)
    func theEndsAreRightAndNaNShows(level: KernelLevel, index: Int) {
        let kind = Self.functions[index].kind
        let x = Buffer([-1e30, 1e30, 0, .nan, -100, 100]), out = Buffer(count: 6), dx = Buffer(count: 6)
        let one = Buffer([Float](repeating: 1, count: 6))
        level.kernels.activation_forward(kind, x.pointer, nil, out.pointer, Element.f32.rawValue, 6)
        level.kernels.activation_backward(
            kind, x.pointer, nil, one.pointer, dx.pointer, nil, Element.f32.rawValue, 6)
        let isTanh = kind == Int32(TSPEFT_TANH)
        #expect(out.values[0] == (isTanh ? -1 : 0) && out.values[1] == (isTanh ? 1 : 1e30))
        #expect(out.values[2] == 0 && out.values[3].isNaN)
        #expect(dx.values[0] == 0 && dx.values[1] == (isTanh ? 0 : 1))
        #expect(abs(dx.values[4]) < 1e-30 && abs(dx.values[5] - (isTanh ? 0 : 1)) < 1e-6)
    }
}
