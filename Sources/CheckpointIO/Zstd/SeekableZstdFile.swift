import CZstd
import Glibc

/// A Zstandard file, mapped, whose content can be read from any place: one with a seek table frame by frame, a small
/// one without as a whole.
final class SeekableZstdFile: Sendable {
    /// Bytes of content that a frame may have, so that taking a tensor never needs much memory beside it; and of a
    /// whole file without a seek table.
    static let contentLimit = 64 << 20

    /// The mapped file.
    let source: MappedFile
    /// Bytes of all content.
    let byteCount: Int
    /// Where each frame starts in the file, and where the last one ends.
    private let packedStarts: [Int]
    /// Where each frame's content starts, and where the last one's ends.
    private let contentStarts: [Int]
    private let checksums: [UInt32?]
    /// The content of a file without a seek table.
    private let whole: [UInt8]?

    var path: String { source.path }

    /// Whether `bytes`, the start of a file, are those of a Zstandard frame or a skippable one.
    static func isZstandard(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard bytes.count >= 4 else { return false }
        let magic = UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self))
        return magic == 0xFD2F_B528 || magic & 0xFFFF_FFF0 == 0x184D_2A50
    }

    /// Checks the seek table of `source`, or unpacks it where it has none.
    ///
    /// Throws `malformed` for a table that does not fit the file and for frames over `frameLimit` bytes of content, and
    /// `unsupported` for more than `contentLimit` without a table.
    init(_ source: MappedFile, frameLimit: Int = SeekableZstdFile.contentLimit) throws(CheckpointError) {
        self.source = source
        let path = source.path
        let table = source.withBytes { bytes in
            Result { () throws(CheckpointError) in try SeekTable(file: path, bytes: bytes) }
        }
        guard let table = try table.get() else {
            let content = try Self.unpackedWhole(source)
            whole = content
            byteCount = content.count
            (packedStarts, contentStarts, checksums) = ([], [], [])
            return
        }
        whole = nil
        var (packed, content) = ([0], [0])
        packed.reserveCapacity(table.entries.count + 1)
        content.reserveCapacity(table.entries.count + 1)
        for (index, entry) in table.entries.enumerated() {
            guard entry.unpacked <= frameLimit else {
                throw .malformed(
                    file: path,
                    problem: "frame \(index) holds \(entry.unpacked) bytes, more than the \(frameLimit) allowed; "
                        + "unpack the file with 'zstd -d' and pack it with 'tspeft convert'")
            }
            // Sums of fewer than 2^32 numbers of 32 bits.
            packed.append(packed[index] + Int(entry.packed))
            content.append(content[index] + Int(entry.unpacked))
        }
        packedStarts = packed
        contentStarts = content
        checksums = table.entries.map(\.checksum)
        byteCount = content[table.entries.count]
    }

    private static func unpackedWhole(_ source: MappedFile) throws(CheckpointError) -> [UInt8] {
        do {
            return try Zstd.decompress(source, limit: contentLimit)
        } catch .tooLarge {
            throw .unsupported(
                file: source.path,
                problem: "has no seek table at its end, so that tensors cannot be taken singly, and more than "
                    + "\(contentLimit) bytes of content; unpack it with 'zstd -d' and pack it with 'tspeft convert' "
                    + "(or is it truncated?)")
        }
    }

    /// The number of frames; 0 for a file that was unpacked as a whole.
    var frameCount: Int { checksums.count }

    /// Where the content of a frame lies in all content.
    func contentRange(of frame: Int) -> Range<Int> { contentStarts[frame]..<contentStarts[frame + 1] }

    /// The frames whose content overlaps `range`, those without content between them too.
    func frames(overlapping range: Range<Int>) -> Range<Int> {
        guard !range.isEmpty, frameCount > 0 else { return 0..<0 }
        return frame(at: range.lowerBound)..<frame(at: range.upperBound - 1) + 1
    }

    /// The frame that holds byte `place` of the content.
    private func frame(at place: Int) -> Int {
        var (low, high) = (0, frameCount)
        while high - low > 1 {
            let middle = (low + high) / 2
            if contentStarts[middle] <= place { low = middle } else { high = middle }
        }
        return low
    }

    /// Unpacks a frame into `destination`, which has exactly its content's size.
    ///
    /// Throws `malformed` unless there is one sound frame that fills its place in the file and `destination`, needs no
    /// dictionary, and has the checksum that the table gives.
    func unpack(_ frame: Int, into destination: UnsafeMutableRawBufferPointer) throws(CheckpointError) {
        precondition(destination.count == contentRange(of: frame).count, "a destination of the content's size")
        guard destination.count > 0 else { return }
        if let problem = source.withBytes({ bytes in
            let range = packedStarts[frame]..<packedStarts[frame + 1]
            return Self.unpack(UnsafeRawBufferPointer(rebasing: bytes[range]), checksums[frame], into: destination)
        }) {
            throw .malformed(file: path, problem: "frame \(frame), at byte \(packedStarts[frame]), \(problem)")
        }
    }

    /// What is wrong with a frame; nil where all of it was unpacked.
    private static func unpack(
        _ packed: UnsafeRawBufferPointer, _ checksum: UInt32?, into destination: UnsafeMutableRawBufferPointer
    ) -> String? {
        let size = ZSTD_findFrameCompressedSize(packed.baseAddress, packed.count)
        if ZSTD_isError(size) != 0 {
            return "is not a sound Zstandard frame: \(String(cString: ZSTD_getErrorName(size)))"
        }
        guard size == packed.count else { return "has \(size) bytes; the seek table says \(packed.count)" }
        guard ZSTD_getDictID_fromFrame(packed.baseAddress, packed.count) == 0 else { return "needs a dictionary" }
        // The lower half of XXH64 is also what the frame itself carries at its end, if its header has the flag.
        let hasChecksum = packed[4] & 0x04 != 0
        if let checksum, hasChecksum {
            let own = UInt32(littleEndian: packed.loadUnaligned(fromByteOffset: packed.count - 4, as: UInt32.self))
            guard own == checksum else { return "has another checksum than the seek table says" }
        }
        // One call with the whole destination needs no window, whatever the frame asks for.
        let count = ZSTD_decompress(destination.baseAddress, destination.count, packed.baseAddress, packed.count)
        if ZSTD_isError(count) != 0 {
            return "cannot be unpacked to the \(destination.count) bytes that the seek table says: "
                + String(cString: ZSTD_getErrorName(count))
        }
        guard count == destination.count else {
            return "holds \(count) bytes; the seek table says \(destination.count)"
        }
        return nil
    }

    /// A range of the content, in memory of its own.
    func read(_ range: Range<Int>) throws(CheckpointError) -> [UInt8] {
        precondition(range.lowerBound >= 0 && range.upperBound <= byteCount, "a range outside the content")
        var failure: CheckpointError?
        let bytes = [UInt8](unsafeUninitializedCapacity: range.count) { buffer, count in
            do throws(CheckpointError) {
                try read(range, into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: range.count))
                count = range.count
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Unpacks a range of the content to `destination`, which has its size.
    func read(_ range: Range<Int>, into destination: UnsafeMutableRawBufferPointer) throws(CheckpointError) {
        if let whole {
            whole.withUnsafeBytes { destination.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[range])) }
            return
        }
        for frame in frames(overlapping: range) {
            try read(frame, of: range, into: destination)
        }
    }

    /// Unpacks what a frame has of `range`, whose place is `destination`.
    func read(
        _ frame: Int, of range: Range<Int>, into destination: UnsafeMutableRawBufferPointer
    ) throws(CheckpointError) {
        let content = contentRange(of: frame)
        let wanted = content.clamped(to: range)
        guard !wanted.isEmpty else { return }
        let place = wanted.lowerBound - range.lowerBound..<wanted.upperBound - range.lowerBound
        let target = UnsafeMutableRawBufferPointer(rebasing: destination[place])
        if wanted == content { return try unpack(frame, into: target) }
        let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: content.count, alignment: 64)
        defer { scratch.deallocate() }
        try unpack(frame, into: scratch)
        let part = wanted.lowerBound - content.lowerBound..<wanted.upperBound - content.lowerBound
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: scratch[part]))
    }
}
