import COneDNN
import TensorCore
import Threads

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

    /// Multiplications from which on a product is shared out: waking a thread that sleeps takes some microseconds, and on
    /// a machine that has other work much longer, in which one thread has done as much. Depends on the shapes alone, so
    /// the bits of a product do not depend on the machine's load.
    private static let sharedWork = Double(1 << 20)

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

        /// How much there is to do.
        var multiplications: Double { Double(m) * Double(n) * Double(k) }

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
            // Compiled for as many threads as it runs on.
            let threads = product.multiplications < Self.sharedWork ? 1 : nil
            try ThreadTeam.withPool(of: threads) { () throws(OneDNNStatus) in
                try compiled(product, engine).run(stream, places)
            }
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
    fileprivate func described(_ rows: Int, _ columns: Int) -> tspeft_onednn_matrix {
        tspeft_onednn_matrix(
            rows: Int64(rows), columns: Int64(columns), row_stride: Int64(rowStride),
            column_stride: Int64(columnStride), type: dtype.dnnl)
    }
}

extension OneDNN.Product {
    /// oneDNN's description of the product.
    fileprivate var described: tspeft_onednn_product {
        tspeft_onednn_product(
            left: left.described(m, k), right: right.described(k, n), result: result.described(m, n),
            has_bias: hasBias, accumulates: accumulates, scale: scale)
    }
}

/// A product compiled for fixed shapes. Owns what oneDNN made for it.
private final class CompiledProduct {
    private var compiled = tspeft_onednn_compiled()

    init(_ product: OneDNN.Product, _ engine: dnnl_engine_t) throws(OneDNNStatus) {
        var described = product.described
        // What was made before a failure goes in `deinit`.
        try check(tspeft_onednn_compile(&compiled, &described, engine))
    }

    deinit { tspeft_onednn_release(&compiled) }

    func run(_ stream: dnnl_stream_t, _ places: OneDNN.Places) throws(OneDNNStatus) {
        let places = tspeft_onednn_places(
            left: places.left, right: places.right, bias: places.bias, result: places.result)
        try check(tspeft_onednn_run(&compiled, places, stream))
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
