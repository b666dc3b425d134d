import Adapters
import CKernels
import CheckpointIO
import Compute
import Models
import Synchronization
import TensorCore

/// Computes merged weights row by row: float32 sums of base and update, rounded once to the type of the output.
///
/// Rows are worked on in parallel, a chunk of the tensor at a time, so that memory stays at three chunks whatever the
/// tensor's size.
final class WeightMerger {
    /// Elements of a chunk at most, unless one row has more.
    private static let chunkElements = 4 << 20

    private let base: ModelCheckpoint
    private let context: ComputeContext
    private let before: UnsafeMutableBufferPointer<Float>
    private let after: UnsafeMutableBufferPointer<Float>
    private let stored: UnsafeMutableRawBufferPointer

    /// A merger for tensors of at most `elementLimit` elements in rows of at most `rowLimit`; owns its buffers.
    init(base: ModelCheckpoint, context: ComputeContext, elementLimit: Int, rowLimit: Int) {
        self.base = base
        self.context = context
        let elements = max(1, min(elementLimit, max(Self.chunkElements, rowLimit)))
        before = .allocate(capacity: elements)
        after = .allocate(capacity: elements)
        stored = .allocate(byteCount: elements * DType.f64.byteCount, alignment: 64)
    }

    deinit {
        before.deallocate()
        after.deallocate()
        stored.deallocate()
    }

    /// Makes `change` to the base's tensor `name` and hands the rows' bytes in `dtype` to `write`, in order. With a nil
    /// change the tensor is only converted.
    ///
    /// Returns how many weights changed and by how much at most. Throws what reading and `write` throw, and
    /// `TransformError.unusableTensor` where a sum is not finite in `dtype`.
    func merge(
        _ name: String, change: TensorChange?, as dtype: DType,
        write: (UnsafeRawBufferPointer) throws -> Void
    ) throws -> (changedCount: Int, largestChange: Float) {
        let shape = base.shape(of: name) ?? []
        let rowCount = shape.first ?? 1
        let width = shape.dropFirst().reduce(1, *)
        guard width > 0, rowCount > 0 else { return (0, 0) }
        var total = (changedCount: 0, largestChange: Float(0))
        let chunkRows = max(1, before.count / width)
        for start in stride(from: 0, to: rowCount, by: chunkRows) {
            let rows = start..<min(rowCount, start + chunkRows)
            let outcome = try mergeChunk(name, rows: rows, width: width, change: change, as: dtype)
            total.changedCount += Int(outcome.changed)
            total.largestChange = max(total.largestChange, outcome.largest)
            try write(UnsafeRawBufferPointer(rebasing: stored[..<(rows.count * width * dtype.byteCount)]))
        }
        if !total.largestChange.isFinite {
            throw TransformError.unusableTensor(
                base: base.checkpoint.path, tensor: name,
                reason: "and its update have a sum that \(dtype.rawValue) cannot hold")
        }
        return total
    }

    private func mergeChunk(
        _ name: String, rows: Range<Int>, width: Int, change: TensorChange?, as dtype: DType
    ) throws -> tspeft_change {
        let outcome = Mutex<Result<tspeft_change, any Error>>(.success(tspeft_change()))
        context.parallel(rows.count, grain: 16) { part in
            let result = Result {
                try mergeRows(
                    name, rows: rows.lowerBound + part.lowerBound..<rows.lowerBound + part.upperBound,
                    at: part.lowerBound * width, width: width, change: change, as: dtype)
            }
            outcome.withLock { outcome in
                guard case .success(let sofar) = outcome else { return }
                outcome = result.map {
                    tspeft_change(changed: sofar.changed + $0.changed, largest: max(sofar.largest, $0.largest))
                }
            }
        }
        return try outcome.withLock { try $0.get() }
    }

    /// Merges rows of the tensor into the buffers from element `offset` on.
    private func mergeRows(
        _ name: String, rows: Range<Int>, at offset: Int, width: Int, change: TensorChange?, as dtype: DType
    ) throws -> tspeft_change {
        let count = rows.count * width
        let before = UnsafeMutableBufferPointer(rebasing: self.before[offset..<offset + count])
        let after = UnsafeMutableBufferPointer(rebasing: self.after[offset..<offset + count])
        let bytes = stored.baseAddress! + offset * dtype.byteCount
        if dtype == .f64 {
            return try mergeWideRows(name, rows: rows, width: width, change: change, scratch: after, into: bytes)
        }
        try base.readFloats(name, rows: rows, into: before)
        after.baseAddress!.update(from: before.baseAddress!, count: count)
        change?.apply(to: after.baseAddress!, before: before.baseAddress!, rows: rows, width: width)
        if dtype != .f32 {
            // What the base's weights would be in this type, so that a conversion does not count as a change.
            tspeft_convert(before.baseAddress!, Int32(TSPEFT_F32), bytes, dtype.kernelCode, count)
            tspeft_convert(bytes, dtype.kernelCode, before.baseAddress!, Int32(TSPEFT_F32), count)
        }
        tspeft_convert(after.baseAddress!, Int32(TSPEFT_F32), bytes, dtype.kernelCode, count)
        if dtype != .f32 { tspeft_convert(bytes, dtype.kernelCode, after.baseAddress!, Int32(TSPEFT_F32), count) }
        return tspeft_changes(before.baseAddress!, after.baseAddress!, count)
    }

    /// F64 weights keep their bits: what changes them is computed in float and added in double.
    private func mergeWideRows(
        _ name: String, rows: Range<Int>, width: Int, change: TensorChange?,
        scratch: UnsafeMutableBufferPointer<Float>, into bytes: UnsafeMutableRawPointer
    ) throws -> tspeft_change {
        guard let record = base.record(of: name) else {
            throw ModelError.unknownTensor(file: base.checkpoint.path, tensor: name)
        }
        let count = scratch.count
        let start = rows.lowerBound * width * 8
        let after = bytes.bindMemory(to: Double.self, capacity: count)
        let before = [Double](unsafeUninitializedCapacity: count) { before, filled in
            base.checkpoint.withBytes(of: record) { source in
                UnsafeMutableRawBufferPointer(before).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: source[start..<start + count * 8]))
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
