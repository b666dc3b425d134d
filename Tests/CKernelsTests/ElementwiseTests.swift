import CKernels
import Foundation
import Testing

@Suite struct ElementwiseTests {
    @Test(arguments: KernelLevel.all, Element.activations)
    func gatedActivationIsSiluTimesUp(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 2)
        for size in oddSizes {
            let gate = Buffer(numbers.floats(size, 12), element), up = Buffer(numbers.floats(size, 2), element)
            let out = Buffer(count: size, element)
            level.kernels.silu_mul_forward(gate.pointer, up.pointer, out.pointer, element.rawValue, size)
            let expected = zip(gate.values, up.values).map { g, u in Double(g) / (1 + exp(-Double(g))) * Double(u) }
            #expect(agree(out.values, expected, tolerance: element.rounding * 1.01 + 4e-7, floor: 1e-5))
        }
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func gatedActivationHasItsDerivatives(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 3)
        for size in oddSizes {
            let gate = Buffer(numbers.floats(size, 12), element), up = Buffer(numbers.floats(size, 2), element)
            let dout = Buffer(numbers.floats(size), element)
            let dgate = Buffer(count: size, element), dup = Buffer(count: size, element)
            level.kernels.silu_mul_backward(
                gate.pointer, up.pointer, dout.pointer, dgate.pointer, dup.pointer, element.rawValue, size)
            func silu(_ x: Double) -> Double { x / (1 + exp(-x)) }
            let h = 1e-6
            let slopes = gate.values.map { (silu(Double($0) + h) - silu(Double($0) - h)) / (2 * h) }
            let (g, u, d) = (gate.values, up.values, dout.values)
            let expectedGate = (0..<size).map { slopes[$0] * Double(u[$0]) * Double(d[$0]) }
            let expectedUp = (0..<size).map { silu(Double(g[$0])) * Double(d[$0]) }
            #expect(agree(dgate.values, expectedGate, tolerance: element.rounding * 1.01 + 1e-6, floor: 1e-2))
            #expect(agree(dup.values, expectedUp, tolerance: element.rounding * 1.01 + 1e-6, floor: 1e-2))
        }
    }

    @Test(arguments: KernelLevel.all)
    func siluIsExactAtItsEndsAndKeepsNaN(level: KernelLevel) {
        let gate = Buffer([-1000, 1000, 0, .nan, -88.5, 88.5, -104, 3e38]), out = Buffer(count: 8)
        let up = Buffer([Float](repeating: 1, count: 8))
        level.kernels.silu_mul_forward(gate.pointer, up.pointer, out.pointer, Element.f32.rawValue, 8)
        let values = out.values
        #expect(values[0] == 0 && values[1] == 1000 && values[2] == 0 && values[3].isNaN)
        #expect(abs(values[4]) < 1e-35 && values[5] == 88.5 && abs(values[6]) < 1e-35 && values[7] == 3e38)
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func tanhFormOfGeluHasItsDerivatives(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 6)
        func gelu(_ x: Double) -> Double {
            x / 2 * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
        }
        for size in oddSizes {
            let gate = Buffer(numbers.floats(size, 5), element), up = Buffer(numbers.floats(size, 2), element)
            let dout = Buffer(numbers.floats(size), element), out = Buffer(count: size, element)
            let dgate = Buffer(count: size, element), dup = Buffer(count: size, element)
            level.kernels.gelu_mul_forward(gate.pointer, up.pointer, out.pointer, element.rawValue, size)
            level.kernels.gelu_mul_backward(
                gate.pointer, up.pointer, dout.pointer, dgate.pointer, dup.pointer, element.rawValue, size)
            let (g, u, d) = (gate.values.map(Double.init), up.values, dout.values)
            let h = 1e-6
            let slopes = g.map { (gelu($0 + h) - gelu($0 - h)) / (2 * h) }
            let expected = zip(g, u).map { gelu($0) * Double($1) }
            #expect(agree(out.values, expected, tolerance: element.rounding * 1.01 + 1e-6, floor: 1e-2))
            let expectedGate = (0..<size).map { slopes[$0] * Double(u[$0]) * Double(d[$0]) }
            let expectedUp = (0..<size).map { gelu(g[$0]) * Double(d[$0]) }
            #expect(agree(dgate.values, expectedGate, tolerance: element.rounding * 1.01 + 2e-6, floor: 1e-2))
            #expect(agree(dup.values, expectedUp, tolerance: element.rounding * 1.01 + 1e-6, floor: 1e-2))
        }
    }

    @Test(arguments: KernelLevel.all)
    func tanhFormOfGeluIsExactAtItsEnds(level: KernelLevel) {
        let gate = Buffer([-1e30, 1e30, 0, .nan, -100, 100]), out = Buffer(count: 6)
        let one = Buffer([Float](repeating: 1, count: 6)), dgate = Buffer(count: 6), dup = Buffer(count: 6)
        level.kernels.gelu_mul_forward(gate.pointer, one.pointer, out.pointer, Element.f32.rawValue, 6)
        level.kernels.gelu_mul_backward(
            gate.pointer, one.pointer, one.pointer, dgate.pointer, dup.pointer, Element.f32.rawValue, 6)
        #expect(out.values[0] == 0 && out.values[1] == 1e30 && out.values[2] == 0 && out.values[3].isNaN)
        #expect(Array(dgate.values[..<3]) == [0, 1, 0.5] && Array(dgate.values[4...]) == [0, 1])
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func scaleMultipliesEachElement(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 7)
        for size in oddSizes {
            let x = Buffer(numbers.floats(size), element)
            let expected = Buffer(x.values.map { $0 * 0.6 }, element).values
            level.kernels.scale(x.pointer, x.pointer, element.rawValue, 0.6, size)
            #expect(x.values == expected)
        }
    }

    @Test func softcapHasItsDerivative() {
        var numbers = Numbers(seed: 8)
        let x = Buffer(numbers.floats(9, 6)), gradient = Buffer([Float](repeating: 2, count: 9))
        let before = x.values.map(Double.init)
        tspeft_softcap(x.floatPointer, 4, 9)
        #expect(agree(x.values, before.map { 4 * tanh($0 / 4) }, tolerance: 1e-6))
        tspeft_softcap_backward(x.floatPointer, 4, gradient.pointer, Element.f32.rawValue, 9)
        #expect(agree(gradient.values, before.map { 2 / pow(cosh($0 / 4), 2) }, tolerance: 1e-6, floor: 1e-1))
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func addAccumulatesInFloat(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 4)
        for size in oddSizes {
            for target in Element.activations {
                let source = Buffer(numbers.floats(size), element), sum = Buffer(numbers.floats(size), target)
                let before = sum.values
                level.kernels.add(sum.pointer, target.rawValue, source.pointer, element.rawValue, size)
                #expect(sum.values == Buffer(zip(before, source.values).map { $0 + $1 }, target).values)
            }
        }
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func scatterAddsRowsWhereGatherTookThem(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 5)
        let indices: [Int32] = [4, 0, 3]
        for width in oddSizes {
            let table = Buffer(numbers.floats(5 * width), element), rows = Buffer(count: 3 * width, element)
            tspeft_gather_rows(table.pointer, indices, rows.pointer, 3, width * element.byteCount)
            let (before, gathered) = (table.values, rows.values)
            for (i, index) in indices.enumerated() {
                let from = Int(index) * width
                #expect(Array(gathered[i * width..<(i + 1) * width]) == Array(before[from..<from + width]))
            }
            level.kernels.scatter_add_rows(rows.pointer, indices, table.pointer, element.rawValue, 3, width)
            let doubled = (0..<5 * width).map { indices.contains(Int32($0 / width)) ? 2 * before[$0] : before[$0] }
            #expect(table.values == doubled)
        }
    }

    @Test(arguments: KernelLevel.all)
    func sumsOfSquaresAreDouble(level: KernelLevel) {
        var numbers = Numbers(seed: 6)
        for size in oddSizes {
            let x = Buffer(numbers.floats(size, 1e10))
            let expected = x.values.reduce(0.0) { $0 + Double($1) * Double($1) }
            #expect(abs(level.kernels.sum_squares(x.floatPointer, size) - expected) <= 1e-14 * expected)
        }
    }

    @Test(arguments: KernelLevel.all)
    func theFirstNonfiniteNumberIsFound(level: KernelLevel) {
        for size in oddSizes {
            let x = Buffer([Float](repeating: .greatestFiniteMagnitude, count: size))
            #expect(level.kernels.first_nonfinite(x.floatPointer, size) == -1)
            for position in stride(from: 0, to: size, by: max(1, size / 13)) {
                for bad in [Float.nan, .infinity, -.infinity] {
                    x.floatPointer[position] = bad
                    x.floatPointer[size - 1] = .nan
                    #expect(level.kernels.first_nonfinite(x.floatPointer, size) == Int64(position))
                    x.floatPointer[position] = 1
                    x.floatPointer[size - 1] = 1
                }
            }
        }
    }

    @Test(arguments: KernelLevel.all)
    func adamWTakesItsSteps(level: KernelLevel) {
        var numbers = Numbers(seed: 7)
        let (b1, b2) = (0.9, 0.999)
        let (lr, decay, eps, clip) = (Float(1e-3), Float(0.1), Float(1e-8), Float(0.5))
        for size in oddSizes {
            let start = numbers.floats(size)
            let parameter = Buffer(start), m = Buffer(count: size), v = Buffer(count: size)
            var (p64, m64, v64) = (
                start.map(Double.init), [Double](repeating: 0, count: size), [Double](repeating: 0, count: size)
            )
            for step in 1...3 {
                let gradient = Buffer(numbers.floats(size))
                let c1 = 1 - pow(b1, Double(step)), c2 = 1 - pow(b2, Double(step))
                var stepNumbers = tspeft_adamw_step(
                    gradient_scale: clip, lr: lr, beta1: b1, beta2: b2, eps: eps, decay: decay,
                    correction1: Float(c1), correction2: Float(c2))
                level.kernels.adamw(
                    parameter.floatPointer, gradient.floatPointer, m.floatPointer, v.floatPointer, size, &stepNumbers)
                for (i, value) in gradient.values.enumerated() {
                    let g = Double(clip) * Double(value)
                    p64[i] -= Double(lr) * Double(decay) * p64[i]
                    m64[i] = b1 * m64[i] + (1 - b1) * g
                    v64[i] = b2 * v64[i] + (1 - b2) * g * g
                    p64[i] -= Double(lr) * (m64[i] / c1) / ((v64[i] / c2).squareRoot() + Double(eps))
                }
            }
            #expect(agree(parameter.values, p64, tolerance: 3e-7))
            #expect(agree(m.values, m64, tolerance: 1e-6, floor: 0.1))
            #expect(agree(v.values, v64, tolerance: 1e-6, floor: 1e-4))
        }
    }
}
