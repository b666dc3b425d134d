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
    /// The base's tensor, by Hugging Face's name; nil where it has none.
    let name: String?
    /// What messages call it.
    let label: String
    /// The type of the output.
    let dtype: DType
    /// The tensor as rows and columns.
    let matrix: (rows: Int, width: Int)
    /// What takes the base's place before the change; nil for nothing.
    let value: AdapterTensor?
    /// Forms what is done to it, when its rows are due: nil for a tensor that is only converted.
    let makeChange: @Sendable () throws -> TensorChange?
    /// Counts what the change changes.
    let tally = ChangeTally()

    /// A tensor of the base in another type.
    init(converting name: String, of base: ModelCheckpoint, as dtype: DType) {
        let shape = base.shape(of: name) ?? []
        self.init(
            base: base, name: name, label: name, dtype: dtype,
            matrix: (shape.first ?? 1, shape.dropFirst().reduce(1, *)), value: nil, makeChange: { nil })
    }

    init(
        base: ModelCheckpoint, name: String?, label: String, dtype: DType, matrix: (rows: Int, width: Int),
        value: AdapterTensor?, makeChange: @escaping @Sendable () throws -> TensorChange?
    ) {
        self.base = base
        self.name = name
        self.label = label
        self.dtype = dtype
        self.matrix = matrix
        self.value = value
        self.makeChange = makeChange
    }

    /// Elements that are worked on at a time, few enough to stay in a processor's cache.
    private static let stripElements = 1 << 16

    /// The base's tensor; nil where it has none.
    private var record: TensorRecord? { name.flatMap(base.record) }
    private var isPermuted: Bool { name.map { base.rowOrder(of: $0).isPermuted } ?? false }
    /// Rows that the base has; those behind them are a larger vocabulary's.
    private var baseRowCount: Int {
        guard let record, matrix.width > 0 else { return 0 }
        return min(matrix.rows, record.elementCount / matrix.width)
    }

    /// The tensor's rows, for a stream. A scalar is one row.
    func rows() -> TensorStream.Rows {
        let source = record.map { (base.checkpoint.mapping(of: $0), $0.byteRange) }
        return TensorStream.Rows(
            count: matrix.rows, elementCount: matrix.width, byteCount: matrix.width * dtype.byteCount,
            source: isPermuted || baseRowCount != matrix.rows ? nil : source
        ) {
            let change = try makeChange()
            return { rows, workspace, bytes in
                let strip = max(1, Self.stripElements / max(1, matrix.width))
                for start in stride(from: rows.lowerBound, to: rows.upperBound, by: strip) {
                    let part = start..<min(rows.upperBound, start + strip)
                    let place = (start - rows.lowerBound) * matrix.width * dtype.byteCount
                    let target = bytes.baseAddress! + place
                    tally.add(try merge(part, width: matrix.width, change, workspace, into: target))
                }
                guard tally.outcome.largestChange.isFinite else {
                    throw TransformError.badSum(
                        base: base.checkpoint.path, tensor: label, type: dtype.rawValue,
                        baseIsBad: tally.outcome.unusableCount > 0)
                }
            }
        }
    }

    /// The weights that the change starts from: the base's, or what takes their place.
    func readStart(_ rows: Range<Int>, width: Int, into floats: UnsafeMutableBufferPointer<Float>) throws {
        if let value { return value.copyRows(rows, to: floats.baseAddress!) }
        try readBase(rows, width: width, into: floats)
    }

    /// The base's weights; of rows that it lacks zeros.
    private func readBase(_ rows: Range<Int>, width: Int, into floats: UnsafeMutableBufferPointer<Float>) throws {
        let known = rows.clamped(to: 0..<baseRowCount)
        if known.count < rows.count { floats.update(repeating: 0) }
        guard let name, let record, !known.isEmpty else { return }
        let part = UnsafeMutableBufferPointer(rebasing: floats[..<(known.count * width)])
        if isPermuted || record.shape.isEmpty { return try base.readFloats(name, rows: known, into: part) }
        try base.checkpoint.readFloats(of: record.rows(of: width), rows: known, into: part)
    }

    /// Merges rows into `bytes`.
    private func merge(
        _ rows: Range<Int>, width: Int, _ change: TensorChange?, _ workspace: RowWorkspace,
        into bytes: UnsafeMutableRawPointer
    ) throws -> tspeft_change {
        let count = rows.count * width
        guard count > 0 else { return tspeft_change() }
        if let change, let outcome = try mergeStored(rows, width: width, change, into: bytes) { return outcome }
        if dtype == .f64 { return try mergeWide(rows, width: width, change, workspace.floats(0, count), into: bytes) }
        let after = workspace.floats(1, count)
        if change == nil, value == nil {
            try readBase(rows, width: width, into: after)
            try refuseWideNumbers(after, rows, width: width)
            try refuseOverflow(after)
            tspeft_convert(after.baseAddress!, Int32(TSPEFT_F32), bytes, dtype.kernelCode, count)
            return tspeft_change()
        }
        let before = workspace.floats(0, count)
        try readBase(rows, width: width, into: before)
        try refuseWideNumbers(before, rows, width: width)
        let start = value == nil ? before : workspace.floats(2, count)
        if value != nil { try readStart(rows, width: width, into: start) }
        after.baseAddress!.update(from: start.baseAddress!, count: count)
        change?.apply(to: after.baseAddress!, before: start.baseAddress!, rows: rows, width: width)
        try refuseOverflow(after)
        if dtype != .f32, record?.encoding != .plain(dtype) {
            // What the base's weights would be in this type, so that a conversion does not count as a change.
            tspeft_convert(before.baseAddress!, Int32(TSPEFT_F32), bytes, dtype.kernelCode, count)
            tspeft_convert(bytes, dtype.kernelCode, before.baseAddress!, Int32(TSPEFT_F32), count)
        }
        tspeft_convert(after.baseAddress!, Int32(TSPEFT_F32), bytes, dtype.kernelCode, count)
        if dtype != .f32 { tspeft_convert(bytes, dtype.kernelCode, after.baseAddress!, Int32(TSPEFT_F32), count) }
        return tspeft_changes(before.baseAddress!, after.baseAddress!, count)
    }

    /// Merges rows without unpacking them first, the usual case: nil where the base's numbers are of another type or
    /// order than the output's, or lie where a processor cannot take them, or the change is more than sums. Rows that no
    /// update touches keep their bytes.
    private func mergeStored(
        _ rows: Range<Int>, width: Int, _ change: TensorChange, into bytes: UnsafeMutableRawPointer
    ) throws -> tspeft_change? {
        guard let record, record.encoding == .plain(dtype), value == nil, !isPermuted,
            [.f32, .bf16, .f16].contains(dtype), record.offset % dtype.byteCount == 0,
            let blocks = change.sums(in: rows)
        else { return nil }
        let rowBytes = width * dtype.byteCount
        let start = record.offset + rows.lowerBound * rowBytes
        return try base.checkpoint.mapping(of: record).withBytes(in: start..<start + rows.count * rowBytes) { stored in
            var outcome = tspeft_change()
            var next = rows.lowerBound
            func copy(to end: Int) {
                guard end > next else { return }
                let place = (next - rows.lowerBound) * rowBytes
                // A product of rank 0, which keeps every bit and looks at the numbers.
                outcome.add(
                    tspeft_merge_rows(
                        bytes + place, stored.baseAddress! + place, dtype.kernelCode, nil, nil, 0, end - next, 0, width)
                )
            }
            for block in blocks {
                copy(to: block.rows.lowerBound)
                let place = (block.rows.lowerBound - rows.lowerBound) * rowBytes
                let local = block.rows.lowerBound - block.start..<block.rows.upperBound - block.start
                let part = block.change.add(
                    to: stored.baseAddress! + place, of: dtype, into: bytes + place, rows: local, width: width)
                outcome.add(part)
                next = block.rows.upperBound
            }
            copy(to: rows.upperBound)
            return outcome
        }
    }

    /// Throws where a number would become infinite in the output's type: as base and sum would both, the count of
    /// changes does not show it.
    private func refuseOverflow(_ values: UnsafeMutableBufferPointer<Float>) throws {
        let encoding = TensorEncoding.plain(dtype)
        guard record?.encoding != encoding, let place = encoding.firstOverflow(in: values) else {
            return
        }
        throw TransformError.unusableTensor(
            base: base.checkpoint.path, tensor: label,
            reason: "has the value \(values[place]), which is too large for \(encoding)")
    }

    /// Throws where a number of the base, of 64 bits, is infinite already as the float that was read from it.
    private func refuseWideNumbers(
        _ values: UnsafeMutableBufferPointer<Float>, _ rows: Range<Int>, width: Int
    ) throws {
        guard let name, let record else { return }
        try base.checkpoint.refuseWideNumbers(values, of: record, as: .plain(dtype), called: label) { place in
            let row = rows.lowerBound + place / width
            return base.rowOrder(of: name).gguf(row) * width + place % width
        }
    }

    /// F64 weights keep their bits: what changes them is computed in float and added in double.
    private func mergeWide(
        _ rows: Range<Int>, width: Int, _ change: TensorChange?, _ scratch: UnsafeMutableBufferPointer<Float>,
        into bytes: UnsafeMutableRawPointer
    ) throws -> tspeft_change {
        let count = scratch.count
        let after = bytes.bindMemory(to: Double.self, capacity: count)
        let before = try doubles(rows, width: width)
        if let value {
            value.copyRows(rows, to: scratch.baseAddress!)
            for index in 0..<count { after[index] = Double(scratch[index]) }
        } else {
            after.initialize(from: before, count: count)
        }
        change?.apply(to: after, before: before, rows: rows, width: width, scratch: scratch)
        var outcome = tspeft_change()
        for index in 0..<count {
            if !before[index].isFinite, !after[index].isFinite {
                outcome.unusable += 1
                continue
            }
            guard after[index].bitPattern != before[index].bitPattern else { continue }
            outcome.changed += 1
            guard before[index].isFinite else { continue }
            let size = Float(abs(after[index] - before[index]))
            outcome.largest = max(outcome.largest, size.isFinite ? size : .infinity)
        }
        return outcome
    }
}

extension MergedTensor {
    /// The base's doubles; of rows that it lacks zeros.
    private func doubles(_ rows: Range<Int>, width: Int) throws -> [Double] {
        let known = rows.clamped(to: 0..<baseRowCount)
        var values = [Double](repeating: 0, count: rows.count * width)
        guard let record, !known.isEmpty else { return values }
        let start = record.offset + known.lowerBound * width * 8
        try values.withUnsafeMutableBytes { values in
            try base.checkpoint.mapping(of: record).withBytes(in: start..<start + known.count * width * 8) { source in
                values.copyMemory(from: source)
            }
        }
        return values
    }
}

extension tspeft_change {
    /// Takes in what became of other numbers.
    mutating func add(_ other: tspeft_change) {
        changed += other.changed
        largest = max(largest, other.largest)
        unusable += other.unusable
    }
}

/// What became of a tensor.
struct TensorOutcome: Sendable {
    /// Weights that changed.
    var changedCount = 0
    /// By how much at most.
    var largestChange: Float = 0
    /// Weights that are NaN or infinite, as they were in the base.
    var unusableCount = 0
}

/// What became of a tensor, counted while several threads write it.
final class ChangeTally: Sendable {
    private let sums = Mutex(TensorOutcome())

    /// What was counted so far.
    var outcome: TensorOutcome { sums.withLock { $0 } }

    func add(_ change: tspeft_change) {
        sums.withLock {
            $0.changedCount += Int(change.changed)
            $0.largestChange = max($0.largestChange, change.largest)
            $0.unusableCount += Int(change.unusable)
        }
    }
}
