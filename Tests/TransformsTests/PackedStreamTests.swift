import CheckpointIO
import TestSupport
import Testing

@testable import Transforms

@Suite struct PackedStreamTests {
    private struct Refusal: Error {}

    /// Bytes that differ from tensor to tensor.
    private func content(_ count: Int, _ tensor: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 / 100) &* 31 &+ $0 &+ tensor) }
    }

    /// Tensors of every kind: stored and made, empty, less and more than a frame, rows that divide no frame, rows that
    /// are longer than a frame.
    private func contents(
        in folder: String
    ) throws -> (tensors: [[UInt8]], contents: [TensorStream.Content], file: MappedFile) {
        let rows = [(0, 5), (1, 3), (3, 0), (777, 4099), (2, (1 << 20) + 77), (5, 1 << 20), (40, 1)]
        let made = rows.enumerated().map { content($1.0 * $1.1, $0) }
        let stored = [0, 1, 1 << 20, (3 << 20) + 5].map { content($0, 100 + $0) }
        try writeFile(folder + "/stored", stored.flatMap(\.self))
        let file = try MappedFile.open(folder + "/stored")
        var (tensors, contents): ([[UInt8]], [TensorStream.Content]) = ([], [])
        var start = 0
        for index in 0..<max(made.count, stored.count) {
            if index < stored.count {
                tensors.append(stored[index])
                contents.append(.stored(file, start..<start + stored[index].count))
                start += stored[index].count
            }
            let (bytes, (count, width)) = (made[index], rows[index])
            tensors.append(bytes)
            contents.append(
                .made(
                    TensorStream.Rows(count: count, elementCount: width, byteCount: width) {
                        { rows, _, target in
                            target.copyBytes(from: bytes[rows.lowerBound * width..<rows.upperBound * width])
                        }
                    }))
        }
        return (tensors, contents, file)
    }

    @Test func tensorsOfAnyKindAreTheSameBytesWithAnyThreads() throws {
        try withTemporaryFolder { folder in
            let (tensors, contents, file) = try contents(in: folder)
            var first: [UInt8]?
            for threads in [1, 2, 5] {
                let path = folder + "/\(threads).zst"
                let writer = SeekableZstdWriter(try AtomicFileWriter(path), threadCount: threads)
                try writer.append([1, 2, 3])
                var told: [Int] = []
                let stream = PackedStream(contents)
                try stream.write(to: writer, threadCount: threads) { told.append($0) }
                try writer.finish(rechecking: [file])
                #expect(told == told.sorted() && told.last == stream.byteCount)
                let packed = try readSmallFile(path, limit: 1 << 26)
                #expect(packed == first ?? packed, "\(threads) threads")
                first = packed
                let unpacked = try Zstd.decompress(file: path, limit: 1 << 26)
                #expect(unpacked == [1, 2, 3] + tensors.flatMap(\.self))
            }
        }
    }

    @Test func errorOfATensorEndsTheStream() throws {
        try withTemporaryFolder { folder in
            for rowBytes in [16, 2 << 20] {
                let bad = TensorStream.Rows(count: 3, elementCount: rowBytes, byteCount: rowBytes) {
                    { _, _, _ in throw Refusal() }
                }
                #expect(throws: Refusal.self) {
                    let writer = SeekableZstdWriter(try AtomicFileWriter(folder + "/x.zst"), threadCount: 2)
                    try PackedStream([.made(bad)]).write(to: writer, threadCount: 2)
                }
            }
            let left = try names(in: folder)
            #expect(left.isEmpty)
        }
    }
}
