import TensorCore

/// A tensor that a safetensors file is to hold.
package struct SafetensorsEntry: Sendable, Equatable {
    /// The tensor's name; each once in a file.
    package let name: String
    /// The elements' type.
    package let dtype: DType
    /// Extents, row-major, outermost first; empty for a scalar.
    package let shape: [Int]

    /// An entry; see the properties.
    package init(name: String, dtype: DType, shape: [Int]) {
        self.name = name
        self.dtype = dtype
        self.shape = shape
    }

    /// Bytes of the tensor's data.
    package var byteCount: Int { TensorEncoding.plain(dtype).byteCount(shape: shape)! }
}

/// Writes one safetensors file as a stream: the header first, then each tensor's bytes in the order of the entries.
///
/// The header is padded with spaces so that the data starts at a multiple of 8 bytes. Elements stay aligned as long as
/// entries come in falling order of element size; the format does not demand it.
package final class SafetensorsWriter {
    /// The metadata that readers of PyTorch models expect.
    package static let pyTorchMetadata: [(key: String, value: String)] = [("format", "pt")]

    private let file: AtomicFileWriter
    private let fileEnd: Int

    /// Writes the header to `file`, which is empty so far. A name given twice or a shape that overflows is a
    /// programmer's mistake; a header over the format's limit throws `tooLarge`.
    package init(
        _ file: AtomicFileWriter, entries: [SafetensorsEntry],
        metadata: [(key: String, value: String)] = SafetensorsWriter.pyTorchMetadata
    ) throws(CheckpointError) {
        precondition(file.byteCount == 0, "the header comes first")
        let layout = try Self.layout(entries, metadata: metadata, file: file.path)
        self.file = file
        fileEnd = layout.byteCount
        try file.checkRoom(for: layout.byteCount)
        try file.write(layout.header)
    }

    /// Where everything will lie in the file called `file` (for errors); see `init`.
    package static func layout(
        _ entries: [SafetensorsEntry], metadata: [(key: String, value: String)] = SafetensorsWriter.pyTorchMetadata,
        file: String
    ) throws(CheckpointError) -> TensorFileLayout {
        var object = JSONObject()
        if !metadata.isEmpty {
            var pairs = JSONObject()
            for (key, value) in metadata { pairs[key] = .string(value) }
            object["__metadata__"] = .object(pairs)
        }
        var offsets: [Range<Int>] = []
        var position = 0
        for entry in entries {
            precondition(object[entry.name] == nil, "the tensor '\(entry.name)' stands twice among the entries")
            let end = position + entry.byteCount
            object[entry.name] = .object([
                "dtype": .string(entry.dtype.rawValue),
                "shape": .array(entry.shape.map(JSONValue.integer)),
                "data_offsets": .array([.integer(position), .integer(end)]),
            ])
            offsets.append(position..<end)
            position = end
        }
        var text = Array(JSONValue.object(object).text().utf8)
        while text.count % 8 != 0 { text.append(UInt8(ascii: " ")) }
        guard text.count <= SafetensorsHeader.byteLimit else {
            throw .tooLarge(path: file, limit: SafetensorsHeader.byteLimit)
        }
        let header = withUnsafeBytes(of: UInt64(text.count).littleEndian) { Array($0) } + text
        return TensorFileLayout(
            header: header, ranges: offsets.map { $0.lowerBound + header.count..<$0.upperBound + header.count },
            byteCount: position + header.count)
    }

    /// Appends the next bytes of the data, in pieces of any size.
    package func append(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        precondition(file.byteCount + bytes.count <= fileEnd, "more bytes than the entries have")
        try file.write(bytes)
    }

    /// Appends floats of F32 tensors; see the variant for raw bytes.
    package func append(_ values: [Float]) throws(CheckpointError) {
        let outcome = values.withUnsafeBytes { bytes in
            Result { () throws(CheckpointError) in try append(bytes) }
        }
        try outcome.get()
    }

    /// Appends a tensor as it is stored, moved by the kernel where it can.
    package func append(_ record: TensorRecord, of checkpoint: Checkpoint) throws(CheckpointError) {
        precondition(file.byteCount + record.byteCount <= fileEnd, "more bytes than the entries have")
        try file.copy(record.byteRange, of: checkpoint.mapping(of: record))
    }

    /// Ends the file and gives it its name; all entries' bytes must have been appended. `inputs` as in
    /// `AtomicFileWriter.commit`.
    package func finish(rechecking inputs: [MappedFile] = []) throws(CheckpointError) {
        precondition(file.byteCount == fileEnd, "fewer bytes than the entries have")
        try file.commit(rechecking: inputs)
    }

    /// Writes a whole file of float tensors to `file`, which is empty so far, in the order given.
    package static func write(
        _ tensors: [(name: String, shape: [Int], values: [Float])], to file: AtomicFileWriter,
        metadata: [(key: String, value: String)] = SafetensorsWriter.pyTorchMetadata
    ) throws(CheckpointError) {
        let entries = tensors.map { SafetensorsEntry(name: $0.name, dtype: .f32, shape: $0.shape) }
        let writer = try SafetensorsWriter(file, entries: entries, metadata: metadata)
        for (tensor, entry) in zip(tensors, entries) {
            precondition(tensor.values.count * 4 == entry.byteCount, "'\(tensor.name)' does not fill its shape")
            try writer.append(tensor.values)
        }
        try writer.finish()
    }
}
