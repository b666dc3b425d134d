import CheckpointIO
import Synchronization

/// What the threads of a `TensorStream` share: which pieces are done, and what the kernel has been told of files.
final class StreamWork: Sendable {
    /// Bytes of an input that are read ahead at a time, and of an output that the kernel is told to write at a time. A call
    /// for each of many thousand small tensors would cost more than their bytes.
    private static let adviceByteCount = 8 << 20

    /// One output file's pieces, as far as they have come.
    private struct Progress {
        /// The next piece.
        var next = 0
        /// Threads that are at one.
        var busy = 0
        /// Pieces that are done.
        var done = 0
        /// What was read ahead last.
        var ahead: (file: MappedFile, range: Range<Int>)?
        /// Bytes that were written and which the kernel has not been told of, with what lies between them.
        var written: Range<Int>?
    }

    private struct State {
        var queues: [Progress]
        var bytesDone = 0
        var failure: (any Error)?
    }

    /// A piece that a thread is to do.
    private struct Taken {
        let queue: Int
        let piece: TensorStream.Piece
        /// What the kernel should read meanwhile.
        let ahead: (file: MappedFile, range: Range<Int>)?
    }

    private let items: [TensorStream.Item]
    private let queues: [[TensorStream.Piece]]
    private let makers: RowMakers
    private let state: Mutex<State>

    init(items: [TensorStream.Item], queues: [[TensorStream.Piece]]) {
        self.items = items
        self.queues = queues
        var counts = [Int](repeating: 0, count: items.count)
        for piece in queues.joined() { counts[piece.item] += 1 }
        makers = RowMakers(pieceCounts: counts)
        state = Mutex(State(queues: queues.map { _ in Progress() }))
    }

    var failure: (any Error)? { state.withLock { $0.failure } }

    /// Does one more piece; the bytes done so far, or nil where nothing is left to do.
    func next(_ workspace: RowWorkspace) -> Int? {
        guard let taken = take() else { return nil }
        if let ahead = taken.ahead { ahead.file.advise(ahead.range, willNeed: true) }
        do {
            return finish(taken, written: try perform(taken.piece, workspace))
        } catch {
            state.withLock { if $0.failure == nil { $0.failure = error } }
            return nil
        }
    }

    private func take() -> Taken? {
        state.withLock { state in
            let open = queues.indices.filter { state.queues[$0].next < queues[$0].count }
            guard state.failure == nil,
                let queue = open.min(by: { state.queues[$0].busy < state.queues[$1].busy })
            else { return nil }
            let place = state.queues[queue].next
            state.queues[queue].next += 1
            state.queues[queue].busy += 1
            let ahead = place + 1 < queues[queue].count ? source(of: queues[queue][place + 1]) : nil
            return Taken(
                queue: queue, piece: queues[queue][place],
                ahead: ahead.flatMap { Self.unread($0, last: &state.queues[queue].ahead) })
        }
    }

    /// What is to be read ahead for a range that is needed next: nothing where `last` has it, else that range, and what
    /// lies behind it in the file where it is a short one.
    private static func unread(
        _ next: (file: MappedFile, range: Range<Int>), last: inout (file: MappedFile, range: Range<Int>)?
    ) -> (file: MappedFile, range: Range<Int>)? {
        if let last, last.file === next.file, last.range.lowerBound <= next.range.lowerBound,
            next.range.upperBound <= last.range.upperBound
        {
            return nil
        }
        let start = next.range.lowerBound
        let end = min(next.file.byteCount, max(next.range.upperBound, start + adviceByteCount))
        last = (next.file, start..<max(start, end))
        return last
    }

    /// Makes or copies a piece; the bytes of its output that it wrote.
    private func perform(_ piece: TensorStream.Piece, _ workspace: RowWorkspace) throws -> Range<Int> {
        let item = items[piece.item]
        switch item.content {
        case .stored(let file, let range):
            let start = range.lowerBound
            let target = item.range.lowerBound
            let stored = start + piece.part.lowerBound..<start + piece.part.upperBound
            try item.output.copy(stored, of: file, to: target + piece.part.lowerBound, scratch: workspace.bytes)
            // Between file systems it went through the mapping.
            if !file.isPacked { file.finish(stored) }
            return target + piece.part.lowerBound..<target + piece.part.upperBound
        case .made(let rows):
            let make = try makers.get(piece.item, rows.begin)
            let bytes = workspace.bytes(piece.part.count * rows.byteCount)
            try make(piece.part, workspace, bytes)
            let start = item.range.lowerBound + piece.part.lowerBound * rows.byteCount
            try item.output.write(UnsafeRawBufferPointer(bytes), at: start)
            // What is done with need not stay resident.
            if let source = source(of: piece) { source.file.finish(source.range) }
            return start..<start + bytes.count
        }
    }

    private func source(of piece: TensorStream.Piece) -> (file: MappedFile, range: Range<Int>)? {
        switch items[piece.item].content {
        case .stored(let file, let range):
            (file, range.lowerBound + piece.part.lowerBound..<range.lowerBound + piece.part.upperBound)
        case .made(let rows): rows.sourceRange(of: piece.part)
        }
    }

    /// Counts a piece, and has the kernel begin to write what has gathered.
    private func finish(_ taken: Taken, written: Range<Int>) -> Int {
        makers.finishPiece(of: taken.piece.item)
        let (bytesDone, gathered, isLast) = state.withLock { state in
            state.bytesDone += written.count
            state.queues[taken.queue].busy -= 1
            state.queues[taken.queue].done += 1
            let isLast = state.queues[taken.queue].done == queues[taken.queue].count
            let old = state.queues[taken.queue].written ?? written
            let gathered = min(old.lowerBound, written.lowerBound)..<max(old.upperBound, written.upperBound)
            let isFull = isLast || gathered.count >= Self.adviceByteCount
            state.queues[taken.queue].written = isFull ? nil : gathered
            return (state.bytesDone, isFull ? gathered : nil, isLast)
        }
        if let gathered { items[taken.piece.item].output.beginWriting(gathered) }
        if isLast, let source = source(of: taken.piece) { source.file.giveBackPages() }
        return bytesDone
    }
}
