/// Memory of one thread that makes rows: grown where needed, then used again.
package final class RowWorkspace {
    private var buffers: [UnsafeMutableRawBufferPointer] = []
    /// The slot of the bytes that a stream writes or unpacks; slots of floats come after it.
    private static let outputSlot = 0

    init() {}

    deinit { for buffer in buffers { buffer.deallocate() } }

    /// `count` floats with any values; each `slot` (from 0 on) is a buffer of its own, valid until it is asked for
    /// again.
    package func floats(_ slot: Int, _ count: Int) -> UnsafeMutableBufferPointer<Float> {
        UnsafeMutableBufferPointer(
            start: memory(slot + 1, count * MemoryLayout<Float>.stride).baseAddress!
                .bindMemory(to: Float.self, capacity: count), count: count)
    }

    func bytes(_ count: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: memory(Self.outputSlot, count)[..<count])
    }

    private func memory(_ slot: Int, _ byteCount: Int) -> UnsafeMutableRawBufferPointer {
        while buffers.count <= slot { buffers.append(.allocate(byteCount: 64, alignment: 64)) }
        if buffers[slot].count < byteCount {
            buffers[slot].deallocate()
            buffers[slot] = .allocate(byteCount: byteCount, alignment: 64)
        }
        return buffers[slot]
    }
}
