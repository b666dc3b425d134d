import Glibc

/// Memory for tensors, kept for reuse: a training step asks for the same sizes again and again, and fresh pages cost more
/// than the arithmetic on them.
///
/// Owns its blocks until `trim()` or the end of its life. Not thread-safe: one pool belongs to one thread of control.
package final class BufferPool {
    /// Blocks lie at multiples of this many bytes: a cache line and an AVX-512 register.
    package static let alignment = 64

    /// From this size on blocks are aligned for, and ask for, huge pages.
    private static let hugePageSize = 2 << 20

    private var free: [Int: [UnsafeMutableRawPointer]] = [:]
    /// Bytes in blocks handed out now.
    package private(set) var usedBytes = 0
    /// The largest value that `usedBytes` has had.
    package private(set) var peakBytes = 0

    /// An empty pool.
    package init() {}

    deinit {
        trim()
    }

    /// Gives unused blocks back to the system.
    package func trim() {
        for blocks in free.values {
            for block in blocks { Glibc.free(block) }
        }
        free = [:]
    }

    /// The size of the block that serves `byteCount` bytes: up to an eighth more, so that similar sizes share blocks.
    private static func blockSize(_ byteCount: Int) -> Int {
        let least = max(byteCount, 256)
        let step = max(256, 1 << (Int.bitWidth - 1 - least.leadingZeroBitCount - 3))
        return (least + step - 1) / step * step
    }

    /// A block of at least `byteCount` bytes with undefined contents.
    func take(_ byteCount: Int) -> UnsafeMutableRawPointer {
        let size = Self.blockSize(byteCount)
        usedBytes += size
        peakBytes = max(peakBytes, usedBytes)
        if let block = free[size]?.popLast() { return block }
        var block: UnsafeMutableRawPointer?
        let alignment = size >= Self.hugePageSize ? Self.hugePageSize : Self.alignment
        guard posix_memalign(&block, alignment, size) == 0, let block else {
            fatalError("out of memory: \(size) bytes for a tensor")
        }
        if size >= Self.hugePageSize { madvise(block, size, MADV_HUGEPAGE) }
        return block
    }

    /// Takes back the block that `take(byteCount)` gave.
    func give(_ block: UnsafeMutableRawPointer, _ byteCount: Int) {
        let size = Self.blockSize(byteCount)
        usedBytes -= size
        free[size, default: []].append(block)
    }
}
