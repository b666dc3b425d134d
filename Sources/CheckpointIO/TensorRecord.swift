import TensorCore

/// How a tensor's elements are stored.
package enum TensorEncoding: Sendable, Equatable, CustomStringConvertible {
    /// One element after another.
    case plain(DType)
    /// Blocks of quantized elements along the last axis.
    case block(GGMLBlockFormat)

    /// The name that the file format gives it, such as `BF16` or `Q4_0`.
    package var description: String {
        switch self {
        case .plain(let type): type.rawValue
        case .block(let format): format.name
        }
    }

    /// Whether `readFloats` can decode it: floating-point numbers, signed integers and blocks.
    package var isReadable: Bool {
        switch self {
        case .plain(.i8), .plain(.i16), .plain(.i32), .plain(.i64): true
        case .plain(let type): type.isFloatingPoint
        case .block: true
        }
    }

    /// Whether elements are numbers with a fraction, as a model's weights are: floating point or blocks.
    package var holdsReals: Bool {
        switch self {
        case .plain(let type): type.isFloatingPoint
        case .block: true
        }
    }

    /// Whether elements are whole numbers, or true and false.
    package var holdsIntegers: Bool { if case .plain(let type) = self { type.isInteger } else { false } }

    /// Elements that are stored together, and their bytes: (1, size) for plain types.
    package var group: (elements: Int, bytes: Int) {
        switch self {
        case .plain(let type): (1, type.byteCount)
        case .block(let format): (format.elementsPerBlock, format.bytesPerBlock)
        }
    }

    /// Bytes of a tensor of this shape; nil if that overflows or the last axis is not a whole number of blocks.
    package func byteCount(shape: [Int]) -> Int? {
        guard let elements = elementCount(shape: shape) else { return nil }
        let group = group
        if group.elements > 1, (shape.last ?? 1) % group.elements != 0 { return nil }
        let (bytes, overflow) = (elements / group.elements).multipliedReportingOverflow(by: group.bytes)
        return overflow ? nil : bytes
    }
}

/// The product of `shape`, 1 for a scalar; nil if it overflows or an extent is negative.
package func elementCount(shape: [Int]) -> Int? {
    var count = 1
    for extent in shape {
        if extent < 0 { return nil }
        let (product, overflow) = count.multipliedReportingOverflow(by: extent)
        if overflow { return nil }
        count = product
    }
    return count
}

/// Where a tensor of a checkpoint lies; checked against the file's size when the file was opened.
package struct TensorRecord: Sendable, Equatable {
    /// The name in the file.
    package let name: String
    /// Extents, row-major, outermost first (GGUF's order reversed); empty for a scalar.
    package let shape: [Int]
    /// How elements are stored.
    package let encoding: TensorEncoding
    /// Which of the checkpoint's files holds it.
    package let fileIndex: Int
    /// Bytes before it in that file.
    package let offset: Int
    /// Bytes of its data.
    package let byteCount: Int

    /// The number of elements.
    package var elementCount: Int { shape.reduce(1, *) }

    /// The same bytes by another name.
    package func renamed(_ name: String) -> TensorRecord {
        TensorRecord(
            name: name, shape: shape, encoding: encoding, fileIndex: fileIndex, offset: offset, byteCount: byteCount)
    }

    /// The same bytes seen as rows of another width: as many elements, in rows of whole blocks.
    package func rows(of width: Int) -> TensorRecord {
        precondition(width > 0 && elementCount % width == 0 && width % encoding.group.elements == 0, "no whole rows")
        return TensorRecord(
            name: name, shape: [elementCount / width, width], encoding: encoding, fileIndex: fileIndex, offset: offset,
            byteCount: byteCount)
    }

    /// Where its bytes lie in its file.
    package var byteRange: Range<Int> { offset..<offset + byteCount }
}

extension TensorRecord {
    /// A tensor that no file holds yet: it has no place, and nothing may be read there. The shape was checked to fit.
    package init(unwritten name: String, shape: [Int], encoding: TensorEncoding, fileIndex: Int) {
        self.init(
            name: name, shape: shape, encoding: encoding, fileIndex: fileIndex, offset: 0,
            byteCount: encoding.byteCount(shape: shape) ?? 0)
    }
}
