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

    /// Makes `update` to the base's tensor `name` and hands the merged rows' bytes in `dtype` to `write`, in order.
    /// With a nil update the tensor is only converted.
    ///
    /// Returns how many weights changed and by how much at most. Throws what reading and `write` throw, and
    /// `TransformError.unusableTensor` where a sum is not finite in `dtype`.
    func merge(
        _ name: String, update: WeightUpdate?, as dtype: DType,
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
            let change = try mergeChunk(name, rows: rows, width: width, update: update, as: dtype)
            total.changedCount += Int(change.changed)
            total.largestChange = max(total.largestChange, change.largest)
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
        _ name: String, rows: Range<Int>, width: Int, update: WeightUpdate?, as dtype: DType
    ) throws -> tspeft_change {
        let outcome = Mutex<Result<tspeft_change, any Error>>(.success(tspeft_change()))
        context.parallel(rows.count, grain: 16) { part in
            let result = Result {
                try mergeRows(
                    name, rows: rows.lowerBound + part.lowerBound..<rows.lowerBound + part.upperBound,
                    at: part.lowerBound * width, width: width, update: update, as: dtype)
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
        _ name: String, rows: Range<Int>, at offset: Int, width: Int, update: WeightUpdate?, as dtype: DType
    ) throws -> tspeft_change {
        let count = rows.count * width
        let before = UnsafeMutableBufferPointer(rebasing: self.before[offset..<offset + count])
        let after = UnsafeMutableBufferPointer(rebasing: self.after[offset..<offset + count])
        let bytes = stored.baseAddress! + offset * dtype.byteCount
        if dtype == .f64 {
            return try mergeWideRows(name, rows: rows, width: width, update: update, scratch: after, into: bytes)
        }
        try base.readFloats(name, rows: rows, into: before)
        after.baseAddress!.update(from: before.baseAddress!, count: count)
        update?.make(to: after.baseAddress!, rows: rows, width: width)
        if dtype != .f32 {
            // What the base's weights would be in this type, so that a conversion does not count as a change.
            tspeft_convert(before.baseAddress!, Int32(TSPEFT_F32), bytes, dtype.kernelCode, count)
            tspeft_convert(bytes, dtype.kernelCode, before.baseAddress!, Int32(TSPEFT_F32), count)
        }
        tspeft_convert(after.baseAddress!, Int32(TSPEFT_F32), bytes, dtype.kernelCode, count)
        if dtype != .f32 { tspeft_convert(bytes, dtype.kernelCode, after.baseAddress!, Int32(TSPEFT_F32), count) }
        return tspeft_changes(before.baseAddress!, after.baseAddress!, count)
    }

    /// F64 weights keep their bits: the update is computed in float and added in double, a weight that is replaced by
    /// its own float stays.
    private func mergeWideRows(
        _ name: String, rows: Range<Int>, width: Int, update: WeightUpdate?,
        scratch: UnsafeMutableBufferPointer<Float>, into bytes: UnsafeMutableRawPointer
    ) throws -> tspeft_change {
        guard let record = base.record(of: name) else {
            throw ModelError.unknownTensor(file: base.checkpoint.path, tensor: name)
        }
        scratch.initialize(repeating: 0)
        update?.make(to: scratch.baseAddress!, rows: rows, width: width)
        var replaces = false
        if case .replacement? = update { replaces = true }
        var change = tspeft_change()
        base.checkpoint.withBytes(of: record) { source in
            for index in scratch.indices {
                let place = (rows.lowerBound * width + index) * 8
                let old = Double(bitPattern: source.loadUnaligned(fromByteOffset: place, as: UInt64.self))
                let isSame = scratch[index] == (replaces ? Float(old) : 0)
                let new = isSame ? old : (replaces ? 0 : old) + Double(scratch[index])
                bytes.storeBytes(of: new.bitPattern, toByteOffset: index * 8, as: UInt64.self)
                if new.bitPattern != old.bitPattern {
                    change.changed += 1
                    let size = Float(abs(new - old))
                    change.largest = max(change.largest, size.isFinite ? size : .infinity)
                }
            }
        }
        return change
    }
}

/// What a merge makes of a weight.
enum WeightUpdate {
    /// It is added.
    case lowRank(LowRankUpdate)
    /// The values of the whole tensor take the weight's place.
    case replacement([Float])

    /// Changes rows `rows` of the tensor, which stand in `weights`, [rows.count, width].
    func make(to weights: UnsafeMutablePointer<Float>, rows: Range<Int>, width: Int) {
        switch self {
        case .lowRank(let update): update.add(to: weights, rows: rows, width: width)
        case .replacement(let values):
            values.withUnsafeBufferPointer {
                weights.update(from: $0.baseAddress! + rows.lowerBound * width, count: rows.count * width)
            }
        }
    }
}

/// scale B A of one module.
struct LowRankUpdate {
    /// [rank, inputSize], row-major.
    let a: [Float]
    /// [outputSize, rank], row-major.
    let b: [Float]
    let rank: Int
    let scale: Float

    /// The update of a module of a low-rank adapter; nil where the adapter lacks its tensors.
    init?(_ adapter: AdapterDirectory, _ module: MergePlan.Module) {
        guard let a = adapter.tensor(module.module, PEFTNames.loraA),
            let b = adapter.tensor(module.module, PEFTNames.loraB)
        else { return nil }
        self.a = a.values
        self.b = b.values
        rank = a.shape[0]
        scale = module.scale
    }

    /// Adds rows `rows` of the update to `weights`, [rows.count, width].
    func add(to weights: UnsafeMutablePointer<Float>, rows: Range<Int>, width: Int) {
        a.withUnsafeBufferPointer { a in
            b.withUnsafeBufferPointer { b in
                tspeft_merge_rows(
                    weights, b.baseAddress! + rows.lowerBound * rank, a.baseAddress!, scale, rows.count, rank, width)
            }
        }
    }
}
