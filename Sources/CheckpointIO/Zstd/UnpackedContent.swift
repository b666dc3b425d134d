import Glibc
import Synchronization

/// A range of a Zstandard file's content in memory, frame by frame: a frame is unpacked when it is first held, and its
/// memory is given back when it is dropped. Lives in a mapping that a `MappedFile` owns.
final class UnpackedContent: Sendable {
    /// A frame that is in memory.
    private struct Frame {
        var holders = 0
        /// Bytes dropped since it was unpacked. Several threads drop the pieces of a frame in any order; when all of it
        /// was dropped, nobody who goes through the content once will want it again.
        var droppedBytes = 0
    }

    /// The frames in memory among those that share a lock.
    private final class Stripe: Sendable {
        let frames = Mutex<[Int: Frame]>([:])
    }

    /// Locks, so that several threads unpack different frames at once.
    private static let stripeCount = 16

    let file: SeekableZstdFile
    private let range: Range<Int>
    // Sendable by hand: a frame's place is written under its stripe's lock while nobody holds it.
    private nonisolated(unsafe) let memory: UnsafeMutableRawBufferPointer
    private let stripes: [Stripe]

    /// The content of `file` in `range`, to be unpacked to `memory`, which has its size and outlives this object. What
    /// has no seek table, and is in memory therefore, is copied at once.
    init(_ file: SeekableZstdFile, _ range: Range<Int>, memory: UnsafeMutableRawBufferPointer) throws(CheckpointError) {
        precondition(memory.count == range.count, "memory of the range's size")
        self.file = file
        self.range = range
        self.memory = memory
        stripes = (0..<Self.stripeCount).map { _ in Stripe() }
        if file.frameCount == 0, !range.isEmpty { try file.read(range, into: memory) }
    }

    /// The frames that have bytes in `part`, relative to the range.
    private func frames(_ part: Range<Int>) -> Range<Int> {
        precondition(part.lowerBound >= 0 && part.upperBound <= range.count, "a part outside the range")
        return file.frames(overlapping: range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound)
    }

    /// Unpacks what is missing of `part`, and keeps all of it in memory until `release`. Throws `malformed`; nothing is
    /// held then.
    func hold(_ part: Range<Int>) throws(CheckpointError) {
        let frames = frames(part)
        for frame in frames {
            do {
                try stripes[frame % Self.stripeCount].frames.withLock { frames throws(CheckpointError) in
                    if frames[frame] == nil { try file.read(frame, of: range, into: memory) }
                    frames[frame, default: Frame()].holders += 1
                }
            } catch {
                release(frames.lowerBound..<frame)
                throw error
            }
        }
    }

    /// The end of a `hold` of the same part; the bytes stay until they are dropped.
    func release(part: Range<Int>) { release(frames(part)) }

    private func release(_ frames: Range<Int>) {
        for frame in frames {
            stripes[frame % Self.stripeCount].frames.withLock { frames in
                frames[frame]?.holders -= 1
                freeIfDone(frame, &frames)
            }
        }
    }

    /// Says that `part` is not needed for now. The memory of a frame is given back when all of its bytes in the range
    /// were dropped, in whatever pieces and order, and nobody holds it: now, or when the last holder releases it.
    func drop(_ part: Range<Int>) {
        for frame in frames(part) {
            let dropped = place(of: frame).clamped(to: part).count
            stripes[frame % Self.stripeCount].frames.withLock { frames in
                frames[frame]?.droppedBytes += dropped
                freeIfDone(frame, &frames)
            }
        }
    }

    /// Unpacks `part` to `destination`, which has its size, past the mapping: for those who go through the content
    /// once, as fresh pages cost more than unpacking. False, and nothing is done, where a frame reaches beyond the
    /// part: it would be unpacked again for its other part. Throws `malformed`.
    func unpackWhole(_ part: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(CheckpointError)
        -> Bool
    {
        precondition(destination.count == part.count, "a destination of the part's size")
        let frames = frames(part)
        guard let first = frames.first, let last = frames.last, place(of: first).lowerBound == part.lowerBound,
            place(of: last).upperBound == part.upperBound
        else { return false }
        try file.read(range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound, into: destination)
        return true
    }

    /// Cuts `part` where frames end, into pieces of at most `byteLimit` bytes, or of one frame.
    func pieces(of part: Range<Int>, byteLimit: Int) -> [Range<Int>] {
        var pieces: [Range<Int>] = []
        for frame in frames(part) {
            let content = place(of: frame).clamped(to: part)
            if let last = pieces.last, last.count + content.count <= byteLimit {
                pieces[pieces.count - 1] = last.lowerBound..<content.upperBound
            } else {
                pieces.append(content)
            }
        }
        // What has no seek table has no frames either.
        return pieces.isEmpty && !part.isEmpty ? [part] : pieces
    }

    /// Frames in memory.
    var residentFrames: Int { stripes.reduce(0) { $0 + $1.frames.withLock { $0.count } } }

    /// Where a frame's content lies in the range.
    private func place(of frame: Int) -> Range<Int> {
        let content = file.contentRange(of: frame).clamped(to: range)
        return content.lowerBound - range.lowerBound..<content.upperBound - range.lowerBound
    }

    /// Gives back the memory of a frame of the stripe whose frames are `frames`, where it is not held and all was
    /// dropped.
    private func freeIfDone(_ frame: Int, _ frames: inout [Int: Frame]) {
        let place = place(of: frame)
        guard let state = frames[frame], state.holders == 0, state.droppedBytes >= place.count else { return }
        frames[frame] = nil
        // Pages at the ends are shared with the frames beside it.
        let page = sysconf(Int32(_SC_PAGESIZE))
        let (first, last) = ((place.lowerBound + page - 1) / page * page, place.upperBound / page * page)
        if first < last { madvise(memory.baseAddress! + first, last - first, MADV_REMOVE) }
    }
}
