import TensorCore

/// What the first bytes of a file of tensors say about its form.
package enum TensorFileHeader: Sendable, Equatable {
    /// A safetensors file; the header has `byteCount` bytes, those of its length among them.
    case safetensors(byteCount: Int)
    /// A GGUF file of this version, whose tensors' offsets are multiples of `alignment` bytes.
    case gguf(version: Int, alignment: Int)

    /// The header of a file that has been opened, and so checked, as one of `checkpoint`'s; nil for a file of another
    /// form.
    package init?(_ file: MappedFile, of checkpoint: Checkpoint) {
        let word = { (offset: Int) in
            file.withBytes { bytes in
                bytes.count < offset + 8 ? nil : bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
            }.map(UInt64.init(littleEndian:))
        }
        guard let first = word(0) else { return nil }
        if file.withBytes({ $0.starts(with: "GGUF".utf8) }) {
            self = .gguf(
                version: Int(first >> 32),
                alignment: checkpoint.metadata?[GGUFHeader.alignmentKey]?.integer(in: .sizes)
                    ?? GGUFHeader.defaultAlignment)
        } else {
            let isHeader = file.withBytes { $0.count > 8 && $0[8] == UInt8(ascii: "{") }
            guard isHeader, first <= UInt64(SafetensorsHeader.byteLimit) else { return nil }
            self = .safetensors(byteCount: Int(first) + 8)
        }
    }
}
