import Glibc

/// A row-major array of F32 or BF16 in host memory: a block of a pool by itself, or a view of a part of one.
///
/// Kernels see every tensor as a matrix of `rows` x `columns`, where `columns` is the last dimension. Behind the last
/// row lies room up to a multiple of `rowRounding` rows, zero at first: a product may compute on rounded sizes (and so
/// reuse its compiled kernel) without reading or writing anything that counts.
///
/// A view shares the memory of the tensor that it was taken of and keeps it alive. Its rows may lie further apart than
/// they are long; whatever reads or writes such a tensor goes by `place` or by `start` and `rowStride`, while `address`
/// and `floats` are for tensors without gaps alone.
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
    /// Elements from the start of a row to that of the next; `columns` but in some views.
    package let rowStride: Int
    /// Rows that may be written without touching anything that counts.
    package let capacityRows: Int
    /// The address of the first element, valid while the tensor lives; see `address`.
    package let start: UnsafeMutableRawPointer

    private let block: PoolBlock

    /// A tensor with undefined contents, but for zeros in the room behind its rows.
    package init(_ shape: [Int], _ dtype: DType = .f32, pool: BufferPool) {
        precondition(dtype == .f32 || dtype == .bf16, "tensors are computed with in F32 or BF16")
        precondition(!shape.isEmpty && shape.allSatisfy { $0 >= 0 })
        self.shape = shape
        self.dtype = dtype
        rows = shape.dropLast().reduce(1, *)
        columns = shape[shape.count - 1]
        rowStride = columns
        // A vector or a single row is never the left side of a rounded product with its own bytes at stake.
        capacityRows =
            shape.count == 1 ? 1 : (rows + Self.rowRounding - 1) / Self.rowRounding * Self.rowRounding
        let rowBytes = columns * dtype.byteCount
        block = PoolBlock(capacityRows * rowBytes, pool)
        start = block.address
        // memset and not initializeMemory, which goes byte by byte in a build without optimisation.
        memset(start + rows * rowBytes, 0, (capacityRows - rows) * rowBytes)
    }

    /// A view of a part of `whole` that begins at its element (`row`, `column`).
    private init(of whole: Tensor, _ shape: [Int], row: Int, column: Int, stride: Int, capacityRows: Int) {
        self.shape = shape
        dtype = whole.dtype
        rows = shape.dropLast().reduce(1, *)
        columns = shape[shape.count - 1]
        rowStride = stride
        self.capacityRows = max(rows, capacityRows)
        start = whole.place(row, column)
        block = whole.block
    }

    /// A tensor of zeros.
    package static func zeros(_ shape: [Int], _ dtype: DType = .f32, pool: BufferPool) -> Tensor {
        let tensor = Tensor(shape, dtype, pool: pool)
        tensor.clear()
        return tensor
    }

    /// The same elements in another shape; the tensor has no gaps.
    package func reshaped(_ shape: [Int]) -> Tensor {
        precondition(isContiguous && shape.reduce(1, *) == count, "\(self.shape) seen as \(shape)")
        let columns = shape[shape.count - 1]
        let capacity = columns == 0 ? 0 : capacityRows * self.columns / columns
        return Tensor(
            of: self, shape, row: 0, column: 0, stride: columns, capacityRows: shape.count == 1 ? 1 : capacity)
    }

    /// Some of the rows, [range.count, columns].
    package func rows(_ range: Range<Int>) -> Tensor {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(shape)")
        // What lies behind rows in the middle belongs to others.
        let capacity = range.upperBound == rows ? capacityRows - range.lowerBound : range.count
        return Tensor(
            of: self, [range.count, columns], row: range.lowerBound, column: 0, stride: rowStride,
            capacityRows: capacity)
    }

    /// Some of the columns, [rows, range.count].
    package func columns(_ range: Range<Int>) -> Tensor {
        precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of \(shape)")
        return Tensor(
            of: self, [rows, range.count], row: 0, column: range.lowerBound, stride: rowStride,
            capacityRows: capacityRows)
    }

    /// Whether each row begins where the one before it ends.
    package var isContiguous: Bool { rowStride == columns || rows <= 1 }

    /// The address of an element; see `address`.
    package func place(_ row: Int, _ column: Int = 0) -> UnsafeMutableRawPointer {
        start + (row * rowStride + column) * dtype.byteCount
    }

    /// Elements, those of the room behind the rows not counted.
    package var count: Int { rows * columns }

    /// Bytes of one row.
    package var rowByteCount: Int { columns * dtype.byteCount }

    /// Sets every element to zero.
    package func clear() {
        if isContiguous {
            memset(start, 0, rows * rowByteCount)
        } else {
            for row in 0..<rows { memset(place(row), 0, rowByteCount) }
        }
    }

    /// The address of the first element of a tensor without gaps, valid while the tensor lives: the caller keeps the
    /// tensor alive over the use (`withExtendedLifetime`, or by holding it in a property).
    package var address: UnsafeMutableRawPointer {
        precondition(isContiguous, "a tensor with gaps between its rows has to be read row by row")
        return start
    }

    /// The address of the first element of an F32 tensor without gaps; see `address`.
    package var floats: UnsafeMutablePointer<Float> {
        precondition(dtype == .f32, "F32 expected, \(dtype.rawValue) found")
        return address.assumingMemoryBound(to: Float.self)
    }

    /// The elements as an array of `Float`, converted where need be. For tests and small tensors.
    package func toArray() -> [Float] {
        withExtendedLifetime(self) {
            if dtype == .f32, isContiguous { return Array(UnsafeBufferPointer(start: floats, count: count)) }
            var values: [Float] = []
            values.reserveCapacity(count)
            for row in 0..<rows {
                switch dtype {
                case .f32:
                    let row = place(row).assumingMemoryBound(to: Float.self)
                    values += UnsafeBufferPointer(start: row, count: columns)
                default:
                    let row = place(row).assumingMemoryBound(to: UInt16.self)
                    values += UnsafeBufferPointer(start: row, count: columns).lazy
                        .map { BFloat16(bitPattern: $0).floatValue }
                }
            }
            return values
        }
    }

    /// Overwrites the elements from `values`, rounded to the tensor's type.
    package func copy(from values: [Float]) {
        precondition(values.count == count, "\(values.count) values for \(count) elements")
        withExtendedLifetime(self) {
            switch dtype {
            case .f32 where isContiguous:
                floats.update(from: values, count: count)
            case .f32:
                for row in 0..<rows {
                    let target = place(row).assumingMemoryBound(to: Float.self)
                    for column in 0..<columns { target[column] = values[row * columns + column] }
                }
            default:
                for row in 0..<rows {
                    let target = place(row).assumingMemoryBound(to: UInt16.self)
                    for column in 0..<columns {
                        target[column] = BFloat16(values[row * columns + column]).bitPattern
                    }
                }
            }
        }
    }
}

/// A block of a pool, given back when the last tensor over it has gone.
private final class PoolBlock {
    let address: UnsafeMutableRawPointer
    private let pool: BufferPool
    private let size: Int

    init(_ byteCount: Int, _ pool: BufferPool) {
        self.pool = pool
        (address, size) = pool.take(byteCount)
    }

    deinit { pool.give(address, size: size) }
}
