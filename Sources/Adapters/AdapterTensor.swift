import CheckpointIO
import TensorCore

/// One tensor of an adapter as its file has it, in F32: held, or decoded from the file whenever its values are asked
/// for.
package struct AdapterTensor: Sendable {
    /// Where the values are.
    private enum Content: Sendable {
        case held([Float])
        /// The tensor at a place of a file's list: there may be many thousand of these.
        case stored(StoredTensors, Int)
    }

    /// The key in the file, such as `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`.
    package var name: String
    /// Extents, outermost first.
    package var shape: [Int]
    private var content: Content

    /// The values, row-major. Setting them leaves the file as it is.
    package var values: [Float] {
        get {
            switch content {
            case .held(let values): return values
            case .stored(let stored, let place):
                let (file, record) = (stored.file, stored.file.tensors[place])
                defer { file.file.finish(record.byteRange) }
                do { return try file.floats(of: record) } catch { preconditionFailure("was decoded before: \(error)") }
            }
        }
        set { content = .held(newValue) }
    }

    /// The number of values.
    package var elementCount: Int {
        switch content {
        case .held(let values): values.count
        case .stored(let stored, let place): stored.file.tensors[place].elementCount
        }
    }

    /// Whether the values stay in a file.
    var isStored: Bool { if case .stored = content { true } else { false } }

    /// The type that the file stores it in; F32 where it is held.
    package var storedType: DType {
        guard case .stored(let stored, let place) = content,
            case .plain(let type) = stored.file.tensors[place].encoding
        else { return .f32 }
        return type
    }

    /// Columns of the values seen as rows along the first axis: 1 for a vector.
    package var rowWidth: Int { shape.dropFirst().reduce(1, *) }

    /// A tensor of these values.
    package init(name: String, shape: [Int], values: [Float]) {
        self.name = name
        self.shape = shape
        content = .held(values)
    }

    /// The same without labels, for lists of tensors.
    package init(_ name: String, _ shape: [Int], _ values: [Float]) {
        self.init(name: name, shape: shape, values: values)
    }

    /// A tensor whose values, real numbers, stay in a file that is not packed and does not change. They must be finite where
    /// it gets to a merge.
    ///
    /// - Parameter place: the tensor's in the file's list.
    init(_ name: String, storedIn stored: StoredTensors, at place: Int) {
        self.name = name
        shape = stored.file.tensors[place].shape
        content = .stored(stored, place)
    }

    /// Values that are decoded at a time to be looked at, a multiple of 8.
    private static let stripElements = 1 << 16

    /// Lends all values to `body`, in their order, in parts; all but the last have a multiple of 8 values. No more of a file
    /// than a part is in memory.
    package func forEachStrip(_ body: (UnsafeBufferPointer<Float>) throws -> Void) rethrows {
        switch content {
        case .held(let values): try values.withUnsafeBufferPointer(body)
        case .stored(let stored, let place):
            let (file, record) = (stored.file, stored.file.tensors[place])
            let count = record.elementCount
            guard count > 0 else { return }
            let flat = record.shape.isEmpty ? record : record.rows(of: 1)
            let strip = UnsafeMutableBufferPointer<Float>.allocate(capacity: min(count, Self.stripElements))
            defer {
                strip.deallocate()
                file.file.finish(record.byteRange)
            }
            for start in stride(from: 0, to: count, by: Self.stripElements) {
                let part = start..<min(count, start + Self.stripElements)
                let values = UnsafeMutableBufferPointer(rebasing: strip[..<part.count])
                do {
                    try file.readFloats(of: flat, rows: record.shape.isEmpty ? nil : part, into: values)
                } catch {
                    preconditionFailure("the type was checked: \(error)")
                }
                try body(UnsafeBufferPointer(values))
            }
        }
    }

    /// Copies rows (along the first axis) to `destination`, which has room for exactly these.
    package func copyRows(_ rows: Range<Int>, to destination: UnsafeMutablePointer<Float>) {
        let width = rowWidth
        switch content {
        case .held(let values):
            values.withUnsafeBufferPointer {
                destination.update(from: $0.baseAddress! + rows.lowerBound * width, count: rows.count * width)
            }
        case .stored(let stored, let place):
            let (file, record) = (stored.file, stored.file.tensors[place])
            let target = UnsafeMutableBufferPointer(start: destination, count: rows.count * width)
            let rowBytes = record.byteCount / max(1, record.elementCount) * width
            let start = record.offset + rows.lowerBound * rowBytes
            defer { file.file.finish(start..<start + rows.count * rowBytes) }
            do {
                try file.readFloats(of: record, rows: rows, into: target)
            } catch {
                preconditionFailure("was decoded before: \(error)")
            }
        }
    }

    /// Every `step`-th column from `first` on, `count` of them, as rows: [rows, count]. Of a file no other is decoded.
    func columns(from first: Int, step: Int, count: Int) -> [Float] {
        let (width, rows) = (rowWidth, shape.first ?? 0)
        func gather(_ value: (Int) -> Float) -> [Float] {
            (0..<rows * count).map { value($0 / count * width + first + $0 % count * step) }
        }
        if case .stored(let stored, let place) = content, !stored.file.file.isPacked {
            let (file, record) = (stored.file, stored.file.tensors[place])
            switch record.encoding {
            case .plain(.f32): return file.withBytesHeld(of: record) { b in gather { b.float32($0) } }
            case .plain(.bf16): return file.withBytesHeld(of: record) { b in gather { b.bfloat16($0) } }
            default: break
            }
        }
        let all = values
        return gather { all[$0] }
    }
}

/// A file that tensors of an adapter stay in: one object for all of them.
final class StoredTensors: Sendable {
    let file: SafetensorsFile

    init(_ file: SafetensorsFile) { self.file = file }
}

extension SafetensorsFile {
    /// The bytes of a tensor of a file that is not packed, which can be lent without an error.
    fileprivate func withBytesHeld<R>(of record: TensorRecord, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        file.withBytes { body(UnsafeRawBufferPointer(rebasing: $0[record.byteRange])) }
    }
}

extension UnsafeRawBufferPointer {
    /// The float32 at an element's place, little-endian.
    fileprivate func float32(_ index: Int) -> Float { loadUnaligned(fromByteOffset: index * 4, as: Float.self) }

    /// The bfloat16 at an element's place, as the float that it is the upper half of.
    fileprivate func bfloat16(_ index: Int) -> Float {
        Float(bitPattern: UInt32(loadUnaligned(fromByteOffset: index * 2, as: UInt16.self)) << 16)
    }
}

extension AdapterTensor: Equatable {
    package static func == (left: AdapterTensor, right: AdapterTensor) -> Bool {
        left.name.hasSameBytes(as: right.name) && left.shape == right.shape && left.values == right.values
    }
}
