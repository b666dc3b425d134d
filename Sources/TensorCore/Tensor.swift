import Glibc

/// A dense row-major array of F32 or BF16 in host memory; owns its block of a pool.
///
/// Kernels see every tensor as a matrix of `rows` x `columns`, where `columns` is the last dimension. Behind the last
/// row lies room up to a multiple of `rowRounding` rows, zero at first: a product may compute on rounded sizes (and so
/// reuse its compiled kernel) without reading or writing anything that counts.
package final class Tensor {
    /// Capacity is a multiple of this many rows.
    package static let rowRounding = 64

    /// Outermost dimension first.
    package let shape: [Int]
    /// F32 or BF16.
    package let dtype: DType
    /// The product of all dimensions but the last.
    package let rows: Int
    /// The last dimension.
    package let columns: Int
    /// Rows that the block has room for.
    package let capacityRows: Int

    private let pool: BufferPool
    private let block: UnsafeMutableRawPointer
    private let blockSize: Int

    /// A tensor with undefined contents, but for zeros in the room behind its rows.
    package init(_ shape: [Int], _ dtype: DType = .f32, pool: BufferPool) {
        precondition(dtype == .f32 || dtype == .bf16, "tensors are computed with in F32 or BF16")
        precondition(!shape.isEmpty && shape.allSatisfy { $0 >= 0 })
        self.shape = shape
        self.dtype = dtype
        self.pool = pool
        rows = shape.dropLast().reduce(1, *)
        columns = shape[shape.count - 1]
        // A vector or a single row is never the left side of a rounded product with its own bytes at stake.
        capacityRows =
            shape.count == 1 ? 1 : (rows + Self.rowRounding - 1) / Self.rowRounding * Self.rowRounding
        let rowBytes = columns * dtype.byteCount
        (block, blockSize) = pool.take(capacityRows * rowBytes)
        // memset and not initializeMemory, which goes byte by byte in a build without optimisation.
        memset(block + rows * rowBytes, 0, (capacityRows - rows) * rowBytes)
    }

    deinit {
        pool.give(block, size: blockSize)
    }

    /// A tensor of zeros.
    package static func zeros(_ shape: [Int], _ dtype: DType = .f32, pool: BufferPool) -> Tensor {
        let tensor = Tensor(shape, dtype, pool: pool)
        tensor.clear()
        return tensor
    }

    /// Elements, those of the room behind the rows not counted.
    package var count: Int { rows * columns }

    /// Bytes of one row.
    package var rowByteCount: Int { columns * dtype.byteCount }

    /// Sets every element to zero.
    package func clear() {
        memset(block, 0, rows * rowByteCount)
    }

    /// The address of the first element, valid while the tensor lives: the caller keeps the tensor alive over the use
    /// (`withExtendedLifetime`, or by holding it in a property).
    package var address: UnsafeMutableRawPointer { block }

    /// The address of the first element of an F32 tensor; see `address`.
    package var floats: UnsafeMutablePointer<Float> {
        precondition(dtype == .f32, "F32 expected, \(dtype.rawValue) found")
        return block.assumingMemoryBound(to: Float.self)
    }

    /// The elements as an array of `Float`, converted where need be. For tests and small tensors.
    package func toArray() -> [Float] {
        withExtendedLifetime(self) {
            switch dtype {
            case .f32:
                Array(UnsafeBufferPointer(start: floats, count: count))
            default:
                UnsafeBufferPointer(start: block.assumingMemoryBound(to: UInt16.self), count: count)
                    .map { BFloat16(bitPattern: $0).floatValue }
            }
        }
    }

    /// Overwrites the elements from `values`, rounded to the tensor's type.
    package func copy(from values: [Float]) {
        precondition(values.count == count, "\(values.count) values for \(count) elements")
        withExtendedLifetime(self) {
            switch dtype {
            case .f32:
                floats.update(from: values, count: count)
            default:
                let target = block.assumingMemoryBound(to: UInt16.self)
                for index in 0..<count { target[index] = BFloat16(values[index]).bitPattern }
            }
        }
    }
}
