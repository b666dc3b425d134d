import CheckpointIO
import Models
import TensorCore

/// A tensor of a conversion's output, and what it is made from.
struct ConvertedTensor: Sendable {
    /// The way of a tensor from one kind of checkpoint to the other: its rows, columns and values.
    enum Reordering: Sendable, Equatable {
        case asStored
        /// From Hugging Face's form to GGUF's.
        case toGGUF(GGUFForm)
        /// The way back.
        case fromGGUF(GGUFForm)

        /// From Hugging Face's form to GGUF's, which may be the same.
        static func gguf(_ form: GGUFForm) -> Reordering { form == .same ? .asStored : .toGGUF(form) }
        /// The way back.
        static func huggingFace(_ form: GGUFForm) -> Reordering { form == .same ? .asStored : .fromGGUF(form) }

        /// The input's row that becomes row `row` of the output.
        func source(_ row: Int) -> Int {
            switch self {
            case .asStored: row
            case .toGGUF(let form): form.rows.huggingFace(row)
            case .fromGGUF(let form): form.rows.gguf(row)
            }
        }

        /// The input's column that becomes column `column` of a matrix of the output.
        func sourceColumn(_ column: Int) -> Int {
            switch self {
            case .asStored: column
            case .toGGUF(let form): form.columns.huggingFace(column)
            case .fromGGUF(let form): form.columns.gguf(column)
            }
        }

        /// The output's value for one of the input.
        func value(_ value: Float) -> Float {
            switch self {
            case .asStored: value
            case .toGGUF(let form): form.values.gguf(value)
            case .fromGGUF(let form): form.values.huggingFace(value)
            }
        }

        /// Whether rows stay what they are, wherever they go.
        var keepsRows: Bool {
            switch self {
            case .asStored: true
            case .toGGUF(let form), .fromGGUF(let form): !form.columns.isPermuted && form.values == .same
            }
        }

        /// Whether a matrix's columns go elsewhere.
        var movesColumns: Bool {
            switch self {
            case .asStored: false
            case .toGGUF(let form), .fromGGUF(let form): form.columns.isPermuted
            }
        }
    }

    /// What a tensor's values are.
    enum Source: Sendable {
        /// A tensor of the input.
        case record(TensorRecord, Reordering)
        /// A tensor that the input would have once it is written, and what makes it.
        case made(TensorRecord, Reordering, TensorStream.Rows)
        /// Numbers that the input says in another way.
        case values([Float])
    }

    /// The name in the output.
    let name: String
    /// Extents, outermost first.
    let shape: [Int]
    /// How the output stores it.
    let encoding: TensorEncoding
    let source: Source

    /// A tensor of the input under `name`, or its own name.
    ///
    /// - Parameter shape: the extents in the output where they are others; axes of 1 alone are left out or added.
    init(
        _ record: TensorRecord, name: String? = nil, encoding: TensorEncoding? = nil, order: Reordering = .asStored,
        shape: [Int]? = nil
    ) {
        self.name = name ?? record.name
        self.shape = shape ?? record.shape
        self.encoding = encoding ?? record.encoding
        source = .record(record, order)
    }

    /// The same tensor where the input's is yet to be made.
    init(_ tensor: ConvertedTensor, madeFrom record: TensorRecord, _ order: Reordering, _ rows: TensorStream.Rows) {
        name = tensor.name
        shape = tensor.shape
        encoding = tensor.encoding
        source = .made(record, order, rows)
    }

    /// A vector of numbers in F32.
    init(name: String, values: [Float]) {
        self.name = name
        shape = [values.count]
        encoding = .plain(.f32)
        source = .values(values)
    }

    /// Elements of the tensor.
    var elementCount: Int { shape.reduce(1, *) }

    /// Bytes in the output; the shape was checked to fit.
    var byteCount: Int { encoding.byteCount(shape: shape) ?? 0 }

    /// The input's tensor, where it is one; and whether its rows stay in their order.
    var input: (record: TensorRecord, isAsStored: Bool)? {
        switch source {
        case .record(let record, let order), .made(let record, let order, _): (record, order == .asStored)
        case .values: nil
        }
    }

    /// The input's encoding, where it is changed.
    var changedEncoding: TensorEncoding? {
        guard let record = input?.record, record.encoding != encoding else { return nil }
        return record.encoding
    }
}

extension ConvertedTensor {
    /// What is written at the tensor's place: the input's bytes as they are wherever that is enough.
    func content(from checkpoint: Checkpoint) -> TensorStream.Content {
        switch source {
        case .values(let values):
            return .made(
                TensorStream.Rows(count: 1, elementCount: values.count, byteCount: values.count * 4) {
                    { _, _, bytes in values.withUnsafeBytes { bytes.copyMemory(from: $0) } }
                })
        case .made(let record, let order, let rows):
            return MadeTensor(record: record, order: order, rows: rows, encoding: encoding, path: checkpoint.path)
                .content()
        case .record(let record, .asStored) where record.encoding == encoding:
            return .stored(checkpoint.mapping(of: record), record.byteRange)
        case .record(let record, .asStored):
            return .made(encoded(record, checkpoint))
        case .record(let record, let order):
            return .made(reordered(record, order, checkpoint))
        }
    }

    /// Elements in rows of whole blocks of both encodings, which is all that a change of encoding needs.
    private func encoded(_ record: TensorRecord, _ checkpoint: Checkpoint) -> TensorStream.Rows {
        // Powers of two, so that the larger is a multiple of the smaller.
        let width = max(record.encoding.group.elements, encoding.group.elements)
        let rows = record.rows(of: width)
        let group = encoding.group
        return TensorStream.Rows(
            count: rows.shape[0], elementCount: width, byteCount: width / group.elements * group.bytes,
            source: (checkpoint.mapping(of: record), record.byteRange)
        ) {
            { part, workspace, bytes in
                let values = workspace.floats(0, part.count * width)
                try checkpoint.readFloats(of: rows, rows: part, into: values)
                try encode(values, at: part.lowerBound * width, of: record, checkpoint, into: bytes)
            }
        }
    }

    /// Rows of the first axis in another order, their bytes as they are if the encoding stays.
    private func reordered(
        _ record: TensorRecord, _ order: Reordering, _ checkpoint: Checkpoint
    ) -> TensorStream.Rows {
        let count = record.shape.first ?? 1
        let width = record.elementCount / max(1, count)
        let group = encoding.group
        let rowBytes = width / group.elements * group.bytes
        let keepsEncoding = record.encoding == encoding && order.keepsRows
        let isPacked = checkpoint.mapping(of: record).isPacked
        return TensorStream.Rows(
            count: count, elementCount: width, byteCount: rowBytes, heldByteCount: isPacked ? record.byteCount : 0
        ) {
            // Rows are taken from anywhere, so all of a packed tensor is in memory until the last one is.
            let hold = TensorHold(record, checkpoint)
            return { part, workspace, bytes in
                defer { withExtendedLifetime(hold) {} }
                if keepsEncoding {
                    try checkpoint.withBytes(of: record) { stored in
                        for (place, row) in part.enumerated() {
                            let start = order.source(row) * rowBytes
                            UnsafeMutableRawBufferPointer(rebasing: bytes[place * rowBytes..<(place + 1) * rowBytes])
                                .copyMemory(from: UnsafeRawBufferPointer(rebasing: stored[start..<start + rowBytes]))
                        }
                    }
                    return
                }
                let values = workspace.floats(0, part.count * width)
                for (place, row) in part.enumerated() {
                    let source = order.source(row)
                    try checkpoint.readFloats(
                        of: record, rows: source..<source + 1,
                        into: UnsafeMutableBufferPointer(rebasing: values[place * width..<(place + 1) * width]))
                    order.apply(to: &values[place * width..<(place + 1) * width])
                }
                try encode(values, at: part.lowerBound * width, of: record, checkpoint, into: bytes)
            }
        }
    }

    /// Encodes values of the tensor from element `first` on. Throws `TransformError.unusableTensor` for one that the
    /// encoding cannot hold.
    private func encode(
        _ values: UnsafeMutableBufferPointer<Float>, at first: Int, of record: TensorRecord, _ checkpoint: Checkpoint,
        into bytes: UnsafeMutableRawBufferPointer
    ) throws {
        if let place = encoding.firstOverflow(in: values) {
            throw TransformError.unusableTensor(
                base: checkpoint.path, tensor: record.name,
                reason: "has the value \(values[place]) at element \(element(first + place, in: record)), which is too "
                    + "large for \(encoding)")
        }
        try checkpoint.refuseWideNumbers(values, of: record, as: encoding) { element(first + $0, in: record) }
        do {
            try encoding.encode(UnsafeBufferPointer(values), into: bytes)
        } catch {
            throw TransformError.unusableTensor(
                base: checkpoint.path, tensor: record.name,
                reason: "cannot be written as \(encoding): the block from element \(first + error.element) on has the "
                    + "value \(error.value)")
        }
    }
}

/// Gives a tensor's memory back when nobody makes rows of it any more.
private final class TensorHold: Sendable {
    private let record: TensorRecord
    private let checkpoint: Checkpoint

    init(_ record: TensorRecord, _ checkpoint: Checkpoint) { (self.record, self.checkpoint) = (record, checkpoint) }

    deinit { checkpoint.advise(record, willNeed: false) }
}

extension ConvertedTensor.Reordering {
    /// Columns and values of the output in place of those of the input.
    func apply(to row: inout Slice<UnsafeMutableBufferPointer<Float>>) {
        if keepsRows { return }
        let start = row.startIndex
        guard movesColumns else {
            for index in row.indices { row[index] = value(row[index]) }
            return
        }
        let stored = Array(row)
        for column in stored.indices { row[start + column] = value(stored[sourceColumn(column)]) }
    }

    /// The values of a vector of the output.
    func values(_ stored: [Float]) -> [Float] { stored.indices.map { value(stored[source($0)]) } }
}

extension ConvertedTensor {
    /// The element of the input that is element `element` of the output.
    private func element(_ element: Int, in record: TensorRecord) -> Int {
        guard case .record(_, let order) = source, order != .asStored, let count = record.shape.first else {
            return element
        }
        let (row, column) = element.quotientAndRemainder(dividingBy: record.elementCount / count)
        return order.source(row) * (record.elementCount / count) + column
    }
}

extension Checkpoint {
    /// Throws `TransformError.unusableTensor` for a number of 64 bits that is finite, while the float read from it, one
    /// of `values`, is infinite, so that `encoding` cannot hold it. Numbers of other types are never refused.
    ///
    /// - Parameters:
    ///   - name: what the tensor is called; its name in the file unless given.
    ///   - element: tells the element of the tensor that a place in `values` has.
    func refuseWideNumbers(
        _ values: UnsafeMutableBufferPointer<Float>, of record: TensorRecord, as encoding: TensorEncoding,
        called name: String? = nil, element: (_ place: Int) -> Int
    ) throws {
        guard record.encoding == .plain(.f64) else { return }
        for place in values.indices where values[place].isInfinite {
            let element = element(place)
            let number = try withBytes(of: record) {
                $0.loadUnaligned(fromByteOffset: element * 8, as: Double.self)
            }
            guard number.isFinite else { continue }
            throw TransformError.unusableTensor(
                base: path, tensor: name ?? record.name,
                reason: "has the value \(number) at element \(element), which is too large for \(encoding)")
        }
    }
}

extension TensorEncoding {
    /// The first finite number that would be infinite in this plain type; nil for blocks, which are refused as they are
    /// encoded.
    func firstOverflow(in values: UnsafeMutableBufferPointer<Float>) -> Int? {
        guard let limit = overflowLimit else { return nil }
        return values.firstIndex { abs($0) >= limit && $0.isFinite }
    }

    /// The least magnitude that rounds to infinity in this plain type, where that is below the largest `Float`.
    private var overflowLimit: Float? {
        switch self {
        // Half a unit in the last place above the largest numbers, 65504 and 2^127 (2 - 2^-7).
        case .plain(.f16): 65520
        case .plain(.bf16): 0x1.FFp127
        default: nil
        }
    }
}
