import Glibc

/// Memory for tensors, kept for reuse: a training step asks for the same sizes again and again, and fresh pages cost
/// more than the arithmetic on them.
///
/// Owns its blocks until `trim()` or the end of its life. Not thread-safe: one pool belongs to one thread of control.
package final class BufferPool {
    /// Blocks lie at multiples of this many bytes: a cache line and an AVX-512 register.
    package static let alignment = 64

    /// From this size on blocks are aligned for, and ask for, huge pages.
    private static let hugePageSize = 2 << 20

    /// A free block may serve a request down to this share of its size: batches differ in length from step to step, and
    /// the blocks of the longest serve all.
    private static let leastUse = 0.6

    /// Free blocks are given back to the system rather than let the pool hold more than this times what was ever in
    /// use.
    private static let largestHoard = 1.2

    private var free: [Int: [UnsafeMutableRawPointer]] = [:]
    /// Bytes in blocks handed out now.
    package private(set) var usedBytes = 0
    /// The largest value that `usedBytes` has had.
    package private(set) var peakBytes = 0
    private var freeBytes = 0

    /// An empty pool.
    package init() {}

    deinit {
        trim()
    }

    /// Gives unused blocks back to the system.
    package func trim() {
        releaseFreeBlocks(until: 0)
    }

    /// Gives free blocks back, the largest first, until at most `limit` bytes of them are left.
    private func releaseFreeBlocks(until limit: Int) {
        for size in free.keys.sorted(by: >) {
            while freeBytes > limit, let block = free[size]?.popLast() {
                Glibc.free(block)
                freeBytes -= size
            }
        }
    }

    /// The size of the block that serves `byteCount` bytes: up to an eighth more, so that similar sizes share blocks.
    private static func blockSize(_ byteCount: Int) -> Int {
        let least = max(byteCount, 256)
        let step = sizeStep(least)
        return (least + step - 1) / step * step
    }

    /// The distance of block sizes near `size`.
    private static func sizeStep(_ size: Int) -> Int {
        max(256, 1 << (Int.bitWidth - 1 - size.leadingZeroBitCount - 3))
    }

    /// A block of at least `byteCount` bytes with undefined contents, and its size, which `give` wants back.
    func take(_ byteCount: Int) -> (block: UnsafeMutableRawPointer, size: Int) {
        let wanted = Self.blockSize(byteCount)
        var size = wanted
        while Double(wanted) >= Self.leastUse * Double(size) {
            if let block = free[size]?.popLast() {
                freeBytes -= size
                use(size)
                return (block, size)
            }
            size = Self.blockSize(size + 1)
        }
        use(wanted)
        let limit = Int(Self.largestHoard * Double(peakBytes)) - usedBytes
        if freeBytes > limit { releaseFreeBlocks(until: limit) }
        return (Self.allocate(wanted), wanted)
    }

    private func use(_ size: Int) {
        usedBytes += size
        peakBytes = max(peakBytes, usedBytes)
    }

    private static func allocate(_ size: Int) -> UnsafeMutableRawPointer {
        var block: UnsafeMutableRawPointer?
        let alignment = size >= hugePageSize ? hugePageSize : Self.alignment
        guard posix_memalign(&block, alignment, size) == 0, let block else {
            fatalError("out of memory: \(size) bytes for a tensor")
        }
        if size >= hugePageSize { madvise(block, size, MADV_HUGEPAGE) }
        return block
    }

    /// Takes back a block of this size.
    func give(_ block: UnsafeMutableRawPointer, size: Int) {
        usedBytes -= size
        freeBytes += size
        free[size, default: []].append(block)
    }
}
