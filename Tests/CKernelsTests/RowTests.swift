import CKernels
import Foundation
import Testing

@Suite struct RowTests {
    /// The types of x and of the output.
    static let normTypes: [(input: Element, output: Element)] = [
        (.f32, .f32), (.f32, .bf16), (.bf16, .bf16), (.bf16, .f32),
    ]

    @Test(arguments: KernelLevel.all, normTypes)
    func rmsNormDividesByTheRootMeanSquare(level: KernelLevel, types: (input: Element, output: Element)) {
        let (input, element) = types
        var numbers = Numbers(seed: 11)
        for width in oddSizes where width > 0 {
            let x = Buffer(numbers.floats(3 * width, 5), input), weight = Buffer(numbers.floats(width))
            let out = Buffer(count: 3 * width, element), inverse = Buffer(count: 3)
            level.kernels.rmsnorm_forward(
                x.pointer, input.rawValue, weight.floatPointer, 1e-3, out.pointer, element.rawValue,
                inverse.floatPointer, 3, width)
            let expected = rmsNorm(x.values.map(Double.init), weight.values, epsilon: Double(Float(1e-3)))
            #expect(agree(out.values, expected, tolerance: element.rounding * 1.01 + 1e-6, floor: 1e-2))
            let sizes = (0..<3).map { row in
                let squares = x.values[row * width..<(row + 1) * width].reduce(0.0) { $0 + Double($1) * Double($1) }
                return 1 / (squares / Double(width) + Double(Float(1e-3))).squareRoot()
            }
            #expect(agree(inverse.values, sizes, tolerance: 1e-6, floor: 1e-2))
        }
    }

    @Test(arguments: KernelLevel.all, normTypes)
    func rmsNormAddsItsGradient(level: KernelLevel, types: (input: Element, output: Element)) {
        let (input, element) = types
        var numbers = Numbers(seed: 12)
        for width in oddSizes where width > 0 {
            let x = Buffer(numbers.floats(2 * width, 2), input), weight = Buffer(numbers.floats(width))
            let dout = Buffer(numbers.floats(2 * width), element), dx = Buffer(numbers.floats(2 * width), input)
            let before = dx.values, out = Buffer(count: 2 * width), inverse = Buffer(count: 2)
            level.kernels.rmsnorm_forward(
                x.pointer, input.rawValue, weight.floatPointer, 1e-3, out.pointer, Element.f32.rawValue,
                inverse.floatPointer, 2, width)
            level.kernels.rmsnorm_backward(
                x.pointer, input.rawValue, weight.floatPointer, inverse.floatPointer, dout.pointer, element.rawValue,
                dx.pointer, 2, width)
            let (x64, d64) = (x.values.map(Double.init), dout.values.map(Double.init))
            func loss(_ x: [Double]) -> Double {
                zip(rmsNorm(x, weight.values, epsilon: Double(Float(1e-3))), d64).reduce(0) { $0 + $1.0 * $1.1 }
            }
            let found = dx.values
            for i in Set([0, width - 1, width, 2 * width - 1, width / 2]) {
                let h = 1e-5
                var (up, down) = (x64, x64)
                up[i] += h
                down[i] -= h
                let slope = (loss(up) - loss(down)) / (2 * h)
                // In bf16 the sum is rounded once.
                let rounding = input == .f32 ? 0 : input.rounding * abs(Double(found[i]))
                #expect(abs(Double(found[i]) - Double(before[i]) - slope) < 3e-6 * max(1, abs(slope)) + 1.01 * rounding)
            }
        }
    }

    @Test(arguments: KernelLevel.all, normTypes)
    func layerNormIsOffTheMeanByTheDeviation(level: KernelLevel, types: (input: Element, output: Element)) {
        let (input, element) = types
        var numbers = Numbers(seed: 15)
        for width in oddSizes where width > 0 {
            for hasBias in [false, true] {
                let x = Buffer(numbers.floats(3 * width, 5).map { $0 + 2 }, input)
                let weight = Buffer(numbers.floats(width)), bias = Buffer(numbers.floats(width))
                let out = Buffer(count: 3 * width, element), mean = Buffer(count: 3), inverse = Buffer(count: 3)
                var norm = tspeft_layernorm(
                    weight: weight.floatPointer, bias: hasBias ? bias.floatPointer : nil, eps: 1e-3)
                level.kernels.layernorm_forward(
                    x.pointer, input.rawValue, &norm, out.pointer, element.rawValue, mean.floatPointer,
                    inverse.floatPointer, 3, width)
                let expected = layerNorm(x.values.map(Double.init), weight.values, hasBias ? bias.values : nil)
                // The mean is rounded to F32, by which x - mean is off, a multiple of that where the row varies little.
                #expect(agree(out.values, expected, tolerance: element.rounding * 1.01 + 1e-5, floor: 1e-1))
            }
        }
    }

    @Test(arguments: KernelLevel.all, normTypes)
    func layerNormAddsItsGradient(level: KernelLevel, types: (input: Element, output: Element)) {
        let (input, element) = types
        var numbers = Numbers(seed: 16)
        for width in oddSizes where width > 1 {
            let x = Buffer(numbers.floats(2 * width, 2).map { $0 + 1 }, input), weight = Buffer(numbers.floats(width))
            let dout = Buffer(numbers.floats(2 * width), element), dx = Buffer(numbers.floats(2 * width), input)
            let before = dx.values, out = Buffer(count: 2 * width), mean = Buffer(count: 2), inverse = Buffer(count: 2)
            var norm = tspeft_layernorm(weight: weight.floatPointer, bias: nil, eps: 1e-3)
            level.kernels.layernorm_forward(
                x.pointer, input.rawValue, &norm, out.pointer, Element.f32.rawValue, mean.floatPointer,
                inverse.floatPointer, 2, width)
            level.kernels.layernorm_backward(
                x.pointer, input.rawValue, weight.floatPointer, mean.floatPointer, inverse.floatPointer, dout.pointer,
                element.rawValue, dx.pointer, 2, width)
            let (x64, d64) = (x.values.map(Double.init), dout.values.map(Double.init))
            func loss(_ x: [Double]) -> Double {
                zip(layerNorm(x, weight.values, nil), d64).reduce(0) { $0 + $1.0 * $1.1 }
            }
            let found = dx.values
            for i in Set([0, width - 1, width, 2 * width - 1, width / 2]) {
                let h = 1e-5
                var (up, down) = (x64, x64)
                up[i] += h
                down[i] -= h
                let slope = (loss(up) - loss(down)) / (2 * h)
                // In bf16 the sum is rounded once.
                let rounding = input == .f32 ? 0 : input.rounding * abs(Double(found[i]))
                #expect(abs(Double(found[i]) - Double(before[i]) - slope) < 1e-5 * max(1, abs(slope)) + 1.01 * rounding)
            }
        }
    }

    /// LayerNorm with an epsilon of 1e-3, from its definition.
    private func layerNorm(_ x: [Double], _ weight: [Float], _ bias: [Float]?) -> [Double] {
        let width = weight.count
        return stride(from: 0, to: x.count, by: width).flatMap { first in
            let row = x[first..<first + width]
            let mean = row.reduce(0, +) / Double(width)
            let squares = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(width)
            let scale = 1 / (squares + Double(Float(1e-3))).squareRoot()
            return row.enumerated().map { index, value in
                (value - mean) * scale * Double(weight[index]) + (bias.map { Double($0[index]) } ?? 0)
            }
        }
    }

    private func rmsNorm(_ x: [Double], _ weight: [Float], epsilon: Double) -> [Double] {
        let width = weight.count
        return stride(from: 0, to: x.count, by: width).flatMap { first in
            let row = x[first..<first + width]
            let scale = 1 / (row.reduce(0) { $0 + $1 * $1 } / Double(width) + epsilon).squareRoot()
            return zip(row, weight).map { $0 * scale * Double($1) }
        }
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func rotaryEmbeddingTurnsHalvesAgainstEachOther(level: KernelLevel, element: Element) {
        for size in [2, 8, 16, 30, 34, 64, 80, 128, 256] { rotaryEmbeddingTurns(size, of: size, level, element) }
    }

    /// A part of each head, halves of it against each other or neighbours; the rest stays.
    @Test(arguments: KernelLevel.all, Element.activations)
    func rotaryEmbeddingTurnsPartsOfHeads(level: KernelLevel, element: Element) {
        for (turned, size) in [(2, 4), (12, 16), (6, 30), (96, 128), (64, 80)] {
            rotaryEmbeddingTurns(turned, of: size, level, element)
            rotaryEmbeddingTurns(turned, of: size, inPairs: true, level, element)
        }
        rotaryEmbeddingTurns(34, of: 34, inPairs: true, level, element)
    }

    private func rotaryEmbeddingTurns(
        _ turned: Int, of headSize: Int, inPairs: Bool = false, _ level: KernelLevel, _ element: Element
    ) {
        var numbers = Numbers(seed: 13)
        let positions: [Int32] = [3, 0, 6]
        let half = turned / 2, heads = 2, stride = heads * headSize + 5
        let angles = numbers.floats(7 * half, 3)
        let cosine = Buffer(angles.map { cosf($0) }), sine = Buffer(angles.map { sinf($0) })
        let x = Buffer(numbers.floats(3 * stride), element)
        let before = x.values
        let apart = Buffer([Float](repeating: -7, count: 3 * (stride + 3)), element)
        let matrix = tspeft_matrix(data: x.pointer, stride: stride)
        func rotate(into target: tspeft_matrix, _ direction: Int32) {
            positions.withUnsafeBufferPointer { positions in
                var rotation = tspeft_rotation(
                    positions: positions.baseAddress, cosine: cosine.floatPointer, sine: sine.floatPointer,
                    direction: direction, heads: heads, head_size: headSize, turned: turned,
                    in_pairs: inPairs ? 1 : 0)
                level.kernels.rope(matrix, target, element.rawValue, &rotation, 3)
            }
        }
        rotate(into: tspeft_matrix(data: apart.pointer, stride: stride + 3), 1)
        rotate(into: matrix, 1)
        for row in 0..<3 {
            let there = apart.values[row * (stride + 3)..<(row + 1) * (stride + 3)]
            #expect(Array(there.prefix(stride - 5)) == Array(x.values[row * stride..<(row + 1) * stride - 5]))
            #expect(there.dropFirst(stride - 5).allSatisfy { $0 == -7 }, "written between the rows")
        }
        var expected = before.map(Double.init)
        for row in 0..<3 {
            for head in 0..<heads {
                for i in 0..<half {
                    let low = row * stride + head * headSize + (inPairs ? 2 * i : i)
                    let (high, angle) = (low + (inPairs ? 1 : half), Int(positions[row]) * half + i)
                    let (a, b) = (Double(before[low]), Double(before[high]))
                    let (c, s) = (Double(cosine.values[angle]), Double(sine.values[angle]))
                    expected[low] = a * c - b * s
                    expected[high] = b * c + a * s
                }
            }
        }
        #expect(agree(x.values, expected, tolerance: element.rounding + 1e-7))
        rotate(into: matrix, -1)
        #expect(agree(x.values, before.map(Double.init), tolerance: 3 * element.rounding + 3e-7))
    }

    @Test(arguments: KernelLevel.all, Element.activations)
    func normsAndDotProductsOfRows(level: KernelLevel, element: Element) {
        var numbers = Numbers(seed: 14)
        for width in oddSizes {
            let x = Buffer(numbers.floats(4 * width), element), norms = Buffer(count: 4), dots = Buffer(count: 4)
            let a = Buffer(numbers.floats(4 * width)), b = Buffer(numbers.floats(4 * width))
            level.kernels.row_norms(x.pointer, element.rawValue, norms.floatPointer, 4, width)
            level.kernels.row_dots(a.floatPointer, b.floatPointer, dots.floatPointer, 4, width)
            func sums(_ a: [Float], _ b: [Float]) -> [Double] {
                (0..<4).map { row in
                    (row * width..<(row + 1) * width).reduce(0) { $0 + Double(a[$1]) * Double(b[$1]) }
                }
            }
            #expect(agree(norms.values, sums(x.values, x.values).map { $0.squareRoot() }, tolerance: 5e-7, floor: 0.1))
            #expect(agree(dots.values, sums(a.values, b.values), tolerance: 2e-6))
        }
    }
}
