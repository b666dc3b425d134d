@testable import Compute
import TensorCore
import TestSupport
import Testing

/// Products by oneDNN against sums in double precision.
@Suite struct MatrixProductTests {
    /// The types of both sides and of the result.
    enum Types: CaseIterable {
        case f32, bf16, bf16ToF32
        var operands: DType { self == .f32 ? .f32 : .bf16 }
        var result: DType { self == .bf16 ? .bf16 : .f32 }
    }

    /// One product, its operands and what it should give.
    struct Case {
        var m: Int, n: Int, k: Int
        var left = MatrixProducts.Layout.plain
        var right = MatrixProducts.Layout.plain
        var types = Types.f32
        var accumulates = false
        var hasBias = false
        var scale: Float = 1

        /// How far the result is from the sums, as a part of what rounding may cost; at most 1 for a sound product.
        func error(_ products: MatrixProducts, _ pool: BufferPool) -> Double {
            func tensor(_ shape: [Int], _ dtype: DType, seed: UInt64) -> Tensor {
                let tensor = Tensor(shape, dtype, pool: pool)
                tensor.copy(from: randomValues(tensor.count, seed: seed))
                return tensor
            }
            let a = tensor(left == .plain ? [m, k] : [k, m], types.operands, seed: 1)
            let b = tensor(right == .plain ? [k, n] : [n, k], types.operands, seed: 2)
            let c = tensor([m, n], types.result, seed: 3)
            let bias = hasBias ? tensor([n], .f32, seed: 4) : nil
            let (aValues, bValues, before) = (a.toArray(), b.toArray(), c.toArray())
            products.multiply(
                a, b, bias: bias, into: c,
                MatrixProducts.Form(
                    m: m, n: n, k: k, left: left, right: right, accumulates: accumulates, scale: scale))
            let biasValues = bias?.toArray()
            let found = c.toArray()
            let unit = types.result == .f32 ? 0x1p-24 : 0x1p-8
            var worst = 0.0
            for row in 0..<m {
                for column in 0..<n {
                    var sum = 0.0
                    var size = 0.0
                    for index in 0..<k {
                        let x = aValues[left == .plain ? row * k + index : index * m + row]
                        let y = bValues[right == .plain ? index * n + column : column * k + index]
                        sum += Double(x) * Double(y)
                        size += abs(Double(x) * Double(y))
                    }
                    sum = (sum + Double(biasValues?[column] ?? 0)) * Double(scale)
                    if accumulates { sum += Double(before[row * n + column]) }
                    // A sum of k terms in F32, then one rounding to the result's type.
                    let allowed = Double(k + 4) * 0x1p-24 * (size + 2) + unit * abs(sum)
                    worst = max(worst, abs(Double(found[row * n + column]) - sum) / allowed)
                }
            }
            return worst
        }
    }

    /// Sizes without a factor that a vector or a tile has.
    private static let sizes = [(1, 1, 1), (1, 7, 3), (3, 1, 5), (5, 3, 1), (19, 33, 35)]

    /// How BF16 operands are multiplied.
    enum Way: CaseIterable {
        /// As the processor does it best.
        case best
        /// Decoded whole.
        case decoded
        /// Decoded a few numbers at a time.
        case inSmallStrips

        var products: MatrixProducts {
            let products = MatrixProducts(multipliesBF16: self == .best)
            if self == .inSmallStrips {
                products.limits = .init(strip: 180, narrowStrip: 60, narrowRows: 4, block: 700, cachedBlock: 300)
            }
            return products
        }
    }

    @Test(arguments: Types.allCases, Way.allCases) func everyLayoutAndExtraAgrees(types: Types, way: Way) {
        let products = way.products
        let pool = BufferPool()
        for (m, n, k) in Self.sizes {
            for left in [MatrixProducts.Layout.plain, .transposed] {
                for right in [MatrixProducts.Layout.plain, .transposed] {
                    for accumulates in [false, true] {
                        for (hasBias, scale): (Bool, Float) in [(false, 1), (true, 1), (false, 0.375), (true, 0.375)] {
                            let product = Case(
                                m: m, n: n, k: k, left: left, right: right, types: types, accumulates: accumulates,
                                hasBias: hasBias, scale: scale)
                            #expect(product.error(products, pool) <= 1, "\(product)")
                        }
                    }
                }
            }
        }
    }

    /// A compiled product is kept; it must read the operands of each call anew.
    @Test func secondUseOfSameShapesReadsNewOperands() {
        let products = MatrixProducts()
        let pool = BufferPool()
        func product(_ x: Float, _ y: Float, bias: Float) -> Float {
            let tensors = [Tensor([1, 1], pool: pool), Tensor([1, 1], pool: pool), Tensor([1], pool: pool)]
            for (tensor, value) in zip(tensors, [x, y, bias]) { tensor.copy(from: [value]) }
            let result = Tensor([1, 1], pool: pool)
            products.multiply(
                tensors[0], tensors[1], bias: tensors[2], into: result, MatrixProducts.Form(m: 1, n: 1, k: 1))
            return result.toArray()[0]
        }
        #expect(product(2, 3, bias: 1) == 7)
        #expect(product(5, -4, bias: 2) == -18)
    }

    /// That it is decoded once shows where the promise not to write is broken; with the scope goes what was decoded.
    @Test(arguments: [MatrixProducts.Layout.plain, .transposed])
    func whatSeveralProductsReadIsDecodedOnce(layout: MatrixProducts.Layout) {
        let pool = BufferPool()
        let products = MatrixProducts(pool: pool, multipliesBF16: false)
        let (a, b) = (Tensor([64, 64], .bf16, pool: pool), Tensor([8, 64], .bf16, pool: pool))
        b.copy(from: randomValues(b.count, seed: 2))
        func product() -> [Float] {
            let c = Tensor([64, 8], .bf16, pool: pool)
            products.multiply(a, b, into: c, MatrixProducts.Form(m: 64, n: 8, k: 64, left: layout, right: .transposed))
            return c.toArray()
        }
        a.copy(from: randomValues(a.count, seed: 1))
        let first = product()
        products.reading(a) {
            #expect(product() == first)
            a.copy(from: randomValues(a.count, seed: 3))
            products.reading(a) { #expect(product() == first) }
        }
        let second = product()
        #expect(second != first)
        products.reading(a) { #expect(product() == second) }
    }

    @Test func emptyInnerSizeGivesZeroOrLeavesSum() {
        let products = MatrixProducts()
        let pool = BufferPool()
        let (a, b, c) = (Tensor([2, 0], pool: pool), Tensor([0, 2], pool: pool), Tensor([2, 2], pool: pool))
        c.copy(from: [1, 2, 3, 4])
        products.multiply(a, b, into: c, MatrixProducts.Form(m: 2, n: 2, k: 0, accumulates: true))
        #expect(c.toArray() == [1, 2, 3, 4])
        products.multiply(a, b, into: c, MatrixProducts.Form(m: 2, n: 2, k: 0))
        #expect(c.toArray() == [0, 0, 0, 0])
    }

    /// From 17 rows on a product computes on rows behind the last; those that count are the same for every number of
    /// rows.
    @Test(arguments: [DType.f32, .bf16]) func rowsDoNotDependOnHowManyThereAre(dtype: DType) {
        let products = MatrixProducts()
        let pool = BufferPool()
        let (k, n) = (9, 5)
        let weight = Tensor([n, k], dtype, pool: pool)
        weight.copy(from: randomValues(n * k, seed: 1))
        let values = randomValues(130 * k, seed: 2)
        func rows(_ count: Int) -> [Float] {
            let x = Tensor([count, k], dtype, pool: pool)
            x.copy(from: Array(values[..<(count * k)]))
            let y = Tensor([count, n], dtype, pool: pool)
            products.multiplyRows(x, weight, .transposed, into: y, n: n, k: k)
            return y.toArray()
        }
        let all = rows(130)
        for count in [1, 16, 17, 63, 64, 65] {
            for (found, expected) in zip(rows(count), all) {
                #expect(abs(found - expected) <= (dtype == .f32 ? 1e-6 : 0.02), "\(count) rows")
            }
        }
    }

    @Test func timeIsTakenOnlyWhereAsked() {
        let products = MatrixProducts()
        let pool = BufferPool()
        let (a, b, c) = (Tensor([8, 8], pool: pool), Tensor([8, 8], pool: pool), Tensor([8, 8], pool: pool))
        a.clear()
        b.clear()
        products.multiply(a, b, into: c, MatrixProducts.Form(m: 8, n: 8, k: 8))
        #expect(products.seconds == 0)
        products.measuresTime = true
        products.multiply(a, b, into: c, MatrixProducts.Form(m: 8, n: 8, k: 8))
        #expect(products.seconds > 0)
    }

    /// A backward pass cannot throw: what fails is kept, and the rest of the pass is passed over.
    @Test func failureIsRecordedOnceAndLaterProductsArePassedOver() throws {
        let context = ComputeContext(dtype: .f32)
        let (a, b) = (context.tensor([2, 2]), context.tensor([2, 2]))
        let c = context.zeros([2, 2])
        a.copy(from: [1, 2, 3, 4])
        b.copy(from: [1, 0, 0, 1])
        // No product has -1 rows.
        context.products.multiply(a, b, into: c, MatrixProducts.Form(m: -1, n: 2, k: 2))
        context.products.multiply(a, b, into: c, MatrixProducts.Form(m: 2, n: 2, k: 2))
        #expect(c.toArray() == [0, 0, 0, 0])
        let error = #expect(throws: ComputeError.self) { try context.throwFailure() }
        #expect("\(try #require(error))".contains("[-1, 2] x [2, 2]"))
        #expect("\(try #require(error))".contains(ProcessorPaths.current.processor))
        try context.throwFailure()
        context.products.multiply(a, b, into: c, MatrixProducts.Form(m: 2, n: 2, k: 2))
        #expect(c.toArray() == [1, 2, 3, 4])
    }

    /// oneDNN has no product of an F32 with a BF16 matrix on any processor.
    @Test func whatTheLibraryDoesNotHaveIsUnsupportedAndNoTrap() throws {
        let product = OneDNN.Product(
            m: 2, n: 2, k: 2, left: .init(.f32, .plain, width: 2), right: .init(.bf16, .plain, width: 2),
            result: .init(.f32, .plain, width: 2))
        let pool = BufferPool()
        let (a, b, c) = (Tensor([2, 2], pool: pool), Tensor([2, 2], .bf16, pool: pool), Tensor([2, 2], pool: pool))
        let error = #expect(throws: ComputeError.self) {
            try OneDNN().run(product, .init(left: a.address, right: b.address, result: c.address, bias: nil))
        }
        #expect(try #require(error).exitStatus == .unsupported)
    }
}
