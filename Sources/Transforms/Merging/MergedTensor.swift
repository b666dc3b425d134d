import Adapters
import CKernels
import CheckpointIO
import Models
import Synchronization
import TensorCore

/// A tensor of a merged checkpoint: float32 sums of base and update, rounded once to the type of the output. It is made
/// row by row, in Hugging Face's row order, by a `TensorStream`.
struct MergedTensor: Sendable {
    /// The base.
    let base: ModelCheckpoint
    /// The base's tensor, by Hugging Face's name.
    let name: String
    /// The type of the output.
    let dtype: DType
    /// Forms what is done to it, when its rows are due: nil for a tensor that is only converted.
    let makeChange: @Sendable () -> TensorChange?
    /// Counts what the change changes.
    let tally: ChangeTally

    /// Elements that are worked on at a time, few enough to stay in a processor's cache.
    private static let stripElements = 1 << 16

    /// The tensor's rows, for a stream. A scalar is one row.
    func rows() -> TensorStream.Rows {
        let shape = base.shape(of: name) ?? []
        let width = shape.dropFirst().reduce(1, *)
        let source = base.record(of: name).map { (base.checkpoint.mapping(of: $0), $0.byteRange) }
        return TensorStream.Rows(
            count: shape.first ?? 1, elementCount: width, byteCount: width * dtype.byteCount,
            source: base.rowOrder(of: name).isPermuted ? nil : source
        ) {
            let change = makeChange()
            return { rows, workspace, bytes in
                let strip = max(1, Self.stripElements / max(1, width))
                for start in stride(from: rows.lowerBound, to: rows.upperBound, by: strip) {
                    let part = start..<min(rows.upperBound, start + strip)
                    let place = (start - rows.lowerBound) * width * dtype.byteCount
                    let target = bytes.baseAddress! + place
                    tally.add(try merge(part, width: width, change, workspace, into: target))
                }
                guard tally.outcome.largestChange.isFinite else {
                    throw TransformError.unusableTensor(
                        base: base.checkpoint.path, tensor: name,
                        reason: "and its update have a sum that \(dtype.rawValue) cannot hold")
                }
            }
        }
    }

    /// Merges rows into `bytes`.
    private func merge(
        _ rows: Range<Int>, width: Int, _ change: TensorChange?, _ workspace: RowWorkspace,
        into bytes: UnsafeMutableRawPointer
    ) throws -> tspeft_change {
        let count = rows.count * width
        guard count > 0 else { return tspeft_change() }
        if case .added(let low)? = change, let outcome = try mergeStored(rows, width: width, low, into: bytes) {
            return outcome
        }
        if dtype == .f64 { return try mergeWide(rows, width: width, change, workspace.floats(0, count), into: bytes) }
        let after = workspace.floats(1, count)
        guard let change else {
            try base.readFloats(name, rows: rows, into: after)
            try refuseWideNumbers(after, rows, width: width)
            try refuseOverflow(after)
            tspeft_convert(after.baseAddress!, Int32(TSPEFT_F32), bytes, dtype.kernelCode, count)
            return tspeft_change()
        }
        let before = workspace.floats(0, count)
        try base.readFloats(name, rows: rows, into: before)
        try refuseWideNumbers(before, rows, width: width)
        after.baseAddress!.update(from: before.baseAddress!, count: count)
        change.apply(to: after.baseAddress!, before: before.baseAddress!, rows: rows, width: width)
        try refuseOverflow(after)
        if dtype != .f32, base.record(of: name)?.encoding != .plain(dtype) {
            // What the base's weights would be in this type, so that a conversion does not count as a change.
            tspeft_convert(before.baseAddress!, Int32(TSPEFT_F32), bytes, dtype.kernelCode, count)
            tspeft_convert(bytes, dtype.kernelCode, before.baseAddress!, Int32(TSPEFT_F32), count)
        }
        tspeft_convert(after.baseAddress!, Int32(TSPEFT_F32), bytes, dtype.kernelCode, count)
        if dtype != .f32 { tspeft_convert(bytes, dtype.kernelCode, after.baseAddress!, Int32(TSPEFT_F32), count) }
        return tspeft_changes(before.baseAddress!, after.baseAddress!, count)
    }

    /// Merges rows without unpacking them first, the usual case: nil where the base's numbers are of another type or
    /// order than the output's, or lie where a processor cannot take them.
    private func mergeStored(
        _ rows: Range<Int>, width: Int, _ change: LowRankChange, into bytes: UnsafeMutableRawPointer
    ) throws -> tspeft_change? {
        guard let record = base.record(of: name), record.encoding == .plain(dtype), !base.rowOrder(of: name).isPermuted,
            [.f32, .bf16, .f16].contains(dtype), change.quotient == nil, record.offset % dtype.byteCount == 0
        else { return nil }
        let start = record.offset + rows.lowerBound * width * dtype.byteCount
        let range = start..<start + rows.count * width * dtype.byteCount
        return try base.checkpoint.mapping(of: record).withBytes(in: range) { stored in
            change.add(to: stored.baseAddress!, of: dtype, into: bytes, rows: rows, width: width)
        }
    }

    /// Throws where a number would become infinite in the output's type: as base and sum would both, the count of
    /// changes does not show it.
    private func refuseOverflow(_ values: UnsafeMutableBufferPointer<Float>) throws {
        let encoding = TensorEncoding.plain(dtype)
        guard base.record(of: name)?.encoding != encoding, let place = encoding.firstOverflow(in: values) else {
            return
        }
        throw TransformError.unusableTensor(
            base: base.checkpoint.path, tensor: name,
            reason: "has the value \(values[place]), which is too large for \(encoding)")
    }

    /// Throws where a number of the base, of 64 bits, is infinite already as the float that was read from it.
    private func refuseWideNumbers(
        _ values: UnsafeMutableBufferPointer<Float>, _ rows: Range<Int>, width: Int
    ) throws {
        guard let record = base.record(of: name) else { return }
        try base.checkpoint.refuseWideNumbers(values, of: record, as: .plain(dtype), called: name) { place in
            let row = rows.lowerBound + place / width
            return base.rowOrder(of: name).gguf(row) * width + place % width
        }
    }

    /// F64 weights keep their bits: what changes them is computed in float and added in double.
    private func mergeWide(
        _ rows: Range<Int>, width: Int, _ change: TensorChange?, _ scratch: UnsafeMutableBufferPointer<Float>,
        into bytes: UnsafeMutableRawPointer
    ) throws -> tspeft_change {
        guard let record = base.record(of: name) else {
            throw ModelError.unknownTensor(file: base.checkpoint.path, tensor: name)
        }
        let count = scratch.count
        let start = record.offset + rows.lowerBound * width * 8
        let after = bytes.bindMemory(to: Double.self, capacity: count)
        let before = try [Double](unsafeUninitializedCapacity: count) { before, filled in
            try base.checkpoint.mapping(of: record).withBytes(in: start..<start + count * 8) { source in
                UnsafeMutableRawBufferPointer(before).copyMemory(from: source)
            }
            filled = count
        }
        after.initialize(from: before, count: count)
        change?.apply(to: after, before: before, rows: rows, width: width, scratch: scratch)
        var outcome = tspeft_change()
        for index in 0..<count where after[index].bitPattern != before[index].bitPattern {
            outcome.changed += 1
            let size = Float(abs(after[index] - before[index]))
            outcome.largest = max(outcome.largest, size.isFinite ? size : .infinity)
        }
        return outcome
    }
}

/// How many weights of a tensor changed and by how much at most, counted while several threads write it.
final class ChangeTally: Sendable {
    private let sums = Mutex((changedCount: 0, largestChange: Float(0)))

    /// What was counted so far.
    var outcome: (changedCount: Int, largestChange: Float) { sums.withLock { $0 } }

    func add(_ change: tspeft_change) {
        sums.withLock {
            $0.changedCount += Int(change.changed)
            $0.largestChange = max($0.largestChange, change.largest)
        }
    }
}
