import CheckpointIO
import Compute

/// Writing what a plan says.
extension CheckpointConversion {
    /// Writes the output, which appears complete or not at all.
    ///
    /// - Parameters:
    ///   - replacing: whether a checkpoint at the output is replaced.
    ///   - progress: told bytes written so far, and of all.
    ///
    /// Parts of a split GGUF file get their names one after another, the first part last, so that a reader that finds
    /// that finds all. Throws `CheckpointError` for files, `inputChanged` among them, and
    /// `TransformError.unusableTensor` for values that the type cannot hold.
    package func write(
        replacing: Bool = false, threadCount: Int = ComputeContext.availableThreads,
        progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
    ) throws {
        guard format == .huggingFace else {
            let writers = try files.map { try AtomicFileWriter($0.path, replacing: replacing) }
            let outputs = try fill(writers, threadCount, progress)
            for output in outputs.dropFirst() { try output.commit(rechecking: checkpoint.mappings) }
            try outputs.first?.commit(rechecking: checkpoint.mappings)
            return
        }
        let directory = try AtomicDirectory(outputPath, replacing: replacing)
        do {
            // Small and likely to fail comes first.
            for file in sideFiles {
                switch file.content {
                case .text(let text): try directory.write(file.name, text: text)
                case .copy(let path): try directory.copyFile(from: path, to: file.name)
                }
            }
            let writers = try files.map { try directory.writer(lastPathComponent($0.path)) }
            for output in try fill(writers, threadCount, progress) { try output.commit() }
            try directory.commit(rechecking: checkpoint.mappings)
        } catch {
            directory.abandon()
            throw error
        }
    }

    /// Lays the files out and writes all tensors; the files are yet to be committed.
    private func fill(
        _ writers: [AtomicFileWriter], _ threadCount: Int, _ progress: (_ done: Int, _ total: Int) -> Void
    ) throws -> [OutputTensorFile] {
        var items: [TensorStream.Item] = []
        var outputs: [OutputTensorFile] = []
        do {
            for (file, writer) in zip(files, writers) {
                let output = try OutputTensorFile(writer, layout: file.layout)
                outputs.append(output)
                for (place, index) in file.tensors.enumerated() {
                    items.append(output.item(place, tensors[index].content(from: checkpoint)))
                }
            }
            try TensorStream(items).write(threadCount: threadCount, progress: progress)
        } catch {
            for writer in writers { writer.abandon() }
            throw error
        }
        return outputs
    }
}
