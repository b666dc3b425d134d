import CheckpointIO
import Compute
import TensorCore

/// A frozen matrix that stays in the checkpoint's mapped file: this room joins mapping and product.
///
/// Where the file's type is the one that products are computed in, the processor reads the file's pages and there is no
/// copy; all else is decoded in strips into the product. The file's address never leaves a call.
final class MappedMatrix: FrozenMatrix {
    let outputSize: Int
    let inputSize: Int
    private let file: MappedFile
    private let offset: Int
    private let dtype: DType
    /// What products are computed in.
    private let productType: DType

    /// The matrix that `record` tells of, where its bytes can be read in place: an F32, BF16 or F16 matrix of a file
    /// that is not packed, whose numbers lie at multiples of their size; nil for any other.
    init?(_ record: TensorRecord, in file: MappedFile, _ context: ComputeContext) {
        guard case .plain(let dtype) = record.encoding, [.f32, .bf16, .f16].contains(dtype), record.shape.count == 2,
            !file.isPacked, record.elementCount > 0
        else { return nil }
        let isAligned = file.withBytes { bytes in
            UInt(bitPattern: bytes.baseAddress! + record.offset) % UInt(dtype.byteCount) == 0
        }
        guard isAligned else { return nil }
        self.file = file
        self.dtype = dtype
        offset = record.offset
        outputSize = record.shape[0]
        inputSize = record.shape[1]
        productType = context.weightType
    }

    private func withRows<R>(_ body: (StoredRows) -> R) -> R {
        file.withBytes { body(StoredRows($0.baseAddress! + offset, columns: inputSize, dtype)) }
    }

    func isDecoded(for products: MatrixProducts, _ dtype: DType) -> Bool {
        products.decodes(self.dtype, against: dtype)
    }

    func multiply(_ x: Tensor, bias: Tensor?, into y: Tensor, _ products: MatrixProducts) {
        withRows { products.multiplyRows(x, $0, .transposed, bias: bias, into: y) }
    }

    func multiplyTransposed(_ dy: Tensor, into dx: Tensor, accumulates: Bool, _ products: MatrixProducts) {
        withRows { products.multiplyRows(dy, $0, .plain, into: dx, accumulates: accumulates) }
    }

    func readRows(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        withRows { stored in
            guard productType != dtype, productType == .bf16 else {
                return stored.decode(rows, as: .f32, into: target)
            }
            let count = rows.count * inputSize
            withUnsafeTemporaryAllocation(of: UInt16.self, capacity: count) { rounded in
                stored.decode(rows, as: .bf16, into: rounded.baseAddress!)
                StoredRows(rounded.baseAddress!, columns: inputSize, .bf16)
                    .decode(0..<rows.count, as: .f32, into: target)
            }
        }
    }
}
