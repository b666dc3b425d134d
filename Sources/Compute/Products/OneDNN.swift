import COneDNN
import TensorCore

/// oneDNN's matrix products: the one place that calls it, beside `ProcessorPaths`.
///
/// A product is compiled for its shapes once and kept. Compiling one costs 0.3 to 1 ms, looking one up about 1 us.
final class OneDNN {
    private let engine: dnnl_engine_t?
    private let stream: dnnl_stream_t?
    private var cache: [Product: CompiledProduct] = [:]

    /// Compiled products that are kept. A gated run meets many numbers of active tokens; past this all are let go and
    /// compiled again as they are met, which costs about a second in thousands of steps.
    private static let cacheLimit = 4096

    /// A CPU engine and its stream; where oneDNN cannot make them, every product fails.
    init() {
        // The limits of the processor's paths must be set before oneDNN's first call.
        _ = ProcessorPaths.current
        var engine: dnnl_engine_t?
        var stream: dnnl_stream_t?
        let isMade =
            dnnl_engine_create(&engine, dnnl_cpu, 0) == dnnl_success
            && dnnl_stream_create(&stream, engine, dnnl_stream_default_flags.rawValue) == dnnl_success
        self.engine = engine
        self.stream = isMade ? stream : nil
    }

    deinit {
        cache = [:]
        dnnl_stream_destroy(stream)
        dnnl_engine_destroy(engine)
    }

    /// One matrix of a product: its type and the distance of its elements in memory, in elements.
    struct Operand: Hashable {
        var dtype: DType
        /// From a row of the product's matrix to the next.
        var rowStride: Int
        /// From a column to the next.
        var columnStride: Int

        /// A matrix stored in rows of `width` elements, as it is or transposed.
        init(_ dtype: DType, _ layout: MatrixProducts.Layout, width: Int) {
            self.dtype = dtype
            rowStride = layout == .plain ? width : 1
            columnStride = layout == .plain ? 1 : width
        }
    }

    /// c = scale (a b + bias), or c += that: sizes and operands, all that a compiled product depends on.
    struct Product: Hashable, CustomStringConvertible {
        var m: Int
        var n: Int
        var k: Int
        var left: Operand
        var right: Operand
        var result: Operand
        var accumulates = false
        /// The bias is F32.
        var hasBias = false
        var scale: Float = 1

        var description: String {
            "[\(m), \(k)] x [\(k), \(n)] of \(left.dtype.rawValue) and \(right.dtype.rawValue) into \(result.dtype.rawValue)"
        }
    }

    /// Where the matrices of a product begin.
    struct Places {
        var left: UnsafeRawPointer
        var right: UnsafeRawPointer
        var result: UnsafeMutableRawPointer
        var bias: UnsafePointer<Float>?
    }

    /// Computes a product.
    func run(_ product: Product, _ places: Places) throws(ComputeError) {
        do throws(OneDNNStatus) {
            guard let stream, let engine else { throw OneDNNStatus(value: dnnl_runtime_error) }
            try compiled(product, engine).run(stream, places)
        } catch {
            throw .product(product.description, status: error.reason, paths: ProcessorPaths.current.summary)
        }
    }

    private func compiled(_ key: Product, _ engine: dnnl_engine_t) throws(OneDNNStatus) -> CompiledProduct {
        if let product = cache[key] { return product }
        let product = try CompiledProduct(key, engine)
        if cache.count >= Self.cacheLimit { cache.removeAll() }
        cache[key] = product
        return product
    }
}

extension OneDNN.Operand {
    /// oneDNN's description of the matrix [rows, columns].
    fileprivate func described(_ rows: Int, _ columns: Int) throws(OneDNNStatus) -> dnnl_memory_desc_t {
        var descriptor = dnnl_memory_desc_t()
        // oneDNN reads two of its twelve dimensions.
        let dims = [Int64(rows), Int64(columns)]
        let strides = [Int64(rowStride), Int64(columnStride)]
        try check(dnnl_memory_desc_init_by_strides(&descriptor, 2, dims, dtype.dnnl, strides))
        return descriptor
    }
}

/// A product compiled for fixed shapes. Owns its primitive and the descriptors of its arguments.
private final class CompiledProduct {
    private var primitive: dnnl_primitive_t?
    private var source: dnnl_memory_t?
    private var right: dnnl_memory_t?
    private var result: dnnl_memory_t?
    private var bias: dnnl_memory_t?
    private let hasBias: Bool

    init(_ product: OneDNN.Product, _ engine: dnnl_engine_t) throws(OneDNNStatus) {
        hasBias = product.hasBias
        var sourceShape = try product.left.described(product.m, product.k)
        var rightShape = try product.right.described(product.k, product.n)
        var resultShape = try product.result.described(product.m, product.n)
        var biasShape = try OneDNN.Operand(.f32, .plain, width: product.n).described(1, product.n)
        var descriptor = dnnl_matmul_desc_t()
        if hasBias {
            try check(dnnl_matmul_desc_init(&descriptor, &sourceShape, &rightShape, &biasShape, &resultShape))
        } else {
            try check(dnnl_matmul_desc_init(&descriptor, &sourceShape, &rightShape, nil, &resultShape))
        }
        let attributes = try Self.attributes(product)
        defer { dnnl_primitive_attr_destroy(attributes) }
        var primitiveDescriptor: dnnl_primitive_desc_t?
        try check(dnnl_primitive_desc_create(&primitiveDescriptor, &descriptor, attributes, engine, nil))
        defer { dnnl_primitive_desc_destroy(primitiveDescriptor) }
        try check(dnnl_primitive_create(&primitive, primitiveDescriptor))
        try check(dnnl_memory_create(&source, &sourceShape, engine, nil))
        try check(dnnl_memory_create(&right, &rightShape, engine, nil))
        try check(dnnl_memory_create(&result, &resultShape, engine, nil))
        if hasBias { try check(dnnl_memory_create(&bias, &biasShape, engine, nil)) }
    }

    private static func attributes(_ product: OneDNN.Product) throws(OneDNNStatus) -> dnnl_primitive_attr_t? {
        var attributes: dnnl_primitive_attr_t?
        try check(dnnl_primitive_attr_create(&attributes))
        do throws(OneDNNStatus) {
            if product.scale != 1 {
                var scale = product.scale
                try check(dnnl_primitive_attr_set_output_scales(attributes, 1, 0, &scale))
            }
            if product.accumulates { try addSum(to: attributes) }
        } catch {
            dnnl_primitive_attr_destroy(attributes)
            throw error
        }
        return attributes
    }

    private static func addSum(to attributes: dnnl_primitive_attr_t?) throws(OneDNNStatus) {
        var operations: dnnl_post_ops_t?
        try check(dnnl_post_ops_create(&operations))
        defer { dnnl_post_ops_destroy(operations) }
        try check(dnnl_post_ops_append_sum(operations, 1))
        try check(dnnl_primitive_attr_set_post_ops(attributes, operations))
    }

    deinit {
        for memory in [source, right, result, bias] { dnnl_memory_destroy(memory) }
        dnnl_primitive_destroy(primitive)
    }

    func run(_ stream: dnnl_stream_t, _ places: OneDNN.Places) throws(OneDNNStatus) {
        // oneDNN takes every place as one that it might write to; it writes to the result alone.
        try check(dnnl_memory_set_data_handle(source, UnsafeMutableRawPointer(mutating: places.left)))
        try check(dnnl_memory_set_data_handle(right, UnsafeMutableRawPointer(mutating: places.right)))
        try check(dnnl_memory_set_data_handle(result, places.result))
        let arguments = [
            dnnl_exec_arg_t(arg: DNNL_ARG_SRC, memory: source), dnnl_exec_arg_t(arg: DNNL_ARG_WEIGHTS, memory: right),
            dnnl_exec_arg_t(arg: DNNL_ARG_DST, memory: result),
            dnnl_exec_arg_t(arg: DNNL_ARG_BIAS, memory: bias),
        ]
        if hasBias {
            try check(dnnl_memory_set_data_handle(bias, UnsafeMutableRawPointer(mutating: places.bias)))
        }
        try check(dnnl_primitive_execute(primitive, stream, hasBias ? 4 : 3, arguments))
        try check(dnnl_stream_wait(stream))
    }
}

/// A status of oneDNN's that is not success.
private struct OneDNNStatus: Error {
    let value: dnnl_status_t

    var reason: ComputeError.Status {
        switch value {
        case dnnl_unimplemented: .unimplemented
        case dnnl_out_of_memory: .outOfMemory
        default: .failed
        }
    }
}

private func check(_ status: dnnl_status_t) throws(OneDNNStatus) {
    if status != dnnl_success { throw OneDNNStatus(value: status) }
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
