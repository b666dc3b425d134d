import CZstd
import Threads

/// Writes a stream as Zstandard frames with a seek table after them. Frames are packed by several threads, about
/// 1 MiB of content a thread at a time; each has its content's size and a checksum.
package final class SeekableZstdWriter {
    /// libzstd's own default level.
    package static let defaultLevel = 3
    /// The levels that libzstd has, its fast ones (below 1) aside.
    package static let levels = 1...19

    /// Bytes of content of a frame at most.
    package static let frameByteCount = 1 << 20
    /// Frames that are packed together at most; small ones cost little.
    private static let batchFrames = 1024
    /// Frames that each thread packs, about, before they are written.
    private static let framesOfThread = 4

    private let file: AtomicFileWriter
    /// One for each thread.
    private let packers: [FramePacker]
    private let threadCount: Int
    private let batchBytes: Int
    private var pending: [[UInt8]] = []
    private var pendingBytes = 0
    /// Whether the last of `pending` takes more bytes.
    private var isFrameOpen = false
    private var entries: [SeekTable.Entry] = []

    /// Begins the frames in `file`, which is empty so far; `level` is one of `levels`. At the usual level the bytes
    /// that are written do not depend on `threadCount`.
    package init(
        _ file: AtomicFileWriter, level: Int = SeekableZstdWriter.defaultLevel, threadCount: Int = ThreadTeam.available
    ) {
        precondition(Self.levels.contains(level), "no level of libzstd")
        self.file = file
        self.threadCount = max(1, threadCount)
        packers = (0..<self.threadCount).map { _ in FramePacker(level: Int32(level)) }
        batchBytes = self.threadCount * Self.frameByteCount
    }

    /// Appends bytes to the frame that is open, and to new ones where it is full. Throws `writeFailed`.
    package func append(_ bytes: UnsafeRawBufferPointer) throws(CheckpointError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            if !isFrameOpen {
                if pendingBytes >= batchBytes || pending.count >= Self.batchFrames { try flush() }
                pending.append([])
                isFrameOpen = true
            }
            let last = pending.count - 1
            let part = rest.prefix(Self.frameByteCount - pending[last].count)
            if pending[last].isEmpty { pending[last].reserveCapacity(part.count) }
            pending[last].append(contentsOf: UnsafeRawBufferPointer(rebasing: part))
            pendingBytes += part.count
            rest = rest.dropFirst(part.count)
            if pending[last].count == Self.frameByteCount { isFrameOpen = false }
        }
    }

    /// Appends bytes; see the variant for raw buffers.
    package func append(_ bytes: [UInt8]) throws(CheckpointError) {
        let outcome = bytes.withUnsafeBytes { buffer in
            Result { () throws(CheckpointError) in try append(buffer) }
        }
        try outcome.get()
    }

    /// Appends a range (bytes) of a mapped file. Throws `writeFailed`, and what holding the range throws.
    package func append(_ range: Range<Int>, of source: MappedFile) throws(CheckpointError) {
        for start in stride(from: range.lowerBound, to: range.upperBound, by: Self.frameByteCount) {
            let part = start..<min(start + Self.frameByteCount, range.upperBound)
            try source.hold(part)
            let outcome = source.withBytes { bytes in
                Result { () throws(CheckpointError) in try append(UnsafeRawBufferPointer(rebasing: bytes[part])) }
            }
            source.release(part)
            try outcome.get()
            source.advise(part, willNeed: false)
        }
    }

    /// Ends the open frame: what is appended next starts a new one.
    package func endFrame() { isFrameOpen = false }

    private func flush() throws(CheckpointError) {
        let frames = pending
        pending.removeAll(keepingCapacity: true)
        pendingBytes = 0
        let packed = ResultSlots.collect(frames.count, [UInt8]()) { slots in
            ThreadTeam(threadCount).takeItems(frames.count) { frame, thread in
                slots.put(frames[frame].withUnsafeBytes { packers[thread].frame($0) }, at: frame)
            }
        }
        for (content, frame) in zip(frames, packed) { try add(frame, contentCount: content.count) }
    }

    /// Writes a frame and notes it.
    private func add(_ frame: [UInt8], contentCount: Int) throws(CheckpointError) {
        let checksum = frame.withUnsafeBytes {
            UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: frame.count - 4, as: UInt32.self))
        }
        entries.append(
            SeekTable.Entry(packed: UInt32(frame.count), unpacked: UInt32(contentCount), checksum: checksum))
        try file.write(frame)
    }

    /// Appends `count` frames, whose contents several threads make and pack at once.
    ///
    /// `make(frame, thread, pack)` lends the content of a frame, 1 to `frameByteCount` bytes, to `pack`, once. It is
    /// called for different frames by different threads, numbered below the writer's `threadCount`. `progress` is told
    /// the number of frames that are done, on the calling thread. Throws what `make` throws, and `writeFailed`.
    package func appendFrames(
        _ count: Int, progress: (_ done: Int) -> Void = { _ in },
        _ make: (_ frame: Int, _ thread: Int, _ pack: (UnsafeRawBufferPointer) -> Void) throws -> Void
    ) throws {
        try flush()
        isFrameOpen = false
        // While frames are packed, those before them are written, by the thread that is first at a batch.
        var packed: [(frame: [UInt8], contentCount: Int)] = []
        let batchFrames = threadCount * Self.framesOfThread
        for start in stride(from: 0, through: count + batchFrames - 1, by: batchFrames) {
            let batch = min(start, count)..<min(start + batchFrames, count)
            let ready = packed
            packed = try ResultSlots.collect(batch.count, ([], 0)) { slots in
                try ThreadTeam(threadCount).takeItems(batch.count + 1) { item, thread in
                    guard item > 0 else {
                        for (frame, contentCount) in ready { try add(frame, contentCount: contentCount) }
                        return
                    }
                    try make(batch.lowerBound + item - 1, thread) { content in
                        precondition(1...Self.frameByteCount ~= content.count, "a frame's size")
                        slots.put((packers[thread].frame(content), content.count), at: item - 1)
                    }
                }
            }
            progress(batch.lowerBound)
        }
    }

    /// Writes the seek table and gives the file its name, if the mapped files that were read are unchanged. Throws what
    /// `AtomicFileWriter.commit` throws.
    package func finish(rechecking inputs: [MappedFile] = []) throws(CheckpointError) {
        try flush()
        try file.write(SeekTable.bytes(entries))
        try file.commit(rechecking: inputs)
    }
}

extension SeekableZstdWriter {
    /// Bytes that a writer holds at most, about: content that waits, a frame a thread and one more, what is packed and
    /// what is being written, and libzstd's tables, which take about two frames at the usual level.
    package static func bufferByteCount(threadCount: Int) -> Int {
        (threadCount * (1 + 2 * framesOfThread + 2) + 1) * frameByteCount
    }
}

extension SeekableZstdFile {
    /// Writes a range of the content to `file`, unpacked by `threadCount` threads, some frames at a time.
    func write(_ range: Range<Int>, to file: AtomicFileWriter, threadCount: Int) throws(CheckpointError) {
        guard frameCount > 0 else { return try file.write(read(range)) }
        let frames = frames(overlapping: range)
        let threads = max(1, threadCount)
        var next = frames.lowerBound
        while next < frames.upperBound {
            // A frame a thread, but not more than the largest frame allowed in all.
            var end = next + 1
            let start = contentRange(of: next).clamped(to: range).lowerBound
            while end < frames.upperBound, end - next < threads,
                contentRange(of: end).upperBound - start <= Self.contentLimit
            {
                end += 1
            }
            let part = start..<contentRange(of: end - 1).clamped(to: range).upperBound
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: part.count, alignment: 64)
            defer { buffer.deallocate() }
            let first = next
            try ThreadTeam(threads).takeItems(end - first) { (item, _) throws(CheckpointError) in
                try read(first + item, of: part, into: buffer)
            }
            try file.write(UnsafeRawBufferPointer(buffer))
            next = end
        }
    }
}
