import CheckpointIO
import TensorCore

/// Whole numbers that an adapter holds of a module that was trained whole, such as the count of batches that a BatchNorm
/// has seen: nothing is computed with them, they take the place of the base's.
package struct AdapterIntegers: Sendable, Equatable {
    /// The key in the file.
    package let name: String
    /// Extents, outermost first.
    package let shape: [Int]
    /// The numbers as the adapter's file has them.
    private let bytes: [UInt8]
    private let type: DType

    /// The tensor of a file; nil where it holds no whole numbers.
    init?(_ name: String, in file: SafetensorsFile, _ record: TensorRecord) {
        guard case .plain(let type) = record.encoding, type.isInteger else { return nil }
        self.name = name
        self.type = type
        shape = record.shape
        bytes = file.file.withBytes { Array($0[record.byteRange]) }
    }

    /// Bytes that tell them from others.
    package var content: [UInt8] { Array(type.rawValue.utf8) + bytes }

    /// The numbers as a file of this type holds them; nil where it is none for whole numbers, or cannot hold one of these.
    package func bytes(as other: DType) -> [UInt8]? {
        guard other != type else { return bytes }
        guard other.isInteger else { return nil }
        var result: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: type.byteCount) {
            guard let stored = other.bytes(of: type.number(bytes[start..<start + type.byteCount])) else { return nil }
            result += stored
        }
        return result
    }
}
