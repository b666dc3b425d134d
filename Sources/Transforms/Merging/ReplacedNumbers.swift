import CKernels
import CheckpointIO
import Models
import TensorCore

/// A tensor of whole numbers that an adapter's take the place of.
struct ReplacedNumbers: Sendable {
    /// Counts what changes.
    let tally = ChangeTally()
    private let bytes: [UInt8]
    private let dtype: DType
    private let base: ModelCheckpoint
    private let name: String

    /// - Parameters:
    ///   - bytes: all elements as the output holds them, in `dtype`, which is the base's type.
    ///   - name: the base's tensor.
    init(_ bytes: [UInt8], as dtype: DType, in base: ModelCheckpoint, at name: String) {
        self.bytes = bytes
        self.dtype = dtype
        self.base = base
        self.name = name
    }

    /// All of it as one row, for a stream.
    func rows() -> TensorStream.Rows {
        TensorStream.Rows(count: 1, elementCount: bytes.count / dtype.byteCount, byteCount: bytes.count) {
            { _, _, target in
                target.copyBytes(from: bytes)
                tally.add(try change())
            }
        }
    }

    /// How many elements are others than the base's, and the largest distance.
    private func change() throws -> tspeft_change {
        var change = tspeft_change()
        guard let record = base.record(of: name) else { return change }
        try base.checkpoint.withBytes(of: record) { old in
            for start in stride(from: 0, to: bytes.count, by: dtype.byteCount) {
                let new = bytes[start..<start + dtype.byteCount]
                guard !old[start..<start + dtype.byteCount].elementsEqual(new) else { continue }
                change.changed += 1
                let distance = dtype.number(old[start..<start + dtype.byteCount]) - dtype.number(new)
                change.largest = max(change.largest, Float(abs(distance)))
            }
        }
        return change
    }
}
