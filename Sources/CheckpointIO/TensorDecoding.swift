import CKernels
import Glibc
import TensorCore

extension TensorRecord {
    /// Decodes rows (along the first axis; nil is all, a scalar has none) of this tensor to `Float`.
    ///
    /// - Parameters:
    ///   - data: the tensor's bytes, `byteCount` of them, at any alignment.
    ///   - destination: as many elements as the rows have, row-major; a programmer's mistake traps.
    /// - Throws: `unsupportedEncoding` for the plain types that `isReadable` leaves out.
    func decode(
        rows: Range<Int>?, from data: UnsafeRawBufferPointer, file: String,
        into destination: UnsafeMutableBufferPointer<Float>
    ) throws(CheckpointError) {
        guard encoding.isReadable else {
            throw .unsupportedEncoding(file: file, tensor: name, encoding: encoding.description)
        }
        var first = 0
        var count = elementCount
        if let rows, let rowCount = shape.first {
            precondition(rows.lowerBound >= 0 && rows.upperBound <= rowCount, "rows outside the tensor")
            let width = rowCount == 0 ? 0 : count / rowCount
            first = rows.lowerBound * width
            count = rows.count * width
        }
        precondition(destination.count == count, "a destination of \(destination.count) elements for \(count)")
        guard count > 0 else { return }
        let group = encoding.group
        // Rows of a one-dimensional block tensor are single elements, which need not start a block.
        if first % group.elements != 0 || count % group.elements != 0 {
            let whole = [Float](unsafeUninitializedCapacity: elementCount) { buffer, filled in
                decodeGroups(data.baseAddress!, into: buffer.baseAddress!, elements: elementCount)
                filled = elementCount
            }
            for index in 0..<count { destination[index] = whole[first + index] }
            return
        }
        decodeGroups(
            data.baseAddress! + first / group.elements * group.bytes, into: destination.baseAddress!, elements: count)
    }

    private func decodeGroups(
        _ source: UnsafeRawPointer, into destination: UnsafeMutablePointer<Float>, elements: Int
    ) {
        switch encoding {
        case .block(let format):
            format.decode(source, into: destination, blocks: elements / format.elementsPerBlock)
        case .plain(.f32): memcpy(destination, source, elements * 4)
        case .plain(.f16): tspeft_decode_f16(source, destination, elements)
        case .plain(.bf16): tspeft_decode_bf16(source, destination, elements)
        case .plain(.f64): tspeft_decode_f64(source, destination, elements)
        case .plain(.i8): tspeft_decode_i8(source, destination, elements)
        case .plain(.i16): tspeft_decode_i16(source, destination, elements)
        case .plain(.i32): tspeft_decode_i32(source, destination, elements)
        case .plain(.i64): tspeft_decode_i64(source, destination, elements)
        case .plain(let type): preconditionFailure("\(type.rawValue) is not readable")
        }
    }
}
