import TensorCore
import Threads

/// A product with operands of a type that is stored and not multiplied here: they are decoded a strip at a time into
/// the type that is, F32 or BF16, and the strips are multiplied.
///
/// The right side (mostly a weight) goes in strips of its stored rows, each read once for a block of rows of the left
/// side: those of a transposed one are columns of the result, those of a plain one are terms of its sums. A result
/// whose terms come in several strips, or that is narrower than the products, is summed in F32 and rounded once.
struct StripProduct {
    private let product: OneDNN.Product
    private let leftLayout: MatrixProducts.Layout
    private let rightLayout: MatrixProducts.Layout
    private let resources: Resources

    /// How much is decoded at a time.
    struct Limits {
        /// Bytes of the right side's strip.
        var strip = 4 << 20
        /// The same where the left side has at most `narrowRows` rows: decoding is most of the work then, and a strip
        /// is to stay in the second-level cache.
        var narrowStrip = 512 << 10
        /// Rows of a narrow left side.
        var narrowRows = 16
        /// Bytes of the left side's and of the result's block where the right side comes in several strips, each of which
        /// is decoded for each block.
        var block = 32 << 20
        /// The same where it is one strip: a block is to stay in the second-level cache between decoding, multiplying
        /// and rounding.
        var cachedBlock = 1 << 20
    }

    /// What a product works with.
    struct Resources {
        let library: OneDNN
        let limits: Limits
        let pool: BufferPool
        let threads: ThreadTeam
    }

    /// What the strips are multiplied in: that of the product's operands which the processor multiplies, else F32.
    private let type: DType
    /// The right side, as it is stored.
    private let stored: StoredRows

    /// `product` says what is stored; its operands' strides are those of whole matrices.
    init(
        _ product: OneDNN.Product, leftLayout: MatrixProducts.Layout, rightLayout: MatrixProducts.Layout,
        right: StoredRows, type: DType, _ resources: Resources
    ) {
        self.product = product
        self.leftLayout = leftLayout
        self.rightLayout = rightLayout
        self.type = type
        self.resources = resources
        stored = right
    }

    /// Computes the product. Throws the library's failure.
    func run(_ places: OneDNN.Places) throws(ComputeError) {
        let limits = resources.limits
        let stripLimit = product.m <= limits.narrowRows ? limits.narrowStrip : limits.strip
        let strips = stored.dtype == type ? 1 : parts(storedRows, width: stored.columns, stripLimit)
        let whole = strips == 1 ? rightStrip(0..<storedRows) : nil
        let blockLimit = strips == 1 ? limits.cachedBlock : limits.block
        // Rows that are neither decoded nor rounded need no block of their own.
        let width = max(product.left.dtype == type ? 0 : product.k, sumsApart(strips) ? product.n : 0)
        let blocks = width == 0 ? 1 : parts(product.m, width: width, blockLimit)
        for block in 0..<blocks {
            try multiply(Self.part(block, of: blocks, product.m), places, strips: strips, whole: whole)
        }
        withExtendedLifetime(whole?.owner) {}
    }

    /// Whether results are summed in F32 and rounded: where their type is narrower than the products', or their terms
    /// come in several strips.
    private func sumsApart(_ stripCount: Int) -> Bool {
        product.result.dtype != .f32 && (type == .f32 || rightLayout == .plain && stripCount > 1)
    }

    /// Stored rows of the right side.
    private var storedRows: Int { rightLayout == .transposed ? product.n : product.k }

    /// The rows `rows` of the result; `whole` is the right side where it is one strip.
    private func multiply(
        _ rows: Range<Int>, _ places: OneDNN.Places, strips: Int, whole: Operand?
    ) throws(ComputeError) {
        let left = leftBlock(rows, places.left)
        let result = Result(self, rows, places.result, stripCount: strips)
        for index in 0..<strips {
            let strip = Self.part(index, of: strips, storedRows)
            let right = whole ?? rightStrip(strip)
            var part = product
            part.m = rows.count
            part.left = left.operand
            part.right = right.operand
            part.result = result.operand
            var partPlaces = OneDNN.Places(
                left: left.place, right: right.place, result: result.place, bias: places.bias)
            if rightLayout == .transposed {
                part.n = strip.count
                partPlaces.result += strip.lowerBound * result.operand.dtype.byteCount
                partPlaces.bias = places.bias.map { $0 + strip.lowerBound }
            } else {
                part.k = strip.count
                partPlaces.left += strip.lowerBound * left.operand.columnStride * type.byteCount
                // The bias is added once, and later strips add to what the first wrote.
                part.hasBias = product.hasBias && index == 0
                part.accumulates = product.accumulates || index > 0
            }
            try resources.library.run(part, partPlaces)
            withExtendedLifetime(right.owner) {}
        }
        result.finish()
        withExtendedLifetime(left.owner) {}
    }

    /// A matrix in the type that is multiplied, in place or decoded into a tensor that owns it.
    private struct Operand {
        let place: UnsafeRawPointer
        let operand: OneDNN.Operand
        var owner: Tensor?
    }

    /// The left side of the result's rows `rows`.
    private func leftBlock(_ rows: Range<Int>, _ start: UnsafeRawPointer) -> Operand {
        let dtype = product.left.dtype
        let place = start + rows.lowerBound * product.left.rowStride * dtype.byteCount
        if dtype == type { return Operand(place: place, operand: product.left) }
        // A vector: behind the rows of a matrix there would be room that is cleared.
        let tensor = Tensor([product.k * rows.count], type, pool: resources.pool)
        let target = tensor.address
        guard leftLayout == .transposed else {
            resources.threads.convert(place, dtype, into: target, type, rows.count * product.k)
            return Operand(place: target, operand: .init(type, .plain, width: product.k), owner: tensor)
        }
        // The rows of the result are columns here: a part of each stored row.
        let (bytes, rowBytes) = (product.m * dtype.byteCount, rows.count * type.byteCount)
        resources.threads.parallel(product.k, grain: max(1, 8192 / rows.count)) { [type] range in
            for row in range {
                StoredRows.convert(place + row * bytes, dtype, into: target + row * rowBytes, type, rows.count)
            }
        }
        return Operand(place: target, operand: .init(type, .transposed, width: rows.count), owner: tensor)
    }

    /// Stored rows of the right side.
    private func rightStrip(_ rows: Range<Int>) -> Operand {
        let operand = OneDNN.Operand(type, rightLayout, width: stored.columns)
        guard stored.dtype != type else { return Operand(place: stored.row(rows.lowerBound), operand: operand) }
        let tensor = Tensor([rows.count * stored.columns], type, pool: resources.pool)
        resources.threads.decode(stored, rows, as: type, into: tensor.address)
        return Operand(place: tensor.address, operand: operand, owner: tensor)
    }

    /// Where a block of the result is summed: in place, or in F32 beside it.
    private struct Result {
        let place: UnsafeMutableRawPointer
        let operand: OneDNN.Operand
        private let target: UnsafeMutableRawPointer
        private let dtype: DType
        private let count: Int
        private let sums: Tensor?
        private let threads: ThreadTeam

        init(_ whole: StripProduct, _ rows: Range<Int>, _ start: UnsafeMutableRawPointer, stripCount: Int) {
            let product = whole.product
            dtype = product.result.dtype
            count = rows.count * product.n
            target = start + rows.lowerBound * product.n * dtype.byteCount
            threads = whole.resources.threads
            guard whole.sumsApart(stripCount) else {
                (place, operand, sums) = (target, product.result, nil)
                return
            }
            let tensor = Tensor([count], .f32, pool: whole.resources.pool)
            if product.accumulates { threads.convert(target, dtype, into: tensor.address, .f32, count) }
            (place, operand, sums) = (tensor.address, .init(.f32, .plain, width: product.n), tensor)
        }

        func finish() {
            if let sums { threads.convert(sums.address, .f32, into: target, dtype, count) }
        }
    }

    /// How many parts of at most `bytes` bytes `rows` rows of `width` numbers are cut into.
    private func parts(_ rows: Int, width: Int, _ bytes: Int) -> Int {
        let fitting = max(1, bytes / (type.byteCount * width))
        return (rows + fitting - 1) / fitting
    }

    /// Part `index` of `count` about equal ones of 0..<rows.
    private static func part(_ index: Int, of count: Int, _ rows: Int) -> Range<Int> {
        rows * index / count..<rows * (index + 1) / count
    }
}
