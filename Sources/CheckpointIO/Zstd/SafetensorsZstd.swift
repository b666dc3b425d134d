import Threads

/// Writes a `.safetensors.zst` file as a stream: the bytes of a safetensors file, packed as Zstandard frames, of which
/// the first ones hold the header and then each tensor has its own, with a seek table at the end.
///
/// `zstd -d` makes the safetensors file of it; `Checkpoint.open` and `SafetensorsFile.open` read single tensors.
package final class SafetensorsZstdWriter {
    private let frames: SeekableZstdWriter
    /// Bytes of the tensors that are not finished, the next one last.
    private var remaining: [Int]

    /// Writes the header to `file`, which is empty so far; see `SafetensorsWriter`.
    package init(
        _ file: AtomicFileWriter, entries: [SafetensorsEntry],
        metadata: [(key: String, value: String)] = SafetensorsWriter.pyTorchMetadata,
        level: Int = SeekableZstdWriter.defaultLevel
    ) throws(CheckpointError) {
        let layout = try SafetensorsWriter.layout(entries, metadata: metadata, file: file.path)
        frames = SeekableZstdWriter(file, level: level)
        remaining = layout.ranges.reversed().map(\.count).filter { $0 > 0 }
        try frames.append(layout.header)
        frames.endFrame()
    }

    /// Appends the next bytes of the data, in pieces of any size, in the order of the entries.
    package func append(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let left = remaining.last else { preconditionFailure("more bytes than the entries have") }
            let part = rest.prefix(left)
            try frames.append(UnsafeRawBufferPointer(rebasing: part))
            rest = rest.dropFirst(part.count)
            advance(part.count)
        }
    }

    /// Appends a tensor as it is stored, the next one of the entries.
    package func append(_ record: TensorRecord, of source: some TensorSource) throws(CheckpointError) {
        guard record.byteCount > 0 else { return }
        precondition(remaining.last == record.byteCount, "another size than the entry has")
        try frames.append(record.byteRange, of: source.mapping(of: record))
        advance(record.byteCount)
    }

    private func advance(_ count: Int) {
        remaining[remaining.count - 1] -= count
        if remaining.last == 0 {
            remaining.removeLast()
            frames.endFrame()
        }
    }

    /// Ends the file and gives it its name, if the mapped files that were read are unchanged; all bytes of the entries
    /// must have been appended.
    package func finish(rechecking inputs: [MappedFile] = []) throws(CheckpointError) {
        precondition(remaining.isEmpty, "fewer bytes than the entries have")
        try frames.finish(rechecking: inputs)
    }
}

/// Between `.safetensors` files and `.safetensors.zst` files, to the byte.
package enum SafetensorsZstd {
    /// The ending of such files' names.
    package static let suffix = ".safetensors.zst"

    /// Packs a safetensors file: unpacking gives exactly its bytes. Throws what opening and writing throw.
    package static func pack(
        _ source: SafetensorsFile, to output: AtomicFileWriter, level: Int = SeekableZstdWriter.defaultLevel
    ) throws(CheckpointError) {
        let writer = SeekableZstdWriter(output, level: level)
        let file = source.file
        try writer.append(0..<(source.tensors.first?.offset ?? file.byteCount), of: file)
        writer.endFrame()
        for tensor in source.tensors {
            try writer.append(tensor.byteRange, of: file)
            writer.endFrame()
        }
        try writer.finish(rechecking: [file])
    }

    /// Unpacks the `.safetensors.zst` file at `path`, after its header was checked. Throws what opening and writing
    /// throw.
    package static func unpack(_ path: String, to output: AtomicFileWriter) throws(CheckpointError) {
        let file = try SafetensorsFile.open(path).file
        guard let packed = file.packedFile else {
            throw .malformed(file: path, problem: "is not packed: it is no Zstandard file")
        }
        try packed.write(0..<packed.byteCount, to: output, threadCount: ThreadTeam.available)
        try output.commit(rechecking: [file])
    }
}
