import Glibc
import Synchronization

/// A range of a Zstandard file's content in memory, frame by frame: a frame is unpacked when it is first held, and its
/// memory is given back when it is dropped. Lives in a mapping that a `MappedFile` owns.
final class UnpackedContent: Sendable {
    /// How often each frame that is in memory is held; a frame that is not there is in neither.
    private final class Stripe: Sendable {
        let holders = Mutex<[Int: Int]>([:])
    }

    /// Locks, so that several threads unpack different frames at once.
    private static let stripeCount = 16

    let file: SeekableZstdFile
    private let range: Range<Int>
    // Sendable by hand: a frame's place is written under its stripe's lock while nobody holds it.
    private nonisolated(unsafe) let memory: UnsafeMutableRawBufferPointer
    private let stripes: [Stripe]

    /// The content of `file` in `range`, to be unpacked to `memory`, which has its size and outlives this object. What has no
    /// seek table, and is in memory therefore, is copied at once.
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

    /// Unpacks what is missing of `part`, and keeps all of it in memory until `release`. Throws `malformed`; nothing is held
    /// then.
    func hold(_ part: Range<Int>) throws(CheckpointError) {
        let frames = frames(part)
        for frame in frames {
            do {
                try stripes[frame % Self.stripeCount].holders.withLock { holders throws(CheckpointError) in
                    if holders[frame] == nil { try file.read(frame, of: range, into: memory) }
                    holders[frame, default: 0] += 1
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
            stripes[frame % Self.stripeCount].holders.withLock { $0[frame]? -= 1 }
        }
    }

    /// Gives back the memory of the frames that end in `part` and are not held.
    func drop(_ part: Range<Int>) {
        let page = sysconf(Int32(_SC_PAGESIZE))
        for frame in frames(part) {
            let content = file.contentRange(of: frame).clamped(to: range)
            let (start, end) = (content.lowerBound - range.lowerBound, content.upperBound - range.lowerBound)
            guard end <= part.upperBound else { continue }
            stripes[frame % Self.stripeCount].holders.withLock { holders in
                guard holders[frame] == 0 else { return }
                holders[frame] = nil
                // Pages at the ends are shared with the frames beside it.
                let (first, last) = ((start + page - 1) / page * page, end / page * page)
                if first < last { madvise(memory.baseAddress! + first, last - first, MADV_REMOVE) }
            }
        }
    }
}
