import CKernels
import Testing

@Suite struct LinearAlgebraTests {
    private func triangle(_ level: KernelLevel, _ b: [Float], rows: Int, width: Int) -> [Float] {
        let matrix = Buffer(b), r = Buffer([Float](repeating: .nan, count: width * width))
        // The scratch ends where the contract says, behind it is the guard.
        let scratch = Buffer([Float](repeating: .nan, count: 2 * rows * width))
        let doubles = scratch.pointer.assumingMemoryBound(to: Double.self)
        level.kernels.householder_r(matrix.floatPointer, rows, width, r.floatPointer, doubles)
        _ = scratch.values
        return r.values
    }

    private func norm(_ matrix: [Float], rows: Int, width: Int, times z: [Double]) -> Double {
        (0..<rows).reduce(0.0) { sum, row in
            let product = (0..<width).reduce(0.0) { $0 + Double(matrix[row * width + $1]) * z[$1] }
            return sum + product * product
        }.squareRoot()
    }

    private static let shapes = [
        (1, 1), (2, 1), (1, 3), (3, 4), (4, 4), (5, 4), (7, 5), (16, 8), (33, 16), (15, 32), (64, 32), (100, 33),
        (577, 8),
        (2000, 25),
    ]

    @Test(arguments: KernelLevel.all)
    func normsUnderTheTriangleEqualThoseUnderTheMatrix(level: KernelLevel) {
        var numbers = Numbers(seed: 31)
        for (rows, width) in Self.shapes {
            let b = numbers.floats(rows * width)
            let r = triangle(level, b, rows: rows, width: width)
            for _ in 0..<3 {
                let z = numbers.floats(width).map(Double.init)
                let expected = norm(b, rows: rows, width: width, times: z)
                #expect(abs(norm(r, rows: width, width: width, times: z) - expected) < 2e-6 * expected)
            }
            for i in 0..<width { for j in 0..<i { #expect(r[i * width + j] == 0) } }
        }
    }

    @Test(arguments: KernelLevel.all)
    func dependentAndZeroColumnsAreFine(level: KernelLevel) {
        var numbers = Numbers(seed: 32)
        for (rows, width) in [(9, 6), (40, 6), (12, 20)] {
            var b = numbers.floats(rows * width)
            for row in 0..<rows {
                b[row * width + 1] = 2 * b[row * width]  // dependent
                b[row * width + 3] = 0
            }
            let r = triangle(level, b, rows: rows, width: width)
            #expect(!r.contains { !$0.isFinite })
            // What both matrices send to zero, and what they do not.
            var z = [Double](repeating: 0, count: width)
            (z[0], z[1], z[3]) = (2, -1, 5)
            #expect(norm(r, rows: width, width: width, times: z) < 1e-6)
            z[2] = 1
            let expected = norm(b, rows: rows, width: width, times: z)
            #expect(abs(norm(r, rows: width, width: width, times: z) - expected) < 2e-6 * expected)
            let zero = triangle(level, [Float](repeating: 0, count: rows * width), rows: rows, width: width)
            #expect(zero.allSatisfy { $0 == 0 })
        }
        #expect(triangle(level, [], rows: 0, width: 3) == [Float](repeating: 0, count: 9))
    }

    @Test(arguments: KernelLevel.all)
    func smallDirectionsSurviveWhereAGramMatrixLosesThem(level: KernelLevel) {
        var numbers = Numbers(seed: 33)
        let rows = 200
        var b: [Float] = []
        for _ in 0..<rows {
            let x = numbers.float()
            b += [x, x + 1e-5 * numbers.float()]  // nearly parallel columns
        }
        let r = triangle(level, b, rows: rows, width: 2)
        let z = [1.0, -1.0]
        let expected = norm(b, rows: rows, width: 2, times: z)
        #expect(abs(norm(r, rows: 2, width: 2, times: z) - expected) < 1e-2 * expected)
    }

    @Test(arguments: KernelLevel.all)
    func outerProductsAddUpInDouble(level: KernelLevel) {
        var numbers = Numbers(seed: 34)
        for (rows, width) in [(0, 3), (1, 1), (5, 3), (9, 16), (40, 17), (300, 33), (1100, 32)] {
            let z = Buffer(numbers.floats(rows * width)), weights = Buffer(numbers.floats(rows).map { $0 > 0 ? 1 : 0 })
            for weighted in [false, true] {
                var sums = (0..<width * width).map { Double($0 / width + $0 % width) }
                var expected = sums
                for row in 0..<rows where !weighted || weights.values[row] == 1 {
                    let x = z.floatPointer + row * width
                    for i in 0..<width {
                        for j in 0..<width { expected[i * width + j] += Double(x[i]) * Double(x[j]) }
                    }
                }
                level.kernels.outer_sums(z.floatPointer, weighted ? weights.floatPointer : nil, &sums, rows, width)
                #expect(zip(sums, expected).allSatisfy { abs($0 - $1) < 1e-12 * max(1, abs($1)) })
                let symmetric = (0..<width * width).allSatisfy { sums[$0] == sums[$0 % width * width + $0 / width] }
                #expect(symmetric)
            }
        }
    }
}
