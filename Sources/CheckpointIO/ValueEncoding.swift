import CKernels
import TensorCore

/// A number that the format it should be stored in cannot hold.
///
/// Blocks share a scale, so one NaN or infinity would spoil all its neighbours, and a half-precision scale ends near
/// 65504: such blocks are refused rather than written as nothing.
package struct UnencodableValue: ReportableError, Equatable {
    /// The name of the encoding, such as `Q4_0`.
    package let encoding: String
    /// The index of the first element, row-major, of the block that does not fit.
    package let element: Int
    /// The element of that block that is no number, or else the one of the largest magnitude.
    package let value: Float

    package var description: String {
        value.isFinite
            ? "the value \(value), in the block from element \(element) on, is too large for \(encoding)"
            : "\(encoding) cannot hold the value \(value), which stands in the block from element \(element) on"
    }

    package var exitStatus: ExitStatus { .badData }
}

extension GGMLBlockFormat {
    /// Whether `encode` writes this format.
    package var isWritable: Bool { tspeft_block_encoder_at(0, number) != nil }

    /// Bytes of a row of `length` elements; nil if that is not a whole number of blocks or overflows.
    package func rowByteCount(length: Int) -> Int? {
        guard length >= 0, length % elementsPerBlock == 0 else { return nil }
        let (bytes, overflow) = (length / elementsPerBlock).multipliedReportingOverflow(by: bytesPerBlock)
        return overflow ? nil : bytes
    }

    /// Encodes whole rows, whose length is a multiple of `elementsPerBlock`. Any threads may do so at once; nothing is
    /// allocated.
    ///
    /// The bytes of Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, TQ1_0, TQ2_0 and MXFP4 are those of ggml's reference. IQ4_NL and the
    /// K formats are searched for a small sum of squared errors; ggml's quantizer weighs large elements more, so its
    /// bytes differ, and its root mean square error is a little larger. All processors give the same bytes.
    ///
    /// - Parameters:
    ///   - rows: the elements, row-major, one row after another.
    ///   - destination: `bytesPerBlock` bytes for each block, at any alignment.
    /// - Throws: `UnencodableValue`; what was written then is of no use.
    package func encode(
        rows: UnsafeBufferPointer<Float>, into destination: UnsafeMutableRawBufferPointer
    ) throws(UnencodableValue) {
        guard let encoder = tspeft_block_encoder_at(tspeft_cpu_level(), number) else {
            preconditionFailure("\(name) has no encoder")
        }
        let blocks = rows.count / elementsPerBlock
        precondition(blocks * elementsPerBlock == rows.count, "\(rows.count) elements are no whole blocks of \(name)")
        precondition(
            blocks * bytesPerBlock == destination.count, "\(destination.count) bytes for \(blocks) blocks of \(name)")
        guard blocks > 0 else { return }
        let written = encoder(rows.baseAddress!, destination.baseAddress!, blocks)
        guard written == blocks else {
            let first = written * elementsPerBlock
            let block = rows[first..<first + elementsPerBlock]
            let worst = block.first { !$0.isFinite } ?? block.max { abs($0) < abs($1) }!
            throw UnencodableValue(encoding: name, element: first, value: worst)
        }
    }
}

extension TensorEncoding {
    /// Whether `encode` writes it.
    package var isWritable: Bool {
        switch self {
        case .plain(.f32), .plain(.f16), .plain(.bf16): true
        case .plain: false
        case .block(let format): format.isWritable
        }
    }

    /// Encodes elements, row-major; blocks as `GGMLBlockFormat.encode` does, F16 and BF16 rounded to nearest, ties to
    /// even, where NaN and infinities stay and too large numbers become infinite.
    ///
    /// `destination` has exactly the bytes that the elements need. A programmer's mistake traps, such as an encoding
    /// that is not writable.
    package func encode(
        _ values: UnsafeBufferPointer<Float>, into destination: UnsafeMutableRawBufferPointer
    ) throws(UnencodableValue) {
        let dtype: Int32
        switch self {
        case .block(let format): return try format.encode(rows: values, into: destination)
        case .plain(.f32): dtype = Int32(TSPEFT_F32)
        case .plain(.bf16): dtype = Int32(TSPEFT_BF16)
        case .plain(.f16): dtype = Int32(TSPEFT_F16)
        case .plain(let type): preconditionFailure("\(type.rawValue) is not writable")
        }
        precondition(destination.count == values.count * group.bytes, "\(destination.count) bytes for \(values.count)")
        guard values.count > 0 else { return }
        tspeft_convert(
            values.baseAddress!, Int32(TSPEFT_F32), destination.baseAddress!, dtype, values.count)
    }
}

extension TensorEncoding {
    /// Every encoding that `encode` writes, those with the fewest bits an element first.
    package static let writable: [TensorEncoding] = {
        let plain: [TensorEncoding] = [.plain(.f16), .plain(.bf16), .plain(.f32)]
        let blocks = GGMLBlockFormat.known.filter(\.isWritable).map(TensorEncoding.block)
        let all = blocks + plain
        // In the order above where the bits are the same: F16 has more digits than BF16.
        return all.indices.sorted { (all[$0].bitsPerElement, $0) < (all[$1].bitsPerElement, $1) }.map { all[$0] }
    }()

    /// The encoding that `encode` writes under this name, such as `Q8_0`, in letters of any case.
    package init?(writableName name: String) {
        let name = name.uppercased()
        guard let encoding = Self.writable.first(where: { $0.description == name }) else { return nil }
        self = encoding
    }

    /// Bits that an element takes, the share of its block's scales included.
    package var bitsPerElement: Double { Double(8 * group.bytes) / Double(group.elements) }
}
