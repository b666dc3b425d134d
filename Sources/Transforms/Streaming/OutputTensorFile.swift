import CheckpointIO

/// A tensor file that is being written at places known beforehand: its header is there at once, its tensors come
/// through a `TensorStream`, and `commit` gives it its name.
package final class OutputTensorFile {
    /// Whether the file is a copy of an input already that shares its blocks: what is to be as there needs no item.
    package let isClone: Bool
    private let writer: AtomicFileWriter
    private let ranges: [Range<Int>]

    /// Takes the disk space of `layout` and writes its header to `writer`, which is empty so far. Throws `writeFailed`.
    package init(_ writer: AtomicFileWriter, layout: TensorFileLayout) throws(CheckpointError) {
        self.writer = writer
        isClone = false
        ranges = layout.ranges
        try writer.reserve(layout.byteCount)
        let places = writer.places
        let outcome = layout.header.withUnsafeBytes { bytes in
            Result { () throws(CheckpointError) in try places.write(bytes, at: 0) }
        }
        try outcome.get()
    }

    /// A file that has the header of `input` and its `tensors` (all of that file) at the same places, and is its clone
    /// where the file system can share blocks. Throws `writeFailed`.
    package init(
        _ writer: AtomicFileWriter, like input: MappedFile, tensors: [TensorRecord]
    ) throws(CheckpointError) {
        self.writer = writer
        ranges = tensors.map(\.byteRange)
        isClone = writer.clone(input)
        guard !isClone else { return }
        try writer.reserve(input.byteCount)
        try writer.places.copy(0..<(tensors.map(\.offset).min() ?? input.byteCount), of: input, to: 0)
    }

    /// The entry at `index` of the layout, with what it holds.
    package func item(_ index: Int, _ content: TensorStream.Content) -> TensorStream.Item {
        if case .stored(_, let range) = content {
            precondition(range.count == ranges[index].count, "an entry and its content have different sizes")
        }
        if case .made(let rows) = content {
            precondition(rows.count * rows.byteCount == ranges[index].count, "an entry and its rows differ in size")
        }
        return TensorStream.Item(output: writer.places, range: ranges[index], content: content)
    }

    /// Syncs the file and gives it its name, when the stream has been written. `inputs` are mapped files that it was
    /// made from, unless a directory that it lies in rechecks them. See `AtomicFileWriter.commit`, also for what it
    /// throws.
    package func commit(
        rechecking inputs: [MappedFile] = [], provisionally: Bool = false
    ) throws(CheckpointError) {
        try writer.commit(rechecking: inputs, provisionally: provisionally)
    }
}
