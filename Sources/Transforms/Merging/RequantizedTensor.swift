import Adapters
import CKernels
import CheckpointIO
import Glibc
import Models
import TensorCore

/// A tensor of a GGUF base with its update, in the type that it has or in another: decoded, added in float32, encoded.
///
/// It is made row by row in the order of the file, by a `TensorStream`. A block whose update is zero keeps its bytes,
/// because encoding what was decoded may move values. What adapters add to rows that the file holds in another order is
/// put into that order, not the weights.
struct RequantizedTensor: Sendable {
    /// The base.
    let base: ModelCheckpoint
    /// The base's tensor, by Hugging Face's name.
    let name: String
    /// Where it lies.
    let record: TensorRecord
    /// The type of the output; one that is writable, with rows of whole blocks.
    let encoding: TensorEncoding
    /// The tensor as rows and columns.
    let matrix: (rows: Int, width: Int)
    /// What takes the base's place before the change, in Hugging Face's order of rows; nil for nothing.
    let value: AdapterTensor?
    /// Forms what is done to it, in Hugging Face's order of rows, when its rows are due.
    let makeChange: @Sendable () throws -> TensorChange?
    /// Takes what became of the update.
    let tally = RoundingTally()

    /// Elements that are worked on at a time, few enough to stay in a processor's cache.
    private static let stripElements = 1 << 16
    /// Elements of one tensor that a type is tried on.
    private static let sampleElements = 1 << 14

    private var rowCount: Int { matrix.rows }
    private var width: Int { matrix.width }
    private var rowByteCount: Int { width / encoding.group.elements * encoding.group.bytes }

    /// The same tensor in another type, with a tally of its own.
    func stored(as encoding: TensorEncoding) -> RequantizedTensor {
        RequantizedTensor(
            base: base, name: name, record: record, encoding: encoding, matrix: matrix, value: value,
            makeChange: makeChange)
    }

    /// The tensor's rows, for a stream.
    func rows() -> TensorStream.Rows {
        TensorStream.Rows(
            count: rowCount, elementCount: width, byteCount: rowByteCount,
            source: (base.checkpoint.mapping(of: record), record.byteRange)
        ) {
            let change = try storedChange()
            return { rows, workspace, bytes in
                let strip = max(1, Self.stripElements / max(1, width))
                for start in stride(from: rows.lowerBound, to: rows.upperBound, by: strip) {
                    let part = start..<min(rows.upperBound, start + strip)
                    let place = (start - rows.lowerBound) * rowByteCount
                    tally.add(
                        try merge(
                            part, change, workspace,
                            into: UnsafeMutableRawBufferPointer(
                                rebasing: bytes[place..<place + part.count * rowByteCount])))
                }
            }
        }
    }

    /// The sums of the update over rows that are spread evenly over the tensor, if it were stored in this type.
    func sample() throws -> RoundingSums {
        let change = try storedChange()
        let workspace = RowWorkspace()
        let wanted = max(1, min(rowCount, Self.sampleElements / max(1, width)))
        var sums = RoundingSums()
        for index in 0..<wanted {
            let row = index * (rowCount / wanted)
            let bytes = workspace.bytes(rowByteCount)
            sums.add(try merge(row..<row + 1, change, workspace, into: bytes))
        }
        return sums
    }

    private func storedChange() throws -> TensorChange? {
        try makeChange()?.stored(in: base.storedForm(of: name), rowCount: rowCount)
    }

    /// Rows, in the file's order and form, of what takes the base's place.
    private func copyValue(_ rows: Range<Int>, to target: UnsafeMutablePointer<Float>) {
        guard let value else { return }
        let form = base.storedForm(of: name)
        guard form != .same else { return value.copyRows(rows, to: target) }
        for (place, row) in rows.enumerated() {
            let source = form.rows.huggingFace(row)
            let start = target + place * width
            value.copyRows(source..<source + 1, to: start)
            let plain = Array(UnsafeBufferPointer(start: start, count: width))
            for column in 0..<width { start[column] = form.values.gguf(plain[form.columns.huggingFace(column)]) }
        }
    }

    /// Merges rows, in the file's order, into `bytes`.
    private func merge(
        _ rows: Range<Int>, _ change: TensorChange?, _ workspace: RowWorkspace,
        into bytes: UnsafeMutableRawBufferPointer
    ) throws -> RoundingSums {
        let count = rows.count * width
        guard count > 0 else { return RoundingSums() }
        let (before, after, stored) = (
            workspace.floats(0, count), workspace.floats(1, count), workspace.floats(2, count)
        )
        let isScalar = record.shape.isEmpty
        try base.checkpoint.readFloats(of: isScalar ? record : record.rows(of: width), rows: rows, into: before)
        if value == nil {
            after.baseAddress!.update(from: before.baseAddress!, count: count)
            change?.apply(to: after.baseAddress!, before: before.baseAddress!, rows: rows, width: width)
        } else {
            let start = workspace.floats(4, count)
            copyValue(rows, to: start.baseAddress!)
            after.baseAddress!.update(from: start.baseAddress!, count: count)
            change?.apply(to: after.baseAddress!, before: start.baseAddress!, rows: rows, width: width)
        }
        var sums = RoundingSums()
        let outcome: tspeft_change
        if encoding == record.encoding {
            try encodeChanged(rows, before: before, after: after, into: bytes)
            encoding.decode(UnsafeRawBufferPointer(bytes), into: stored)
            outcome = tspeft_changes(before.baseAddress!, stored.baseAddress!, count)
        } else {
            let first = rows.lowerBound * width
            try base.checkpoint.refuseWideNumbers(before, of: record, as: encoding) { first + $0 }
            // What the base's weights would be in this type, so that a conversion does not count as a change.
            if let place = encoding.firstOverflow(in: after) {
                throw TransformError.unusableTensor(
                    base: base.checkpoint.path, tensor: record.name,
                    reason: "has the value \(after[place]), which is too large for \(encoding)")
            }
            let plain = workspace.floats(3, count)
            try encode(before[...], at: rows.lowerBound * width, into: bytes)
            encoding.decode(UnsafeRawBufferPointer(bytes), into: plain)
            try encode(after[...], at: rows.lowerBound * width, into: bytes)
            encoding.decode(UnsafeRawBufferPointer(bytes), into: stored)
            outcome = tspeft_changes(plain.baseAddress!, stored.baseAddress!, count)
        }
        guard outcome.largest.isFinite else {
            throw TransformError.badSum(
                base: base.checkpoint.path, tensor: record.name, type: "\(encoding)",
                baseIsBad: outcome.unusable > 0)
        }
        sums.changedCount = Int(outcome.changed)
        sums.largestChange = outcome.largest
        sums.unusableCount = Int(outcome.unusable)
        sums.add(before: before, after: after, stored: stored)
        return sums
    }

    /// Encodes the blocks that the update changes; the others keep their bytes, and so do those of the base whose numbers
    /// are not all finite, to which nothing can be added.
    private func encodeChanged(
        _ rows: Range<Int>, before: UnsafeMutableBufferPointer<Float>, after: UnsafeMutableBufferPointer<Float>,
        into bytes: UnsafeMutableRawBufferPointer
    ) throws {
        let group = encoding.group
        let first = rows.lowerBound * width
        let start = record.offset + rows.lowerBound * rowByteCount
        try base.checkpoint.mapping(of: record).withBytes(in: start..<start + bytes.count) {
            bytes.copyMemory(from: $0)
        }
        func isChanged(_ block: Int) -> Bool {
            let place = block * group.elements
            if group.elements > 1, value == nil,
                before[place..<place + group.elements].contains(where: { !$0.isFinite })
            {
                return false
            }
            return memcmp(before.baseAddress! + place, after.baseAddress! + place, group.elements * 4) != 0
        }
        let blockCount = before.count / group.elements
        var block = 0
        while block < blockCount {
            guard isChanged(block) else {
                block += 1
                continue
            }
            let begin = block
            while block < blockCount, isChanged(block) { block += 1 }
            try encode(
                after[begin * group.elements..<block * group.elements], at: first + begin * group.elements,
                into: UnsafeMutableRawBufferPointer(rebasing: bytes[begin * group.bytes..<block * group.bytes]))
        }
    }

    /// Encodes values from element `first` of the tensor on.
    private func encode(
        _ values: Slice<UnsafeMutableBufferPointer<Float>>, at first: Int, into bytes: UnsafeMutableRawBufferPointer
    ) throws {
        do {
            try encoding.encode(UnsafeBufferPointer(UnsafeMutableBufferPointer(rebasing: values)), into: bytes)
        } catch {
            throw TransformError.unusableTensor(
                base: base.checkpoint.path, tensor: record.name,
                reason:
                    "and its update cannot be stored as \(encoding): the block from element \(first + error.element) "
                    + "on has the value \(error.value)")
        }
    }
}
