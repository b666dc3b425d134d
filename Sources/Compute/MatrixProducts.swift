import COneDNN
import TensorCore

/// Matrix products by oneDNN: the one place that imports it.
///
/// A product is compiled for its shapes once and kept; callers round the number of tokens up to `Tensor.rowRounding`,
/// so that few are ever compiled. Compiling one costs 0.3 to 1 ms, looking one up about 1 us.
///
/// Operands keep their plain row-major form. Packing weights in oneDNN's own format was measured on a processor with
/// AVX-512 BF16 (2048 tokens, sizes of a 135M model): 935 against 919 GFLOP/s, for a second copy of every weight.
package final class MatrixProducts {
    private let engine: dnnl_engine_t
    private let stream: dnnl_stream_t
    private var cache: [Key: CompiledProduct] = [:]

    /// Compiled products that are kept. A gated run meets many numbers of active tokens; past this all are let go and
    /// compiled again as they are met, which costs about a second in thousands of steps.
    private static let cacheLimit = 4096

    /// Seconds spent in products so far, where `measuresTime` is on.
    package private(set) var seconds = 0.0
    /// Whether products are timed; a benchmark asks for it.
    package var measuresTime = false

    /// A CPU engine and its stream.
    package init() {
        var engine: dnnl_engine_t?
        check(dnnl_engine_create(&engine, dnnl_cpu, 0))
        self.engine = engine!
        var stream: dnnl_stream_t?
        check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags.rawValue))
        self.stream = stream!
    }

    deinit {
        cache = [:]
        dnnl_stream_destroy(stream)
        dnnl_engine_destroy(engine)
    }

    /// How one side of a product lies in memory.
    package enum Layout: Hashable {
        /// [rows, columns], row-major.
        case plain
        /// The transpose of a row-major [columns, rows] matrix.
        case transposed
    }

    private struct Key: Hashable {
        let m: Int
        let n: Int
        let k: Int
        let left: DType
        let leftLayout: Layout
        let right: DType
        let rightLayout: Layout
        let result: DType
        let accumulates: Bool
        let hasBias: Bool
        let scale: Float
    }

    private func timed(_ body: () -> Void) {
        guard measuresTime else { return body() }
        let start = ContinuousClock.now
        body()
        seconds += (ContinuousClock.now - start).inSeconds
    }

    /// c [m, n] = scale (a [m, k] b [k, n] + bias [n]), the bias in F32 and optional; or c += that where `accumulates`.
    ///
    /// `m`, `n`, `k` are the sizes to compute with; the tensors hold at least as much. The layouts say how a and b lie
    /// in their tensors: a transposed `a` is stored as [k, m], a transposed `b` as [n, k]. Sums are F32 whatever the
    /// types.
    package func multiply(
        _ a: Tensor, _ aLayout: Layout, _ b: Tensor, _ bLayout: Layout, bias: Tensor? = nil, into c: Tensor, m: Int,
        n: Int, k: Int, accumulates: Bool = false, scale: Float = 1
    ) {
        if m == 0 || n == 0 { return }
        if k == 0 {
            if !accumulates { c.clear() }
            return
        }
        let key = Key(
            m: m, n: n, k: k, left: a.dtype, leftLayout: aLayout, right: b.dtype, rightLayout: bLayout, result: c.dtype,
            accumulates: accumulates, hasBias: bias != nil, scale: scale)
        let product = compiled(key)
        timed { product.run(stream, a.address, b.address, c.address, bias: bias?.address) }
        withExtendedLifetime((a, b, c, bias)) {}
    }

    /// The product of each row of `a` [tokens, k] with a matrix, into `c` [tokens, n]: `multiply` with m = tokens
    /// rounded up to `Tensor.rowRounding`, so that batches of similar size share a compiled product.
    package func multiplyRows(
        _ a: Tensor, _ b: Tensor, _ bLayout: Layout, bias: Tensor? = nil, into c: Tensor, n: Int, k: Int,
        accumulates: Bool = false
    ) {
        multiply(
            a, .plain, b, bLayout, bias: bias, into: c, m: roundedRows(a.rows, a, c), n: n, k: k,
            accumulates: accumulates)
    }

    /// m rounded up to `Tensor.rowRounding` where all tensors have that many rows; small m stay as they are, since a
    /// single token (generation) must not pay for 64.
    package func roundedRows(_ m: Int, _ tensors: Tensor...) -> Int {
        if m <= Tensor.rowRounding / 4 { return m }
        let rounded = (m + Tensor.rowRounding - 1) / Tensor.rowRounding * Tensor.rowRounding
        return tensors.allSatisfy { $0.capacityRows >= rounded } ? rounded : m
    }

    private func compiled(_ key: Key) -> CompiledProduct {
        if let product = cache[key] { return product }
        var source = Self.matrix(key.m, key.k, key.left, key.leftLayout)
        var weights = Self.matrix(key.k, key.n, key.right, key.rightLayout)
        var result = Self.matrix(key.m, key.n, key.result, .plain)
        var bias = Self.matrix(1, key.n, .f32, .plain)
        var descriptor = dnnl_matmul_desc_t()
        if key.hasBias {
            check(dnnl_matmul_desc_init(&descriptor, &source, &weights, &bias, &result))
        } else {
            check(dnnl_matmul_desc_init(&descriptor, &source, &weights, nil, &result))
        }
        var attributes: dnnl_primitive_attr_t?
        check(dnnl_primitive_attr_create(&attributes))
        defer { dnnl_primitive_attr_destroy(attributes) }
        if key.scale != 1 {
            var scale = key.scale
            check(dnnl_primitive_attr_set_output_scales(attributes, 1, 0, &scale))
        }
        if key.accumulates {
            var operations: dnnl_post_ops_t?
            check(dnnl_post_ops_create(&operations))
            check(dnnl_post_ops_append_sum(operations, 1))
            check(dnnl_primitive_attr_set_post_ops(attributes, operations))
            dnnl_post_ops_destroy(operations)
        }
        var primitiveDescriptor: dnnl_primitive_desc_t?
        check(dnnl_primitive_desc_create(&primitiveDescriptor, &descriptor, attributes, engine, nil))
        defer { dnnl_primitive_desc_destroy(primitiveDescriptor) }
        var primitive: dnnl_primitive_t?
        check(dnnl_primitive_create(&primitive, primitiveDescriptor))
        let product = CompiledProduct(
            primitive: primitive!, engine: engine, source: source, weights: weights, result: result,
            bias: key.hasBias ? bias : nil)
        if cache.count >= Self.cacheLimit { cache.removeAll() }
        cache[key] = product
        return product
    }

    private static func matrix(_ rows: Int, _ columns: Int, _ dtype: DType, _ layout: Layout) -> dnnl_memory_desc_t {
        var descriptor = dnnl_memory_desc_t()
        // oneDNN reads two of its twelve dimensions.
        let dims = [Int64(rows), Int64(columns)]
        let strides = layout == .plain ? [Int64(columns), 1] : [1, Int64(rows)]
        check(dnnl_memory_desc_init_by_strides(&descriptor, 2, dims, dtype.dnnl, strides))
        return descriptor
    }
}

extension DType {
    /// oneDNN's name of the type.
    fileprivate var dnnl: dnnl_data_type_t {
        switch self {
        case .f32: dnnl_f32
        case .bf16: dnnl_bf16
        default: preconditionFailure("products are in F32 and BF16")
        }
    }
}

/// A product compiled for fixed shapes. Owns its primitive and the descriptors of its arguments.
private final class CompiledProduct {
    private let primitive: dnnl_primitive_t
    private let source: dnnl_memory_t
    private let right: dnnl_memory_t
    private let result: dnnl_memory_t
    private let bias: dnnl_memory_t?

    init(
        primitive: dnnl_primitive_t, engine: dnnl_engine_t, source: dnnl_memory_desc_t, weights: dnnl_memory_desc_t,
        result: dnnl_memory_desc_t, bias: dnnl_memory_desc_t?
    ) {
        self.primitive = primitive
        self.source = Self.memory(source, engine)
        right = Self.memory(weights, engine)
        self.result = Self.memory(result, engine)
        self.bias = bias.map { Self.memory($0, engine) }
    }

    deinit {
        dnnl_memory_destroy(source)
        dnnl_memory_destroy(right)
        dnnl_memory_destroy(result)
        dnnl_memory_destroy(bias)
        dnnl_primitive_destroy(primitive)
    }

    private static func memory(_ descriptor: dnnl_memory_desc_t, _ engine: dnnl_engine_t) -> dnnl_memory_t {
        var descriptor = descriptor
        var memory: dnnl_memory_t?
        check(dnnl_memory_create(&memory, &descriptor, engine, nil))
        return memory!
    }

    func run(
        _ stream: dnnl_stream_t, _ a: UnsafeMutableRawPointer, _ b: UnsafeMutableRawPointer,
        _ c: UnsafeMutableRawPointer, bias biasAddress: UnsafeMutableRawPointer?
    ) {
        check(dnnl_memory_set_data_handle(source, a))
        check(dnnl_memory_set_data_handle(right, b))
        check(dnnl_memory_set_data_handle(result, c))
        let arguments = [
            dnnl_exec_arg_t(arg: DNNL_ARG_SRC, memory: source), dnnl_exec_arg_t(arg: DNNL_ARG_WEIGHTS, memory: right),
            dnnl_exec_arg_t(arg: DNNL_ARG_DST, memory: result),
            dnnl_exec_arg_t(arg: DNNL_ARG_BIAS, memory: bias),
        ]
        if let bias { check(dnnl_memory_set_data_handle(bias, biasAddress)) }
        check(dnnl_primitive_execute(primitive, stream, bias == nil ? 3 : 4, arguments))
        check(dnnl_stream_wait(stream))
    }
}

/// Stops the program at a status that only a mistake in this file or a lack of memory can cause.
private func check(_ status: dnnl_status_t) {
    precondition(status == dnnl_success, "oneDNN status \(status.rawValue)")
}
