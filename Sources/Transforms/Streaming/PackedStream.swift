import CheckpointIO

/// Tensors on their way into a file of Zstandard frames, each in frames of its own, which several threads make and
/// pack.
package struct PackedStream {
    /// Part of a tensor: bytes of the stored range, or rows.
    private struct Piece {
        let tensor: Int
        let part: Range<Int>
    }

    private let contents: [TensorStream.Content]

    /// The tensors, in the order of the file.
    package init(_ contents: [TensorStream.Content]) { self.contents = contents }

    /// Bytes of all tensors, unpacked.
    package var byteCount: Int { contents.reduce(0) { $0 + $1.byteCount } }

    /// Memory for it beside the writer's, about: what each thread holds of a frame as floats and as it is stored, and
    /// the longest row that does not fit a frame.
    package func bufferByteCount(threadCount: Int) -> Int {
        var (longest, frame) = (0, 0)
        for case .made(let rows) in contents {
            if rows.byteCount > SeekableZstdWriter.frameByteCount {
                longest = max(longest, rows.memory(of: 0..<min(1, rows.count)))
            } else {
                frame = max(frame, rows.memory(of: 0..<min(rows.count, rows.rowsOfFrame)))
            }
        }
        return longest + threadCount * frame
    }

    /// Appends the tensors to `frames`, whose threads `threadCount` are. `progress` is told bytes of content appended
    /// so far, on the calling thread. Throws the first error of making or writing.
    package func write(
        to frames: SeekableZstdWriter, threadCount: Int, progress: (_ done: Int) -> Void = { _ in }
    ) throws {
        let workspaces = (0..<threadCount).map { _ in RowWorkspace() }
        var pieces: [Piece] = []
        var done = 0
        for (tensor, content) in contents.enumerated() {
            switch content {
            case .stored(_, let range):
                pieces += Self.pieces(of: tensor, range.count, step: SeekableZstdWriter.frameByteCount)
            case .made(let rows) where rows.byteCount <= SeekableZstdWriter.frameByteCount:
                pieces += Self.pieces(of: tensor, rows.byteCount == 0 ? 0 : rows.count, step: rows.rowsOfFrame)
            case .made(let rows):
                try append(pieces, to: frames, workspaces, &done, progress)
                pieces = []
                try appendLongRows(rows, to: frames, workspaces[0])
                done += content.byteCount
                progress(done)
            }
        }
        try append(pieces, to: frames, workspaces, &done, progress)
    }

    private static func pieces(of tensor: Int, _ count: Int, step: Int) -> [Piece] {
        stride(from: 0, to: count, by: step).map { Piece(tensor: tensor, part: $0..<min(count, $0 + step)) }
    }

    /// Appends pieces, a frame each.
    private func append(
        _ pieces: [Piece], to frames: SeekableZstdWriter, _ workspaces: [RowWorkspace], _ done: inout Int,
        _ progress: (_ done: Int) -> Void
    ) throws {
        var counts = [Int](repeating: 0, count: contents.count)
        for piece in pieces { counts[piece.tensor] += 1 }
        let makers = RowMakers(pieceCounts: counts)
        // Bytes before each piece.
        var starts = [done]
        for piece in pieces {
            let unit = if case .made(let rows) = contents[piece.tensor] { rows.byteCount } else { 1 }
            starts.append(starts.last! + piece.part.count * unit)
        }
        try frames.appendFrames(pieces.count, progress: { progress(starts[$0]) }) { index, thread, pack in
            let piece = pieces[index]
            switch contents[piece.tensor] {
            case .stored(let file, let range):
                let part = range.lowerBound + piece.part.lowerBound..<range.lowerBound + piece.part.upperBound
                if index + 1 < pieces.count {
                    file.advise(part.upperBound..<part.upperBound + part.count, willNeed: true)
                }
                try file.withBytes(in: part, pack)
                file.finish(part)
            case .made(let rows):
                let bytes = workspaces[thread].bytes(piece.part.count * rows.byteCount)
                try makers.get(piece.tensor, rows.begin)(piece.part, workspaces[thread], bytes)
                pack(UnsafeRawBufferPointer(bytes))
                if let source = rows.sourceRange(of: piece.part) { source.file.finish(source.range) }
            }
            makers.finishPiece(of: piece.tensor)
        }
        done = starts.last!
    }

    /// Appends rows that are longer than a frame, one after another.
    private func appendLongRows(
        _ rows: TensorStream.Rows, to frames: SeekableZstdWriter, _ workspace: RowWorkspace
    ) throws {
        let make = try rows.begin()
        for row in 0..<rows.count {
            let bytes = workspace.bytes(rows.byteCount)
            try make(row..<row + 1, workspace, bytes)
            try frames.append(UnsafeRawBufferPointer(bytes))
            if let source = rows.sourceRange(of: row..<row + 1) { source.file.finish(source.range) }
        }
        frames.endFrame()
    }
}

extension TensorStream.Content {
    /// Bytes of the tensor in the output.
    var byteCount: Int {
        switch self {
        case .stored(_, let range): range.count
        case .made(let rows): rows.count * rows.byteCount
        }
    }
}

extension TensorStream.Rows {
    /// Rows that fit a frame, at least one.
    fileprivate var rowsOfFrame: Int { max(1, SeekableZstdWriter.frameByteCount / max(1, byteCount)) }
}
