import CheckpointIO
import Compute
import Synchronization

/// Tensors on their way into output files: each is copied as it is stored, or made row by row, and written at its
/// place.
///
/// Several threads work through the items of each file in order, a piece of a tensor each, so that memory stays at a
/// few pieces a thread whatever the sizes of tensors and files. Where there are several files they keep to different
/// ones: a file system lets one writer at a time into a file. Where each tensor lies comes from
/// `SafetensorsWriter.layout` or `GGUFWriter.layout`; see `OutputTensorFile`.
package struct TensorStream {
    /// Makes rows of a tensor: writes their bytes as they are to be stored, the whole of `bytes`. Called for different
    /// rows by different threads at once; `workspace` is the calling thread's own.
    package typealias RowMaker =
        @Sendable (_ rows: Range<Int>, _ workspace: RowWorkspace, _ bytes: UnsafeMutableRawBufferPointer) throws -> Void

    /// What a tensor's bytes are.
    package enum Content: Sendable {
        /// A range (bytes) of a mapped file as it is.
        case stored(MappedFile, Range<Int>)
        /// Rows that are made.
        case made(Rows)
    }

    /// A tensor that is made row by row.
    package struct Rows: Sendable {
        /// Rows, each stored by itself.
        package let count: Int
        /// Elements of a row.
        package let elementCount: Int
        /// Bytes of a row in the output.
        package let byteCount: Int
        /// The stored bytes that the rows are made from, of which row r needs about the r-th part: they are read ahead
        /// and let go. Nil where there are none, or their order is another.
        package let source: (file: MappedFile, range: Range<Int>)?
        /// Bytes that are in memory from the first of these rows to the last, beside what each piece needs.
        package let heldByteCount: Int
        /// Prepares the making, once for each tensor and shortly before its first rows are due; what it holds is
        /// released with the last of them.
        package let begin: @Sendable () throws -> RowMaker

        /// Rows; see the properties.
        package init(
            count: Int, elementCount: Int, byteCount: Int, source: (file: MappedFile, range: Range<Int>)? = nil,
            heldByteCount: Int = 0, begin: @escaping @Sendable () throws -> RowMaker
        ) {
            self.count = count
            self.elementCount = elementCount
            self.byteCount = byteCount
            self.source = source
            self.heldByteCount = heldByteCount
            self.begin = begin
        }

        /// Bytes of memory that making `rows` takes, about: as floats, as they are stored, and what they are unpacked
        /// from.
        func memory(of rows: Range<Int>) -> Int {
            let made = rows.count * (byteCount + elementCount * MemoryLayout<Float>.stride)
            guard let source = sourceRange(of: rows), source.file.isPacked else { return made + heldByteCount }
            // The frames at both ends are unpacked whole.
            return made + heldByteCount + source.range.count + 2 * SeekableZstdWriter.frameByteCount
        }

        /// The stored bytes behind `rows`, about.
        func sourceRange(of rows: Range<Int>) -> (file: MappedFile, range: Range<Int>)? {
            guard let source, count > 0 else { return nil }
            let part = source.range.count / count
            let start = source.range.lowerBound
            let end = rows.upperBound == count ? source.range.upperBound : start + rows.upperBound * part
            return (source.file, start + rows.lowerBound * part..<end)
        }
    }

    /// A tensor and its place.
    package struct Item: Sendable {
        /// The file that it goes to.
        package let output: OutputPlaces
        /// The bytes of that file that it takes: exactly those that the content has.
        package let range: Range<Int>
        /// Where its bytes come from.
        package let content: Content

        /// An item; see the properties.
        package init(output: OutputPlaces, range: Range<Int>, content: Content) {
            self.output = output
            self.range = range
            self.content = content
        }
    }

    /// Elements of a piece that is made at most, unless one row has more.
    static let pieceElements = 1 << 20
    /// Bytes of a piece that is copied at most.
    static let pieceBytes = 32 << 20
    /// Bytes of a piece that is unpacked at most, unless one frame has more: few enough to be in the cache still when
    /// they are written.
    static let packedPieceBytes = 2 << 20

    private let items: [Item]
    /// The pieces of each output file, in the order of the items.
    private let queues: [[Piece]]

    /// A stream of `items`; those of one file should come in the file's order.
    package init(_ items: [Item]) {
        self.items = items
        var queues: [[Piece]] = []
        var queueOfFile: [Int32: Int] = [:]
        for index in items.indices {
            let queue = queueOfFile[items[index].output.descriptor] ?? queues.count
            if queue == queues.count { queues.append([]) }
            queueOfFile[items[index].output.descriptor] = queue
            queues[queue] += Self.pieces(of: items[index], at: index)
        }
        self.queues = queues
    }

    /// Bytes of all items.
    package var byteCount: Int { items.reduce(0) { $0 + $1.range.count } }

    /// Writes every item. `progress` is told bytes written so far, and of all, on the calling thread.
    ///
    /// Throws the first error of writing or making; then the outputs are to be abandoned. With `rehearsal`, nothing is
    /// made or written, but the memory for it noted.
    package func write(
        threadCount: Int, rehearsal: OutputRehearsal? = nil, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
    ) throws {
        if let rehearsal {
            return rehearsal.addMemory(
                "buffers of \(threadCount) threads", byteCount: threadCount * largestPieceBytes)
        }
        let context = ComputeContext(dtype: .f32, threadCount: threadCount)
        let work = StreamWork(items: items, queues: queues)
        let total = byteCount
        context.parallelItems(context.threadCount) { _, thread in
            let workspace = RowWorkspace()
            while let written = work.next(workspace) {
                // Only the calling thread may report: others finish in between.
                if thread == 0 { progress(written, total) }
            }
        }
        if let error = work.failure { throw error }
        progress(total, total)
    }

    /// What one thread holds of a piece: one that is made as floats, as it is stored and with what it is unpacked from;
    /// one that is packed as it is stored.
    private var largestPieceBytes: Int {
        queues.joined().reduce(0) { most, piece in
            switch items[piece.item].content {
            case .made(let rows): max(most, rows.memory(of: piece.part))
            case .stored(let file, _): file.isPacked ? max(most, piece.part.count) : most
            }
        }
    }

    /// A part of an item: rows that are made together, or bytes that are copied together.
    struct Piece {
        let item: Int
        /// Rows for made content, bytes from the start of the range for stored content.
        let part: Range<Int>
    }

    private static func pieces(of item: Item, at index: Int) -> [Piece] {
        let (count, step): (Int, Int)
        switch item.content {
        case .stored(let file, let range):
            if let pieces = file.framePieces(of: range, byteLimit: packedPieceBytes) {
                return pieces.map { piece in
                    Piece(
                        item: index,
                        part: piece.lowerBound - range.lowerBound..<piece.upperBound - range.lowerBound)
                }
            }
            (count, step) = (range.count, pieceBytes)
        case .made(let rows): (count, step) = (rows.count, max(1, pieceElements / max(1, rows.elementCount)))
        }
        return stride(from: 0, to: count, by: step).map {
            Piece(item: index, part: $0..<min(count, $0 + step))
        }
    }
}
