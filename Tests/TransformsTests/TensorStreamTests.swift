import CheckpointIO
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Transforms

@Suite struct TensorStreamTests {
    private struct Refusal: Error {}

    /// A safetensors file with an F32 tensor for each row count and width, of the numbers 0, 1, 2, ...
    private func makeInput(_ shapes: [[Int]], in folder: String) throws -> Checkpoint {
        let tensors = shapes.enumerated().map { index, shape in
            (name: "t\(index)", shape: shape, values: (0..<shape.reduce(1, *)).map { Float($0 % 8191) })
        }
        try SafetensorsWriter.write(tensors, to: folder + "/in.safetensors")
        return try Checkpoint.open(folder + "/in.safetensors")
    }

    private func entries(_ checkpoint: Checkpoint) -> [SafetensorsEntry] {
        checkpoint.tensors.map { SafetensorsEntry(name: $0.name, dtype: .f32, shape: $0.shape) }
    }

    /// Rows that are those of `record` with `offset` added.
    private func shifted(_ record: TensorRecord, of checkpoint: Checkpoint, by offset: Float) -> TensorStream.Rows {
        let width = record.shape.dropFirst().reduce(1, *)
        return TensorStream.Rows(
            count: record.shape.first ?? 1, elementCount: width, byteCount: width * 4,
            source: (checkpoint.mapping(of: record), record.byteRange)
        ) {
            { rows, workspace, bytes in
                let values = workspace.floats(0, rows.count * width)
                try checkpoint.readFloats(of: record, rows: record.shape.isEmpty ? nil : rows, into: values)
                for index in values.indices { values[index] += offset }
                bytes.copyMemory(from: UnsafeRawBufferPointer(values))
            }
        }
    }

    @Test(arguments: [1, 2, 3, 7])
    func oddSizesCopiedAndMadeAreAllWrittenAtTheirPlaces(threads: Int) throws {
        try withTemporaryFolder { folder in
            // More than one piece, no element, one element, odd rows, a row beyond a piece.
            let input = try makeInput(
                [[1 << 12, 257], [], [0, 3], [1], [17, 3], [2, (1 << 20) + 3], [5], [3, 0]], in: folder)
            let layout = try SafetensorsWriter.layout(entries(input), file: "out")
            let file = try OutputTensorFile(AtomicFileWriter(folder + "/out.safetensors"), layout: layout)
            let items = input.tensors.enumerated().map { index, record in
                index % 2 == 0
                    ? file.item(index, .made(shifted(record, of: input, by: 0.5)))
                    : file.item(index, .stored(input.mapping(of: record), record.byteRange))
            }
            var told: [Int] = []
            let stream = TensorStream(items)
            try stream.write(threadCount: threads) { done, total in
                #expect(total == stream.byteCount)
                told.append(done)
            }
            try file.commit()
            #expect(told == told.sorted() && told.last == stream.byteCount)
            let output = try Checkpoint.open(folder + "/out.safetensors")
            for (index, record) in input.tensors.enumerated() {
                let expected = try input.floats(of: record).map { index % 2 == 0 ? $0 + 0.5 : $0 }
                #expect(try output.floats(of: try #require(output.record(record.name))) == expected, "\(record)")
            }
        }
    }

    /// Frames of each tensor's own are unpacked where they are written from; one that several tensors share is unpacked
    /// for all of them.
    @Test(arguments: [true, false]) func packedTensorsAreCopied(hasFramesOfItsOwn: Bool) throws {
        try withTemporaryFolder { folder in
            let input = try makeInput([[3], [1 << 10, 1 << 9], [0], [777, 1031], [], [5, 7]], in: folder)
            let path = folder + "/in.safetensors.zst"
            if hasFramesOfItsOwn {
                try SafetensorsZstd.pack(SafetensorsFile.open(folder + "/in.safetensors"), to: AtomicFileWriter(path))
            } else {
                let writer = SeekableZstdWriter(try AtomicFileWriter(path))
                try writer.append(readSmallFile(folder + "/in.safetensors", limit: 1 << 26))
                try writer.finish()
            }
            let packed = try Checkpoint.open(path)
            let layout = try SafetensorsWriter.layout(entries(packed), file: "out")
            let file = try OutputTensorFile(AtomicFileWriter(folder + "/out.safetensors"), layout: layout)
            let items = packed.tensors.enumerated().map { index, record in
                file.item(index, .stored(packed.mapping(of: record), record.byteRange))
            }
            try TensorStream(items).write(threadCount: 3)
            try file.commit()
            let output = try Checkpoint.open(folder + "/out.safetensors")
            for record in input.tensors {
                let copy = try output.floats(of: try #require(output.record(record.name)))
                #expect(try copy == input.floats(of: record), "\(record)")
            }
        }
    }

    @Test func tensorIsPreparedOnceHoweverManyPiecesAndThreadsItHas() throws {
        try withTemporaryFolder { folder in
            let input = try makeInput([[1 << 13, 1 << 10]], in: folder)
            let layout = try SafetensorsWriter.layout(entries(input), file: "out")
            let file = try OutputTensorFile(AtomicFileWriter(folder + "/out.safetensors"), layout: layout)
            let begun = Mutex(0)
            let rows = TensorStream.Rows(count: 1 << 13, elementCount: 1 << 10, byteCount: 1 << 12) {
                begun.withLock { $0 += 1 }
                return { _, _, bytes in bytes.initializeMemory(as: UInt8.self, repeating: 7) }
            }
            try TensorStream([file.item(0, .made(rows))]).write(threadCount: 4)
            try file.commit()
            #expect(begun.withLock { $0 } == 1)
            let bytes = try readSmallFile(folder + "/out.safetensors", limit: 1 << 26)
            #expect(bytes[layout.ranges[0]].allSatisfy { $0 == 7 })
        }
    }

    @Test func errorOfOneTensorEndsTheStreamAndLeavesNothing() throws {
        try withTemporaryFolder { folder in
            let input = try makeInput([[64, 64], [64, 64], [64, 64]], in: folder)
            do {
                let layout = try SafetensorsWriter.layout(entries(input), file: "out")
                let file = try OutputTensorFile(AtomicFileWriter(folder + "/out.safetensors"), layout: layout)
                let bad = TensorStream.Rows(count: 64, elementCount: 64, byteCount: 256) {
                    { _, _, _ in throw Refusal() }
                }
                let unprepared = TensorStream.Rows(count: 64, elementCount: 64, byteCount: 256) { throw Refusal() }
                let record = input.tensors[0]
                let good = file.item(0, .made(shifted(record, of: input, by: 1)))
                #expect(throws: Refusal.self) {
                    try TensorStream([good, file.item(1, .made(bad))]).write(threadCount: 2)
                }
                #expect(throws: Refusal.self) {
                    try TensorStream([good, file.item(2, .made(unprepared))]).write(threadCount: 2)
                }
            }
            #expect(try names(in: folder) == ["in.safetensors"])
        }
    }

    @Test func fileThatIsNotReservedInFullIsRefusedAtOnce() throws {
        try withTemporaryFolder { folder in
            let layout = TensorFileLayout(header: [1, 2, 3], ranges: [], byteCount: Int(Int64.max))
            #expect(throws: CheckpointError.writeFailed(path: folder + "/out", code: EFBIG)) {
                let writer = try AtomicFileWriter(folder + "/out")
                _ = try OutputTensorFile(writer, layout: layout)
            }
            let left = try names(in: folder)
            #expect(left.isEmpty)
        }
    }
}
