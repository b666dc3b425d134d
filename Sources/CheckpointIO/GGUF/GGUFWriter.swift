import TensorCore

/// A tensor that a GGUF file is to hold.
package struct GGUFEntry: Sendable, Equatable {
    /// The tensor's name, at most `GGUFWriter.nameLimit` bytes; each once in a file.
    package let name: String
    /// How its elements are stored.
    package let encoding: TensorEncoding
    /// Extents, row-major, outermost first (the file has them the other way round).
    package let shape: [Int]

    /// An entry; see the properties.
    package init(name: String, encoding: TensorEncoding, shape: [Int]) {
        self.name = name
        self.encoding = encoding
        self.shape = shape
    }
}

/// Writes one GGUF file as a stream: metadata and entries first, then each tensor's bytes in the order of the entries.
///
/// Every tensor starts at a multiple of the alignment, and the last one too is padded to it, because ggml reads padded
/// sizes. The alignment is `general.alignment` among the metadata, or else 32 bytes.
package final class GGUFWriter {
    /// The format's version that is written unless another is asked for.
    package static let version: UInt32 = 3
    /// Bytes that ggml has for a tensor's name, less its closing zero.
    package static let nameLimit = 63

    private let file: AtomicFileWriter
    private let names: [String]
    private let layout: TensorFileLayout
    /// The tensor that the next bytes belong to.
    private var current = 0

    /// Writes the header to `file`, which is empty so far; see `layout`.
    package init(
        _ file: AtomicFileWriter, version: UInt32 = GGUFWriter.version,
        metadata: [(key: String, value: GGUFEncodedValue)], entries: [GGUFEntry]
    ) throws(CheckpointError) {
        precondition(file.byteCount == 0, "the header comes first")
        layout = try Self.layout(entries, metadata: metadata, version: version, file: file.path)
        self.file = file
        names = entries.map(\.name)
        try file.checkRoom(for: layout.byteCount)
        try file.write(layout.header)
    }

    /// Where everything will lie in the file called `file` (for errors).
    ///
    /// Throws `badTensor` for an entry that the format cannot hold: more than four extents, a name that is too long, a
    /// type that ggml does not have, rows that are not whole blocks, a size that overflows. A name or key given twice,
    /// a version other than 2 and 3 and an alignment that is no UINT32 power of two are a programmer's mistakes.
    package static func layout(
        _ entries: [GGUFEntry], metadata: [(key: String, value: GGUFEncodedValue)],
        version: UInt32 = GGUFWriter.version, file: String
    ) throws(CheckpointError) -> TensorFileLayout {
        precondition(version == 2 || version == 3, "version \(version) is not known")
        precondition(NameSet(metadata.map(\.key)).count == metadata.count, "a metadata key stands twice")
        precondition(NameSet(entries.map(\.name)).count == entries.count, "a tensor stands twice among the entries")
        let alignment = alignment(metadata)
        var header = Array("GGUF".utf8) + GGUFEncodedValue.littleEndianBytes(version)
        // Metadata may be long: they are not copied more than once.
        header.reserveCapacity(
            metadata.reduce(entries.count * 128) { $0 + $1.key.utf8.count + $1.value.bytes.count + 16 } + alignment)
        header += GGUFEncodedValue.littleEndianBytes(UInt64(entries.count))
        header += GGUFEncodedValue.littleEndianBytes(UInt64(metadata.count))
        for (key, value) in metadata {
            header += GGUFEncodedValue.stringBytes(Array(key.utf8))
            header += GGUFEncodedValue.littleEndianBytes(value.type)
            header += value.bytes
        }
        var offsets: [Range<Int>] = []
        var position = 0
        for entry in entries {
            let size = try append(entry, at: position, to: &header, file: file)
            let (end, overflow) = position.addingReportingOverflow(size)
            guard !overflow, let next = aligned(end, to: alignment) else {
                throw unfit(entry, file, "the file's size must not overflow", "has \(size) bytes")
            }
            offsets.append(position..<end)
            position = next
        }
        header += [UInt8](repeating: 0, count: (alignment - header.count % alignment) % alignment)
        let start = header.count
        guard case (let fileEnd, false) = position.addingReportingOverflow(start) else {
            throw .tooLarge(path: file, limit: Int.max)
        }
        return TensorFileLayout(
            header: header, ranges: offsets.map { $0.lowerBound + start..<$0.upperBound + start }, byteCount: fileEnd)
    }

    /// Appends the next bytes of the data, in pieces of any size that do not reach into the next tensor.
    package func append(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        guard !bytes.isEmpty else { return }
        try beginNext()
        let room = layout.ranges[current].upperBound - file.byteCount
        precondition(bytes.count <= room, "more bytes than '\(names[current])' has")
        try file.write(bytes)
    }

    /// Appends floats of an F32 tensor; see the variant for raw bytes.
    package func append(_ values: [Float]) throws(CheckpointError) {
        let outcome = values.withUnsafeBytes { bytes in
            Result { () throws(CheckpointError) in try append(bytes) }
        }
        try outcome.get()
    }

    /// Appends a tensor as it is stored, moved by the kernel where it can.
    package func append(_ record: TensorRecord, of checkpoint: Checkpoint) throws(CheckpointError) {
        guard record.byteCount > 0 else { return }
        try beginNext()
        let room = layout.ranges[current].upperBound - file.byteCount
        precondition(record.byteCount <= room, "more bytes than '\(names[current])' has")
        try file.copy(record.byteRange, of: checkpoint.mapping(of: record))
    }

    /// Ends the file and gives it its name; all tensors' bytes must have been appended. `inputs` as in
    /// `AtomicFileWriter.commit`.
    package func finish(rechecking inputs: [MappedFile] = []) throws(CheckpointError) {
        while current < layout.ranges.count {
            precondition(
                file.byteCount >= layout.ranges[current].upperBound, "fewer bytes than '\(names[current])' has")
            try advance()
        }
        precondition(file.byteCount == layout.byteCount)
        try file.commit(rechecking: inputs)
    }

    /// Leaves tensors that are full behind.
    private func beginNext() throws(CheckpointError) {
        while current < layout.ranges.count, file.byteCount >= layout.ranges[current].upperBound { try advance() }
        precondition(current < layout.ranges.count, "more bytes than the entries have")
    }

    /// Pads up to the next tensor, or to the end.
    private func advance() throws(CheckpointError) {
        current += 1
        let next = current < layout.ranges.count ? layout.ranges[current].lowerBound : layout.byteCount
        try file.write([UInt8](repeating: 0, count: next - file.byteCount))
    }

    private static func alignment(_ metadata: [(key: String, value: GGUFEncodedValue)]) -> Int {
        guard let value = metadata.first(where: { $0.key == GGUFHeader.alignmentKey })?.value else {
            return GGUFHeader.defaultAlignment
        }
        guard let alignment = value.uint32Value, alignment > 0, alignment & (alignment - 1) == 0 else {
            preconditionFailure("'\(GGUFHeader.alignmentKey)' is not a UINT32 that is a power of two")
        }
        return Int(alignment)
    }

    private static func aligned(_ count: Int, to alignment: Int) -> Int? {
        let (sum, overflow) = count.addingReportingOverflow(alignment - 1)
        return overflow ? nil : sum & ~(alignment - 1)
    }

    /// Adds an entry's text to the header; gives the bytes of its data.
    private static func append(
        _ entry: GGUFEntry, at offset: Int, to header: inout [UInt8], file: String
    ) throws(CheckpointError) -> Int {
        let name = Array(entry.name.utf8)
        guard name.count <= nameLimit else {
            throw unfit(entry, file, "ggml takes names of at most \(nameLimit)", "has a name of \(name.count) bytes")
        }
        guard entry.shape.count <= GGUFHeader.dimensionLimit else {
            throw unfit(
                entry, file, "at most \(GGUFHeader.dimensionLimit) are allowed",
                "has \(entry.shape.count) dimensions")
        }
        guard let type = entry.encoding.ggmlType else {
            throw unfit(entry, file, "GGUF has no such type", "is of \(entry.encoding)")
        }
        guard let size = entry.encoding.byteCount(shape: entry.shape) else {
            throw unfit(
                entry, file,
                "rows must be whole blocks of \(entry.encoding.group.elements) elements and sizes must not overflow",
                "has the shape \(entry.shape) of \(entry.encoding)")
        }
        header += GGUFEncodedValue.stringBytes(name)
        header += GGUFEncodedValue.littleEndianBytes(UInt32(entry.shape.count))
        for extent in entry.shape.reversed() { header += GGUFEncodedValue.littleEndianBytes(UInt64(extent)) }
        header += GGUFEncodedValue.littleEndianBytes(type) + GGUFEncodedValue.littleEndianBytes(UInt64(offset))
        return size
    }

    private static func unfit(
        _ entry: GGUFEntry, _ file: String, _ expected: String, _ found: String
    ) -> CheckpointError {
        .badTensor(file: file, tensor: entry.name, expected: expected, found: found)
    }
}

extension TensorEncoding {
    /// The plain types that ggml has, by its numbers.
    private static let ggmlPlainTypes: [(number: UInt32, type: DType)] = [
        (0, .f32), (1, .f16), (24, .i8), (25, .i16), (26, .i32), (27, .i64), (28, .f64), (30, .bf16),
    ]

    /// The encoding with ggml's number; nil for an unknown one.
    init?(ggmlType number: UInt32) {
        if let plain = Self.ggmlPlainTypes.first(where: { $0.number == number }) {
            self = .plain(plain.type)
        } else if let format = GGMLBlockFormat(number: number) {
            self = .block(format)
        } else {
            return nil
        }
    }

    /// ggml's number; nil for a type that it does not have.
    var ggmlType: UInt32? {
        switch self {
        case .plain(let type): Self.ggmlPlainTypes.first { $0.type == type }?.number
        case .block(let format): format.number
        }
    }
}
