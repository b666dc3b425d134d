import CKernels
import TensorCore
import Threads

/// A row-major matrix in memory that somebody else keeps there, in a type that can be decoded: what products read.
package struct StoredRows {
    /// Numbers of a row.
    package let columns: Int
    /// Numbers from a row to the next; `columns` for what is decoded.
    let rowStride: Int
    /// F32, BF16 or F16.
    package let dtype: DType
    let address: UnsafeRawPointer

    /// Rows of `columns` numbers of `dtype` at `address`, which is a multiple of the type's size.
    package init(_ address: UnsafeRawPointer, columns: Int, stride: Int? = nil, _ dtype: DType) {
        precondition(UInt(bitPattern: address) % UInt(dtype.byteCount) == 0, "numbers lie at multiples of their size")
        self.address = address
        self.columns = columns
        rowStride = stride ?? columns
        self.dtype = dtype
    }

    /// The rows of a tensor, which must outlive this value.
    package init(_ tensor: Tensor) { self.init(tensor.address, columns: tensor.columns, tensor.dtype) }

    /// The address of row `row`.
    func row(_ row: Int) -> UnsafeRawPointer { address + row * rowStride * dtype.byteCount }

    /// Writes rows as numbers of `type`, F32 or BF16, to `target`, on the calling thread. Of F16 and F32 numbers BF16
    /// ones are the nearest.
    package func decode(_ rows: Range<Int>, as type: DType, into target: UnsafeMutableRawPointer) {
        Self.convert(row(rows.lowerBound), dtype, into: target, type, rows.count * columns)
    }

    /// Numbers converted at a time where they go by way of F32.
    private static let pieceCount = 1024

    static func convert(
        _ source: UnsafeRawPointer, _ from: DType, into target: UnsafeMutableRawPointer, _ to: DType, _ count: Int
    ) {
        guard from == .f16, to != .f32 else {
            return tspeft_convert(source, from.kernelCode, target, to.kernelCode, count)
        }
        withUnsafeTemporaryAllocation(of: Float.self, capacity: pieceCount) { piece in
            for start in stride(from: 0, to: count, by: pieceCount) {
                let size = min(pieceCount, count - start)
                tspeft_convert(
                    source + start * from.byteCount, from.kernelCode, piece.baseAddress!, DType.f32.kernelCode, size)
                tspeft_convert(
                    piece.baseAddress!, DType.f32.kernelCode, target + start * to.byteCount, to.kernelCode, size)
            }
        }
    }
}

extension ThreadTeam {
    /// `StoredRows.decode`, shared out to the threads.
    func decode(_ source: StoredRows, _ rows: Range<Int>, as type: DType, into target: UnsafeMutableRawPointer) {
        convert(source.row(rows.lowerBound), source.dtype, into: target, type, rows.count * source.columns)
    }

    /// Converts `count` numbers, shared out to the threads.
    func convert(
        _ source: UnsafeRawPointer, _ from: DType, into target: UnsafeMutableRawPointer, _ to: DType, _ count: Int
    ) {
        parallel(count, grain: 8192) { range in
            StoredRows.convert(
                source + range.lowerBound * from.byteCount, from, into: target + range.lowerBound * to.byteCount, to,
                range.count)
        }
    }
}
