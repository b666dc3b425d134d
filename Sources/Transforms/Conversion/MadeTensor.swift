import CheckpointIO
import TensorCore

/// A tensor that is made in one encoding and written in another, or in another order of rows.
struct MadeTensor: Sendable {
    /// What it is before: its name, shape and encoding.
    let record: TensorRecord
    /// The way of its rows, columns and values.
    let order: ConvertedTensor.Reordering
    /// What makes them.
    let rows: TensorStream.Rows
    /// What it is written as.
    let encoding: TensorEncoding
    /// The checkpoint's path, for messages.
    let path: String

    /// Elements that are worked on at a time, few enough to stay in a processor's cache.
    private static let stripElements = 1 << 16
    /// Slots of a workspace that no maker of rows uses.
    private static let byteSlot = 6
    private static let floatSlot = 7

    private var width: Int { rows.elementCount }
    private var rowByteCount: Int { width / encoding.group.elements * encoding.group.bytes }

    /// What is written at the tensor's place.
    func content() -> TensorStream.Content {
        if order == .asStored, record.encoding == encoding { return .made(rows) }
        precondition(order == .asStored || rows.count == record.shape.first, "rows of several axes in another order")
        return .made(
            TensorStream.Rows(
                count: rows.count, elementCount: width, byteCount: rowByteCount,
                source: order == .asStored ? rows.source : nil, heldByteCount: rows.heldByteCount + unpackedByteCount
            ) {
                let make = try rows.begin()
                let use = order == .asStored ? nil : rows.source.map { SourceUse($0.file, $0.range) }
                return { part, workspace, bytes in
                    defer { withExtendedLifetime(use) {} }
                    let strip = max(1, Self.stripElements / max(1, width))
                    for start in stride(from: part.lowerBound, to: part.upperBound, by: strip) {
                        let some = start..<min(part.upperBound, start + strip)
                        let place = (start - part.lowerBound) * rowByteCount
                        try convert(
                            some, make, workspace,
                            into: UnsafeMutableRawBufferPointer(
                                rebasing: bytes[place..<place + some.count * rowByteCount]))
                    }
                }
            })
    }

    /// Bytes of a packed input that stay in memory from the first row to the last, as rows are taken from anywhere.
    private var unpackedByteCount: Int {
        guard order != .asStored, let source = rows.source, source.file.isPacked else { return 0 }
        return source.range.count
    }

    /// Makes rows of the output.
    private func convert(
        _ part: Range<Int>, _ make: TensorStream.RowMaker, _ workspace: RowWorkspace,
        into bytes: UnsafeMutableRawBufferPointer
    ) throws {
        if record.encoding == encoding, order.keepsRows {
            return try self.make(part, make, workspace, into: bytes)
        }
        let words = (part.count * rows.byteCount + 3) / 4
        let stored = UnsafeMutableRawBufferPointer(
            rebasing: UnsafeMutableRawBufferPointer(workspace.floats(Self.byteSlot, words))[
                ..<(part.count * rows.byteCount)])
        try self.make(part, make, workspace, into: stored)
        let values = workspace.floats(Self.floatSlot, part.count * width)
        record.encoding.decode(UnsafeRawBufferPointer(stored), into: values)
        for place in 0..<part.count { order.apply(to: &values[place * width..<(place + 1) * width]) }
        try refuse(values, stored, from: part)
        do {
            try encoding.encode(UnsafeBufferPointer(values), into: bytes)
        } catch {
            throw TransformError.unusableTensor(
                base: path, tensor: record.name,
                reason: "cannot be written as \(encoding): the block from element "
                    + "\(part.lowerBound * width + error.element) on has the value \(error.value)")
        }
    }

    /// Makes rows in their first encoding, in the output's order.
    private func make(
        _ part: Range<Int>, _ make: TensorStream.RowMaker, _ workspace: RowWorkspace,
        into bytes: UnsafeMutableRawBufferPointer
    ) throws {
        guard order != .asStored else { return try make(part, workspace, bytes) }
        for (place, row) in part.enumerated() {
            let source = order.source(row)
            let start = place * rows.byteCount
            try make(
                source..<source + 1, workspace,
                UnsafeMutableRawBufferPointer(rebasing: bytes[start..<start + rows.byteCount]))
        }
    }

    /// Throws `TransformError.unusableTensor` for a number that the output's encoding cannot hold.
    private func refuse(
        _ values: UnsafeMutableBufferPointer<Float>, _ stored: UnsafeMutableRawBufferPointer, from part: Range<Int>
    ) throws {
        func refusal(_ value: some CustomStringConvertible, _ place: Int) -> TransformError {
            let row = order.source(part.lowerBound + place / width)
            return TransformError.unusableTensor(
                base: path, tensor: record.name,
                reason: "has the value \(value) at element \(row * width + place % width), which is too large for "
                    + "\(encoding)")
        }
        if let place = encoding.firstOverflow(in: values) { throw refusal(values[place], place) }
        guard record.encoding == .plain(.f64) else { return }
        for place in values.indices where values[place].isInfinite {
            let number = stored.loadUnaligned(fromByteOffset: place * 8, as: Double.self)
            if number.isFinite { throw refusal(number, place) }
        }
    }
}

/// Gives the memory of the bytes that rows are made from back when nobody makes rows any more.
private final class SourceUse: Sendable {
    private let file: MappedFile
    private let range: Range<Int>

    init(_ file: MappedFile, _ range: Range<Int>) { (self.file, self.range) = (file, range) }

    deinit { file.advise(range, willNeed: false) }
}
