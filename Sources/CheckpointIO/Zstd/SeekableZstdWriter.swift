import CZstd

/// Writes a stream as Zstandard frames with a seek table after them. Frames are packed by several threads, about
/// 1 MiB of content a thread at a time; each has its content's size and a checksum.
package final class SeekableZstdWriter {
    /// libzstd's own default level.
    package static let defaultLevel = 3
    /// The levels that libzstd has, its fast ones (below 1) aside.
    package static let levels = 1...19

    /// Bytes of content of a frame at most.
    static let frameByteCount = 1 << 20
    /// Frames that are packed together at most; small ones cost little.
    private static let batchFrames = 1024

    private let file: AtomicFileWriter
    private let level: Int32
    private let threadCount: Int
    private let batchBytes: Int
    private var pending: [[UInt8]] = []
    private var pendingBytes = 0
    /// Whether the last of `pending` takes more bytes.
    private var isFrameOpen = false
    private var entries: [SeekTable.Entry] = []

    /// Begins the frames in `file`, which is empty so far; `level` is one of `levels`. The bytes that are written do not
    /// depend on `threadCount`.
    package init(
        _ file: AtomicFileWriter, level: Int = SeekableZstdWriter.defaultLevel, threadCount: Int = usualThreadCount()
    ) {
        precondition(Self.levels.contains(level), "no level of libzstd")
        self.file = file
        self.level = Int32(level)
        self.threadCount = max(1, threadCount)
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
        let level = level
        pending.removeAll(keepingCapacity: true)
        pendingBytes = 0
        let packed = UnsafeMutableBufferPointer<[UInt8]>.allocate(capacity: frames.count)
        packed.initialize(repeating: [])
        defer {
            packed.deinitialize()
            packed.deallocate()
        }
        // Each item writes its own element.
        nonisolated(unsafe) let results = packed
        forEachInParallel(frames.count, threadCount: threadCount) { results[$0] = Zstd.frame(frames[$0], level: level) }
        for (content, frame) in zip(frames, packed) {
            let checksum = frame.withUnsafeBytes {
                UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: frame.count - 4, as: UInt32.self))
            }
            entries.append(
                SeekTable.Entry(packed: UInt32(frame.count), unpacked: UInt32(content.count), checksum: checksum))
            try file.write(frame)
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
    /// Bytes that a writer holds at most, about: content that waits, a frame a thread and one more, and as much packed.
    package static func bufferByteCount(threadCount: Int) -> Int { 2 * (threadCount + 1) * frameByteCount }
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
            let failures = UnsafeMutableBufferPointer<CheckpointError?>.allocate(capacity: end - first)
            failures.initialize(repeating: nil)
            defer {
                failures.deinitialize()
                failures.deallocate()
            }
            forEachInParallel(end - first, threadCount: threads) { item in
                do throws(CheckpointError) {
                    try read(first + item, of: part, into: buffer)
                } catch {
                    failures[item] = error
                }
            }
            for case let failure? in failures { throw failure }
            try file.write(UnsafeRawBufferPointer(buffer))
            next = end
        }
    }
}
