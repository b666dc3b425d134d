import TensorCore
import Threads

/// Matrix products of tensors in F32 and BF16.
///
/// Operands keep their plain row-major form. Packing weights in oneDNN's own format was measured on a processor with
/// AVX-512 BF16 (2048 tokens, sizes of a 135M model): 935 against 919 GFLOP/s, for a second copy of every weight. Where
/// the processor does not multiply BF16, BF16 operands are decoded in strips into F32 products (`StripProduct`).
///
/// A product that fails is recorded and throws later, since the backward passes of a tape cannot throw: see
/// `ComputeContext.throwFailure`.
package final class MatrixProducts {
    private let library = OneDNN()
    private let pool: BufferPool
    private let threads: ThreadTeam
    /// Whether BF16 operands are multiplied as they are; else they are decoded.
    package let multipliesBF16: Bool

    /// Seconds spent in products so far, decoding included, where `measuresTime` is on.
    package private(set) var seconds = 0.0
    /// Whether products are timed; a benchmark asks for it.
    package var measuresTime = false

    /// How much is decoded at a time; tests take less.
    var limits = StripProduct.Limits()

    private var failure: ComputeError?
    /// What `reading` is told of, the innermost last.
    private var readings: [Reading] = []

    /// Products that take scratch memory from `pool`. `multipliesBF16` can be switched off where the processor does,
    /// for tests of the other way; nowhere can it be switched on.
    package init(
        pool: BufferPool = BufferPool(), threads: ThreadTeam = .limitingPool(to: ThreadTeam.available),
        multipliesBF16: Bool = true
    ) {
        self.pool = pool
        self.threads = threads
        self.multipliesBF16 = multipliesBF16 && ProcessorPaths.current.multipliesBF16
    }

    /// The first failure since the last call.
    package func takeFailure() -> ComputeError? {
        defer { failure = nil }
        return failure
    }

    /// A tensor that several products read, and its decoded copy once one of them has needed it.
    private final class Reading {
        let tensor: Tensor
        var decoded: Tensor?

        init(_ tensor: Tensor) { self.tensor = tensor }
    }

    /// Runs `body`, in which several products have `tensor` as their left side and nothing writes to it: where they
    /// decode it, they do so once. The decoded copy, in F32, goes when `body` ends.
    package func reading<R>(_ tensor: Tensor, _ body: () throws -> R) rethrows -> R {
        let isDecoded = productType(tensor.dtype) != tensor.dtype
        if !isDecoded || !tensor.isContiguous || readings.contains(where: { $0.tensor === tensor }) {
            return try body()
        }
        readings.append(Reading(tensor))
        defer { readings.removeLast() }
        return try body()
    }

    /// The decoded copy of a left side that is read several times; the tensor itself where it is not.
    private func decodedOnce(_ tensor: Tensor) -> Tensor {
        guard let reading = readings.last(where: { $0.tensor === tensor }) else { return tensor }
        if let decoded = reading.decoded { return decoded }
        let type = productType(tensor.dtype)
        let decoded = Tensor(tensor.shape, type, pool: pool)
        timed { threads.convert(tensor.address, tensor.dtype, into: decoded.address, type, tensor.count) }
        reading.decoded = decoded
        return decoded
    }

    /// How one side of a product lies in memory.
    package enum Layout: Hashable {
        /// [rows, columns], row-major.
        case plain
        /// The transpose of a row-major [columns, rows] matrix.
        case transposed
    }

    /// What a product computes beside its operands.
    package struct Form: Sendable {
        /// Rows of a and c.
        let m: Int
        /// Columns of b and c.
        let n: Int
        /// Columns of a, rows of b.
        let k: Int
        /// How a lies in its tensor: plain as [m, k], transposed as [k, m].
        let left: Layout
        /// How b lies in its tensor: plain as [k, n], transposed as [n, k].
        let right: Layout
        /// Whether the product is added to c.
        let accumulates: Bool
        /// A factor on the product.
        let scale: Float

        /// A form; see the properties.
        package init(
            m: Int, n: Int, k: Int, left: Layout = .plain, right: Layout = .plain, accumulates: Bool = false,
            scale: Float = 1
        ) {
            self.m = m
            self.n = n
            self.k = k
            self.left = left
            self.right = right
            self.accumulates = accumulates
            self.scale = scale
        }
    }

    private func timed(_ body: () -> Void) {
        guard measuresTime else { return body() }
        let start = ContinuousClock.now
        body()
        seconds += (ContinuousClock.now - start).inSeconds
    }

    /// Whether a product of a left side of type `left` with a matrix stored as `stored` decodes the matrix.
    package func decodes(_ stored: DType, against left: DType) -> Bool { stored != productType(left) }

    /// What a product with a left side of this type is computed in.
    package func productType(_ left: DType) -> DType { left == .bf16 && multipliesBF16 ? .bf16 : .f32 }

    /// c [m, n] = scale (a [m, k] b [k, n] + bias [n]), the bias in F32 and optional; or c += that where `accumulates`.
    ///
    /// The form's sizes are those to compute with; the tensors hold at least as much. Any of them may be a view with
    /// gaps between its rows. Sums are F32 whatever the types.
    package func multiply(_ a: Tensor, _ b: Tensor, bias: Tensor? = nil, into c: Tensor, _ form: Form) {
        if !isDirect(a, b.dtype, c), [a, b, c].contains(where: { $0.rowStride != $0.columns }) {
            // Strips are cut from rows without gaps.
            let result = packed(c)
            multiply(packed(a), packed(b), bias: bias, into: result, form)
            if result !== c { copyRows(of: result, to: c) }
            return
        }
        let width = form.right == .plain ? form.n : form.k
        let right = StoredRows(b.start, columns: width, stride: Self.stride(b, width), b.dtype)
        multiply(a, right, bias: bias, into: c, form)
        withExtendedLifetime(b) {}
    }

    /// Whether oneDNN takes operands and result as they are.
    private func isDirect(_ a: Tensor, _ right: DType, _ c: Tensor) -> Bool {
        let type = productType(a.dtype)
        return a.dtype == type && right == type && (c.dtype == .f32 || type == .bf16)
    }

    private func multiply(_ a: Tensor, _ b: StoredRows, bias: Tensor?, into c: Tensor, _ form: Form) {
        let (m, n, k) = (form.m, form.n, form.k)
        if m == 0 || n == 0 || failure != nil { return }
        if k == 0 {
            if !form.accumulates { c.clear() }
            return
        }
        let a = decodedOnce(a)
        let product = OneDNN.Product(
            m: m, n: n, k: k,
            left: OneDNN.Operand(a.dtype, form.left, width: Self.stride(a, form.left == .plain ? k : m)),
            right: OneDNN.Operand(b.dtype, form.right, width: b.rowStride),
            result: OneDNN.Operand(c.dtype, .plain, width: Self.stride(c, n)), accumulates: form.accumulates,
            hasBias: bias != nil, scale: form.scale)
        let places = OneDNN.Places(left: a.start, right: b.address, result: c.start, bias: bias?.floats)
        timed {
            do throws(ComputeError) {
                if isDirect(a, b.dtype, c) {
                    try library.run(product, places)
                } else {
                    let resources = StripProduct.Resources(
                        library: library, limits: limits, pool: pool, threads: threads)
                    try StripProduct(
                        product, leftLayout: form.left, rightLayout: form.right, right: b, type: productType(a.dtype),
                        resources
                    ).run(places)
                }
            } catch {
                failure = error
            }
        }
        withExtendedLifetime((a, c, bias)) {}
    }

    /// The product of each row of `a` [tokens, k] with a matrix that lies somewhere in memory, as the variant for
    /// tensors; `b` is [n, k] where it is transposed, else [k, n].
    package func multiplyRows(
        _ a: Tensor, _ b: StoredRows, _ bLayout: Layout, bias: Tensor? = nil, into c: Tensor, accumulates: Bool = false
    ) {
        // Strips are cut from rows without gaps.
        let takesGaps = isDirect(a, b.dtype, c)
        let (left, result) = takesGaps ? (a, c) : (packed(a), packed(c))
        multiply(
            left, b, bias: bias, into: result,
            Form(
                m: roundedRows(a.rows, left, result), n: c.columns, k: a.columns, right: bLayout,
                accumulates: accumulates))
        if result !== c { copyRows(of: result, to: c) }
    }

    /// Elements between the rows of a tensor whose rows are taken as `length` long: those of a view with gaps lie
    /// where they lie.
    private static func stride(_ tensor: Tensor, _ length: Int) -> Int {
        tensor.rowStride == tensor.columns ? length : tensor.rowStride
    }

    /// The tensor, or a copy of a view without its gaps.
    private func packed(_ tensor: Tensor) -> Tensor {
        if tensor.rowStride == tensor.columns { return tensor }
        let copy = Tensor([tensor.rows, tensor.columns], tensor.dtype, pool: pool)
        copyRows(of: tensor, to: copy)
        return copy
    }

    private func copyRows(of source: Tensor, to target: Tensor) {
        threads.parallel(source.rows, grain: 16) { rows in
            for row in rows { target.place(row).copyMemory(from: source.place(row), byteCount: source.rowByteCount) }
        }
    }

    /// The product of each row of `a` [tokens, k] with a matrix, into `c` [tokens, n]: `multiply` with m = tokens
    /// rounded up to `Tensor.rowRounding`, so that batches of similar size share a compiled product.
    package func multiplyRows(
        _ a: Tensor, _ b: Tensor, _ bLayout: Layout, into c: Tensor, n: Int, k: Int, accumulates: Bool = false
    ) {
        multiply(
            a, b, into: c, Form(m: roundedRows(a.rows, a, c), n: n, k: k, right: bLayout, accumulates: accumulates))
    }

    /// m rounded up to `Tensor.rowRounding` where all tensors have that many rows; small m stay as they are, since a
    /// single token (generation) must not pay for 64.
    package func roundedRows(_ m: Int, _ tensors: Tensor...) -> Int {
        if m <= Tensor.rowRounding / 4 { return m }
        let rounded = (m + Tensor.rowRounding - 1) / Tensor.rowRounding * Tensor.rowRounding
        return tensors.allSatisfy { $0.capacityRows >= rounded } ? rounded : m
    }
}
