import CheckpointIO
import Compute
import Glibc
import TensorCore

/// Writing what a plan says.
extension CheckpointConversion {
    /// Writes the output, which appears complete or not at all.
    ///
    /// In a rehearsal nothing is computed either. `progress` is told bytes written so far, and of all; `finish` is called
    /// once all tensors are made, before anything has its name, with the directory where the output is one; what it throws
    /// ends the writing.
    ///
    /// Parts of a split GGUF file get their names one after another, the first part last, so that a reader that finds
    /// that finds all; parts of an older file that they replace are moved aside before, so that no mixture of old and
    /// new ever has a first one, and come back where something fails. Throws `CheckpointError` for files,
    /// `inputChanged` among them, and `TransformError.unusableTensor` for values that the type cannot hold.
    package func write(
        threadCount: Int = ComputeContext.availableThreads,
        progress: (_ done: Int, _ total: Int) -> Void = { _, _ in },
        finish: (AtomicDirectory?) throws -> Void = { _ in }
    ) throws {
        if format == .safetensorsZstd, let rehearsal = output.rehearsal {
            // How well numbers pack shows when they are packed.
            for file in files {
                try AtomicFileWriter(output.at(file.path)).abandon()
                rehearsal.add(file.path, byteCount: file.layout.byteCount)
                rehearsal.estimates(file.path)
            }
            rehearsal.addMemory(
                "buffers that are packed",
                byteCount: packedStream.bufferByteCount(threadCount: threadCount)
                    + SeekableZstdWriter.bufferByteCount(threadCount: threadCount))
            return
        }
        if format == .safetensorsZstd { return try pack(threadCount, progress) }
        guard format == .huggingFace else {
            let writers = try files.map { try AtomicFileWriter(output.at($0.path)) }
            let outputs = try fill(writers, threadCount, progress)
            do {
                try finish(nil)
            } catch {
                for writer in writers { writer.abandon() }
                throw error
            }
            return try commit(outputs, writers)
        }
        let directory = try AtomicDirectory(output)
        do {
            // Small and likely to fail comes first.
            let folders = NameSet(sideFiles.compactMap { $0.name.contains("/") ? parentDirectory(of: $0.name) : nil })
            for folder in folders.sorted() { try directory.makeDirectory(folder) }
            for file in sideFiles {
                switch file.content {
                case .text(let text): try directory.write(file.name, text: text)
                case .copy(let path): try directory.copyFile(from: path, to: file.name)
                }
            }
            let writers = try files.map { try directory.writer(lastPathComponent($0.path)) }
            for file in try fill(writers, threadCount, progress) { try file.commit() }
            try finish(directory)
            try directory.commit(rechecking: checkpoint.mappings)
        } catch {
            directory.abandon()
            throw error
        }
    }

    /// Gives files their names, the first last, after older ones of those names were moved aside, the first first.
    /// Where one fails, those that are new are taken away again, and the older ones get their names back.
    private func commit(_ outputs: [OutputTensorFile], _ writers: [AtomicFileWriter]) throws {
        guard outputs.count > 1, output.rehearsal == nil else {
            for output in outputs { try output.commit(rechecking: checkpoint.mappings) }
            return
        }
        // Runs that exchange the same parts at once would leave some of each.
        let lock = try FolderLock(besides: writers[0].path)
        defer { withExtendedLifetime(lock) {} }
        let places = writers.map(\.path)
        do {
            for place in places where output.isReplacing { try moveAside(place) }
            for index in [Int](1..<outputs.count) + [0] {
                try outputs[index].commit(rechecking: checkpoint.mappings, provisionally: true)
            }
        } catch {
            for writer in writers { writer.abandon() }
            // The first part comes back last.
            try TemporaryOutputs.restore(places.reversed())
            throw error
        }
        TemporaryOutputs.release(places)
    }

    /// Moves the file at `path` to a hidden name beside it, where it outlasts whatever happens before the new files are
    /// complete, if one is there. Throws `writeFailed`.
    private func moveAside(_ path: String) throws(CheckpointError) {
        let aside = joinedPath(parentDirectory(of: path), ".\(lastPathComponent(path)).replaced-\(getpid())")
        guard TemporaryOutputs.putAside(path, at: aside) || errno == ENOENT else {
            throw .writeFailed(path: path, code: errno)
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
            try TensorStream(items).write(
                threadCount: threadCount, rehearsal: self.output.rehearsal, progress: progress)
        } catch {
            for writer in writers { writer.abandon() }
            throw error
        }
        return outputs
    }

    /// The tensors of the only file.
    private var packedStream: PackedStream {
        PackedStream(tensors[files[0].tensors].map { $0.content(from: checkpoint) })
    }

    /// Writes the only file, each tensor in frames of its own.
    private func pack(_ threadCount: Int, _ progress: (_ done: Int, _ total: Int) -> Void) throws {
        let file = files[0]
        let writer = try AtomicFileWriter(output.at(file.path))
        do {
            let frames = SeekableZstdWriter(writer, threadCount: threadCount)
            try frames.append(file.layout.header)
            frames.endFrame()
            let stream = packedStream
            try stream.write(to: frames, threadCount: threadCount) { progress($0, stream.byteCount) }
            try frames.finish(rechecking: checkpoint.mappings)
        } catch {
            writer.abandon()
            throw error
        }
    }
}
