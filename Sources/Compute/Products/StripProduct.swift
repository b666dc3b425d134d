import CKernels
import TensorCore

/// A product with operands of a type that is stored and not multiplied here: they are decoded into F32 a strip at a
/// time, and products of the strips are F32.
///
/// The right side (mostly a weight) goes in strips of its stored rows, each read once for a block of rows of the left
/// side: those of a transposed one are columns of the result, those of a plain one are terms of its sums. A result
/// that is not F32 is summed in F32 and rounded once.
struct StripProduct {
    private let product: OneDNN.Product
    private let leftLayout: MatrixProducts.Layout
    private let rightLayout: MatrixProducts.Layout
    private let limits: Limits
    private let pool: BufferPool
    private let threads: ThreadTeam

    /// How much is decoded at a time.
    struct Limits {
        /// Bytes of the right side's strip in F32.
        var strip = 4 << 20
        /// The same where the left side has at most `narrowRows` rows: decoding is most of the work then, and a strip
        /// is to stay in the second-level cache.
        var narrowStrip = 512 << 10
        /// Rows of a narrow left side.
        var narrowRows = 16
        /// Bytes of the left side's and of the result's block in F32.
        var block = 32 << 20
    }

    init(
        _ product: OneDNN.Product, leftLayout: MatrixProducts.Layout, rightLayout: MatrixProducts.Layout,
        _ limits: Limits, _ pool: BufferPool, _ threads: ThreadTeam
    ) {
        self.limits = limits
        self.product = product
        self.leftLayout = leftLayout
        self.rightLayout = rightLayout
        self.pool = pool
        self.threads = threads
    }

    /// Computes the product. Throws the library's failure.
    func run(_ places: OneDNN.Places, _ library: OneDNN) throws(ComputeError) {
        let blocks = Self.parts(product.m, width: max(product.k, product.n), limits.block)
        for block in 0..<blocks {
            let rows = Self.part(block, of: blocks, product.m)
            try multiply(rows, places, library)
        }
    }

    /// The rows `rows` of the result.
    private func multiply(_ rows: Range<Int>, _ places: OneDNN.Places, _ library: OneDNN) throws(ComputeError) {
        let left = leftBlock(rows, places.left)
        let width = product.n
        let target = places.result + rows.lowerBound * width * product.result.dtype.byteCount
        var sums: Tensor?
        if product.result.dtype != .f32 {
            let tensor = Tensor([rows.count * width], .f32, pool: pool)
            if product.accumulates { decode(target, product.result.dtype, into: tensor.floats, rows.count * width) }
            sums = tensor
        }
        let result = sums?.floats ?? target.assumingMemoryBound(to: Float.self)
        let storedRows = rightLayout == .transposed ? product.n : product.k
        let storedWidth = rightLayout == .transposed ? product.k : product.n
        let isWhole = product.right.dtype == .f32
        let limit = rows.count <= limits.narrowRows ? limits.narrowStrip : limits.strip
        let count = isWhole ? 1 : Self.parts(storedRows, width: storedWidth, limit)
        for index in 0..<count {
            let strip = Self.part(index, of: count, storedRows)
            let right = stored(strip, width: storedWidth, product.right.dtype, places.right)
            var part = product
            part.m = rows.count
            part.left = left.operand
            part.right = OneDNN.Operand(.f32, rightLayout, width: storedWidth)
            part.result = OneDNN.Operand(.f32, .plain, width: width)
            var partPlaces = OneDNN.Places(
                left: left.values, right: right.values, result: UnsafeMutableRawPointer(result), bias: places.bias)
            if rightLayout == .transposed {
                part.n = strip.count
                partPlaces.result = UnsafeMutableRawPointer(result + strip.lowerBound)
                partPlaces.bias = places.bias.map { $0 + strip.lowerBound }
            } else {
                part.k = strip.count
                partPlaces.left = UnsafeRawPointer(left.values + strip.lowerBound * left.operand.columnStride)
                // The bias is added once, and later strips add to what the first wrote.
                part.hasBias = product.hasBias && index == 0
                part.accumulates = product.accumulates || index > 0
            }
            try library.run(part, partPlaces)
            withExtendedLifetime(right.owner) {}
        }
        if let sums { encode(sums.floats, into: target, product.result.dtype, rows.count * width) }
        withExtendedLifetime((left.owner, sums)) {}
    }

    /// Values in F32, in place or decoded into a tensor that owns them.
    private struct Values {
        let values: UnsafePointer<Float>
        let owner: Tensor?
        var operand = OneDNN.Operand(.f32, .plain, width: 0)
    }

    /// The left side of the result's rows `rows`.
    private func leftBlock(_ rows: Range<Int>, _ start: UnsafeRawPointer) -> Values {
        let dtype = product.left.dtype
        guard leftLayout == .transposed else {
            var block = stored(rows, width: product.k, dtype, start)
            block.operand = OneDNN.Operand(.f32, .plain, width: product.k)
            return block
        }
        let place = start + rows.lowerBound * dtype.byteCount
        guard dtype != .f32 else {
            return Values(values: place.assumingMemoryBound(to: Float.self), owner: nil, operand: product.left)
        }
        // The rows of the result are columns here: a part of each stored row.
        let tensor = Tensor([product.k * rows.count], .f32, pool: pool)
        let (target, bytes) = (tensor.floats, product.m * dtype.byteCount)
        threads.parallel(product.k, grain: max(1, 8192 / rows.count)) { range in
            for row in range {
                tspeft_convert(
                    place + row * bytes, dtype.kernelCode, target + row * rows.count, DType.f32.kernelCode, rows.count)
            }
        }
        let operand = OneDNN.Operand(.f32, .transposed, width: rows.count)
        return Values(values: target, owner: tensor, operand: operand)
    }

    /// Rows of a matrix stored in rows of `width` elements.
    private func stored(_ rows: Range<Int>, width: Int, _ dtype: DType, _ start: UnsafeRawPointer) -> Values {
        let place = start + rows.lowerBound * width * dtype.byteCount
        guard dtype != .f32 else { return Values(values: place.assumingMemoryBound(to: Float.self), owner: nil) }
        // A vector: behind the rows of a matrix there would be room that is cleared.
        let tensor = Tensor([rows.count * width], .f32, pool: pool)
        decode(place, dtype, into: tensor.floats, rows.count * width)
        return Values(values: tensor.floats, owner: tensor)
    }

    private func decode(
        _ source: UnsafeRawPointer, _ dtype: DType, into target: UnsafeMutablePointer<Float>, _ count: Int
    ) {
        threads.parallel(count, grain: 8192) { range in
            tspeft_convert(
                source + range.lowerBound * dtype.byteCount, dtype.kernelCode, target + range.lowerBound,
                DType.f32.kernelCode, range.count)
        }
    }

    private func encode(
        _ source: UnsafePointer<Float>, into target: UnsafeMutableRawPointer, _ dtype: DType, _ count: Int
    ) {
        threads.parallel(count, grain: 8192) { range in
            tspeft_convert(
                source + range.lowerBound, DType.f32.kernelCode, target + range.lowerBound * dtype.byteCount,
                dtype.kernelCode, range.count)
        }
    }

    /// How many parts of at most `bytes` bytes in F32 `rows` rows of `width` elements are cut into.
    private static func parts(_ rows: Int, width: Int, _ bytes: Int) -> Int {
        let fitting = max(1, bytes / (4 * width))
        return (rows + fitting - 1) / fitting
    }

    /// Part `index` of `count` about equal ones of 0..<rows.
    private static func part(_ index: Int, of count: Int, _ rows: Int) -> Range<Int> {
        rows * index / count..<rows * (index + 1) / count
    }
}
