import CKernels
import TensorCore
import Threads

/// What every operation needs: the type of activations, memory, threads and the compiled products.
///
/// Belongs to one thread of control; libgomp, which oneDNN runs on, keeps a pool of threads for every thread that calls
/// it.
package final class ComputeContext {
    /// The type of activations and of frozen weights: F32 or BF16. Statistics, norms, gradients of adapter tensors and
    /// optimizer state are F32 in either.
    package let dtype: DType
    /// Threads of parallel operations.
    package let threads: ThreadTeam
    /// Memory of all tensors made through this context.
    package let pool: BufferPool
    /// Matrix products.
    package let products: MatrixProducts

    /// The type that weights are multiplied in, and so rounded to: BF16 where activations are and the processor multiplies
    /// it, F32 elsewhere.
    package var weightType: DType { products.productType(dtype) }

    /// A context that computes in `dtype` on `threadCount` threads.
    package init(dtype: DType, threadCount: Int = ComputeContext.availableThreads) {
        precondition(dtype == .f32 || dtype == .bf16, "computation is in F32 or BF16")
        self.dtype = dtype
        threads = ThreadTeam.limitingPool(to: threadCount)
        pool = BufferPool()
        products = MatrixProducts(pool: pool, threads: threads)
    }

    /// Throws the first failure of an operation since the last call, where there was one. Operations and backward
    /// passes cannot throw; what they computed after a failure means nothing. So everything that hands results of
    /// operations on, a step, a loss, a token, asks first.
    package func throwFailure() throws(ComputeError) {
        if let failure = products.takeFailure() { throw failure }
    }

    /// A tensor with undefined contents; the context's type unless told otherwise.
    package func tensor(_ shape: [Int], _ dtype: DType? = nil) -> Tensor {
        Tensor(shape, dtype ?? self.dtype, pool: pool)
    }

    /// A tensor of zeros; the context's type unless told otherwise.
    package func zeros(_ shape: [Int], _ dtype: DType? = nil) -> Tensor {
        Tensor.zeros(shape, dtype ?? self.dtype, pool: pool)
    }
}

extension DType {
    /// The kernels' number for this type.
    package var kernelCode: Int32 {
        switch self {
        case .f32: Int32(TSPEFT_F32)
        case .bf16: Int32(TSPEFT_BF16)
        case .f16: Int32(TSPEFT_F16)
        default: preconditionFailure("kernels compute in F32 and BF16, not \(rawValue)")
        }
    }
}
