import Foundation
import TensorCore
import TestSupport
import Testing

@testable import CheckpointIO

/// Files that hold the same tensors, packed and not.
private struct Pair {
    let plain: String
    let packed: String

    /// Random tensors of every type, among them empty ones, scalars and one of several frames.
    init(in folder: String, seed: UInt64) throws {
        var stream = RandomStream(seed: seed)
        func below(_ count: Int) -> Int { Int(stream.nextUniform() * Double(count)) }
        var entries: [SafetensorsEntry] = []
        let types = DType.allCases
        for index in 0..<(3 + below(20)) {
            let shape = (0..<below(4)).map { _ in below(9) }
            entries.append(SafetensorsEntry(name: "tensor.\(index)", dtype: types[below(types.count)], shape: shape))
        }
        entries.append(SafetensorsEntry(name: "large", dtype: .u8, shape: [2 * SeekableZstdWriter.frameByteCount + 3]))
        (plain, packed) = (folder + "/\(seed).safetensors", folder + "/\(seed).safetensors.zst")
        let writer = try SafetensorsWriter(AtomicFileWriter(plain), entries: entries, metadata: [("seed", "\(seed)")])
        for entry in entries {
            // Every eighth byte is random, so that packing has something to do.
            let pattern = (0..<509).map { $0 % 8 == 0 ? UInt8(below(256)) : UInt8(0x3F) }
            var bytes = [UInt8](repeating: 0, count: entry.byteCount)
            for place in bytes.indices { bytes[place] = pattern[place % pattern.count] }
            try bytes.withUnsafeBytes { try writer.append($0) }
        }
        try writer.finish()
        try SafetensorsZstd.pack(SafetensorsFile.open(plain), to: AtomicFileWriter(packed))
    }
}

/// A small packed file: header, a tensor of 64 bytes, one of 3 and an empty one.
private func smallFile(in folder: String) throws -> String {
    let path = folder + "/small.safetensors.zst"
    let entries = [
        SafetensorsEntry(name: "a", dtype: .f32, shape: [4, 4]), SafetensorsEntry(name: "b", dtype: .u8, shape: [3]),
        SafetensorsEntry(name: "none", dtype: .bf16, shape: [0, 2]),
    ]
    let writer = try SafetensorsZstdWriter(AtomicFileWriter(path), entries: entries)
    try (0..<67).map { UInt8($0) }.withUnsafeBytes { try writer.append($0) }
    try writer.finish()
    return path
}

private func bytes(_ source: some TensorSource, _ name: String) throws -> [UInt8] {
    try source.withBytes(of: source.requiredRecord(name)) { Array($0) }
}

/// Opens a file and reads all of its tensors.
private func readAll(_ path: String) throws {
    let file = try Checkpoint.open(path)
    for tensor in file.tensors { _ = try file.withBytes(of: tensor) { $0.count } }
}

@Suite struct SafetensorsZstdTests {
    @Test(arguments: 0..<12) func anyTreeSurvivesPackingToTheByte(seed: UInt64) throws {
        try withTemporaryFolder { folder in
            let pair = try Pair(in: folder, seed: seed)
            let back = folder + "/back.safetensors"
            try SafetensorsZstd.unpack(pair.packed, to: AtomicFileWriter(back))
            #expect(try readFile(back) == readFile(pair.plain))
            #expect(try readFile(pair.packed).count < readFile(pair.plain).count)
            let (plain, packed) = try (SafetensorsFile.open(pair.plain), Checkpoint.open(pair.packed))
            #expect(packed.tensors == plain.tensors)
            #expect(packed.layout == .huggingFace(directory: folder))
            for tensor in plain.tensors.reversed() {
                #expect(try bytes(packed, tensor.name) == bytes(plain, tensor.name), "\(tensor.name)")
            }
        }
    }

    @Test func streamOfEntriesGivesTheSameFileAsPacking() throws {
        try withTemporaryFolder { folder in
            let pair = try Pair(in: folder, seed: 99)
            let plain = try SafetensorsFile.open(pair.plain)
            let entries = plain.tensors.compactMap { tensor in
                if case .plain(let type) = tensor.encoding {
                    SafetensorsEntry(name: tensor.name, dtype: type, shape: tensor.shape)
                } else {
                    nil
                }
            }
            let path = folder + "/stream.safetensors.zst"
            let writer = try SafetensorsZstdWriter(
                AtomicFileWriter(path), entries: entries, metadata: plain.metadata)
            for (index, tensor) in plain.tensors.enumerated() {
                if index % 2 == 0 {
                    try writer.append(tensor, of: plain)
                } else {
                    try plain.withBytes(of: tensor) { try writer.append($0) }
                }
            }
            try writer.finish()
            let back = folder + "/back.safetensors"
            try SafetensorsZstd.unpack(path, to: AtomicFileWriter(back))
            let again = try SafetensorsFile.open(back)
            for tensor in plain.tensors { #expect(try bytes(again, tensor.name) == bytes(plain, tensor.name)) }
        }
    }

    @Test func oneTensorIsReadWithoutTheOthers() throws {
        try withTemporaryFolder { folder in
            let path = try smallFile(in: folder)
            let packed = try SeekableZstdFile(MappedFile.open(path))
            #expect(packed.frameCount == 3)
            // The middle of the frame of 'a' is spoilt: 'b' does not care.
            var contents = try readFile(path)
            let start = contents.firstRange(of: [0x28, 0xB5, 0x2F, 0xFD], after: 4)
            contents[start + 20] ^= 0xFF
            try writeFile(path, contents)
            let file = try Checkpoint.open(path)
            #expect(try bytes(file, "b") == [64, 65, 66])
            let error = #expect(throws: CheckpointError.self) { try bytes(file, "a") }
            #expect(error?.exitStatus == .badData)
            #expect("\(error!)".contains("frame 1, at byte \(start), "), "\(error!)")
            #expect(throws: CheckpointError.self) { try file.floats(of: file.requiredRecord("a")) }
        }
    }

    @Test func droppedBytesAreUnpackedAgain() throws {
        try withTemporaryFolder { folder in
            let pair = try Pair(in: folder, seed: 5)
            let (plain, packed) = try (SafetensorsFile.open(pair.plain), SafetensorsFile.open(pair.packed))
            let large = try packed.requiredRecord("large")
            for _ in 0..<3 {
                #expect(try bytes(packed, "large") == bytes(plain, "large"))
                packed.mapping(of: large).advise(0..<packed.mapping(of: large).byteCount, willNeed: false)
            }
            let kept = try packed.withBytes(of: large) { held in
                packed.mapping(of: large).advise(large.byteRange, willNeed: false)
                return Array(held)
            }
            #expect(try kept == bytes(plain, "large"))
        }
    }

    @Test func manyThreadsMayReadAtOnce() throws {
        try withTemporaryFolder { folder in
            let pair = try Pair(in: folder, seed: 6)
            let (plain, packed) = try (SafetensorsFile.open(pair.plain), SafetensorsFile.open(pair.packed))
            let wanted = try bytes(plain, "large")
            let large = try packed.requiredRecord("large")
            DispatchQueue.concurrentPerform(iterations: 16) { item in
                let found = try? bytes(packed, "large")
                #expect(found == wanted)
                if item % 3 == 0 { packed.mapping(of: large).advise(large.byteRange, willNeed: false) }
            }
        }
    }

    @Test func directoryMayHoldAPackedModel() throws {
        try withTemporaryFolder { folder in
            let plain = try SafetensorsFile.open(fixture("tiny-llama/model.safetensors"))
            try SafetensorsZstd.pack(plain, to: AtomicFileWriter(folder + "/model.safetensors.zst"))
            try writeFile(folder + "/config.json", readFile(fixture("tiny-llama/config.json")))
            let model = try Checkpoint.open(folder)
            #expect(model.tensors == plain.tensors)
            #expect(model.configuration != nil)
        }
    }

    @Test func plainFrameIsReadAsAWhole() throws {
        try withTemporaryFolder { folder in
            let pair = try Pair(in: folder, seed: 7)
            let path = folder + "/plain.safetensors.zst"
            try writeFile(path, Zstd.compress(readFile(pair.plain)))
            let (plain, packed) = try (SafetensorsFile.open(pair.plain), SafetensorsFile.open(path))
            for tensor in plain.tensors { #expect(try bytes(packed, tensor.name) == bytes(plain, tensor.name)) }
            let large = [UInt8](repeating: 0, count: SeekableZstdFile.contentLimit + 1)
            try writeFile(path, Zstd.compress(large))
            let error = #expect(throws: CheckpointError.self) { try SafetensorsFile.open(path) }
            #expect("\(error!)".contains("'tspeft convert'"))
        }
    }

    @Test(arguments: [0, 1, 1 << 17, 1 << 18, 1 << 18 + 1]) func contentMayFillWholeBlocks(count: Int) throws {
        try withTemporaryFolder { folder in
            let content = [UInt8](repeating: 7, count: count)
            try writeFile(folder + "/x.zst", Zstd.compress(content))
            #expect(try Zstd.decompress(file: folder + "/x.zst", limit: count) == content)
            try writeFile(folder + "/x.zst", Zstd.compress(content) + Zstd.compress([1]))
            #expect(try Zstd.decompress(file: folder + "/x.zst", limit: count + 1) == content + [1])
        }
    }

    @Test func framesOfAnotherProgramNeedNotFollowTensors() throws {
        try withTemporaryFolder { folder in
            let pair = try Pair(in: folder, seed: 8)
            let content = try readFile(pair.plain)
            var (file, entries): ([UInt8], [SeekTable.Entry]) = ([], [])
            func add(_ frame: [UInt8], _ unpacked: Int) {
                file += frame
                entries.append(.init(packed: UInt32(frame.count), unpacked: UInt32(unpacked), checksum: 0))
            }
            let skippable: [UInt8] = [0x50, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 7, 7]
            add(skippable, 0)
            for start in stride(from: 0, to: content.count, by: 70_001) {
                let part = Array(content[start..<min(content.count, start + 70_001)])
                add(Zstd.compress(part), part.count)
                add(skippable, 0)
            }
            let path = folder + "/other.safetensors.zst"
            try writeFile(path, file + SeekTable.bytes(entries))
            let (plain, packed) = try (SafetensorsFile.open(pair.plain), SafetensorsFile.open(path))
            for tensor in plain.tensors {
                #expect(try bytes(packed, tensor.name) == bytes(plain, tensor.name))
                packed.mapping(of: tensor).advise(tensor.byteRange, willNeed: false)
            }
            for tensor in plain.tensors { #expect(try bytes(packed, tensor.name) == bytes(plain, tensor.name)) }
        }
    }

    @Test(arguments: ["seekable", "plain"]) func fileOfAnotherProgramIsRead(name: String) throws {
        let packed = try Checkpoint.open(fixture("zstd/\(name).safetensors.zst"))
        let plain = try Checkpoint.open(fixture("formats/dtypes.safetensors"))
        #expect(packed.tensors == plain.tensors)
        for tensor in plain.tensors { #expect(try bytes(packed, tensor.name) == bytes(plain, tensor.name)) }
    }

    @Test func truncationAtAnyByteIsRefused() throws {
        try withTemporaryFolder { folder in
            let contents = try readFile(smallFile(in: folder))
            let path = folder + "/cut.safetensors.zst"
            // Without its table the file is sound, and read as a whole.
            let tableSize = SeekTable.bytes([]).count + 12 * 3
            for count in contents.indices where count != contents.count - tableSize {
                try writeFile(path, Array(contents[..<count]))
                let error = #expect(throws: CheckpointError.self, "\(count) bytes") { try readAll(path) }
                #expect(error?.exitStatus == .badData || error?.exitStatus == .missingInput, "\(count) bytes")
            }
        }
    }

    @Test func noChangedByteIsReadAsSomethingElse() throws {
        try withTemporaryFolder { folder in
            let contents = try readFile(smallFile(in: folder))
            let wanted = try ["a", "b"].map { try bytes(Checkpoint.open(folder + "/small.safetensors.zst"), $0) }
            let path = folder + "/changed.safetensors.zst"
            for place in contents.indices {
                for change: UInt8 in [0xFF, 0x01, 0x80] {
                    var changed = contents
                    changed[place] ^= change
                    try writeFile(path, changed)
                    guard let file = try? Checkpoint.open(path),
                        let found = try? ["a", "b"].map({ try bytes(file, $0) })
                    else { continue }
                    #expect(found == wanted, "byte \(place)")
                }
            }
        }
    }
}

extension [UInt8] {
    /// Where `pattern` begins first at or after `start`.
    fileprivate func firstRange(of pattern: [UInt8], after start: Int) -> Int {
        (start..<count - pattern.count).first { Array(self[$0..<$0 + pattern.count]) == pattern }!
    }
}

@Test func frameIsFreedWhenAllItsPiecesWereDropped() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/x.zst"
        let writer = SeekableZstdWriter(try AtomicFileWriter(path))
        let frame = SeekableZstdWriter.frameByteCount
        let bytes = (0..<3 * frame).map { UInt8(truncatingIfNeeded: $0 / 1000) }
        try writer.append(bytes)
        try writer.finish()
        let memory = UnsafeMutableRawBufferPointer(
            start: mmap(nil, bytes.count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), count: bytes.count
        )
        defer { munmap(memory.baseAddress, memory.count) }
        let content = try UnpackedContent(SeekableZstdFile(MappedFile.open(path)), 0..<bytes.count, memory: memory)
        let half = frame / 2
        let pieces = (0..<6).map { $0 * half..<($0 + 1) * half }
        // The piece at a frame's end is done before another begins.
        for piece in [1, 0, 3, 5, 4, 2] {
            try content.hold(pieces[piece])
            #expect(memory[pieces[piece]].elementsEqual(bytes[pieces[piece]]))
            content.release(part: pieces[piece])
            content.drop(pieces[piece])
        }
        #expect(content.residentFrames == 0)
        // Whole frames are unpacked elsewhere, parts of them are not.
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * frame, alignment: 64)
        defer { copy.deallocate() }
        #expect(try content.unpackWhole(frame..<3 * frame, into: copy))
        #expect(copy.elementsEqual(bytes[frame...]))
        for part in [half..<frame + half, 0..<frame + half, half..<2 * frame] {
            let place = UnsafeMutableRawBufferPointer(rebasing: copy[..<part.count])
            #expect(try !content.unpackWhole(part, into: place))
        }
        #expect(content.pieces(of: 0..<3 * frame, byteLimit: 2 * frame) == [0..<2 * frame, 2 * frame..<3 * frame])
        #expect(
            content.pieces(of: half..<2 * frame + 1, byteLimit: frame - 1)
                == [half..<frame, frame..<2 * frame, 2 * frame..<2 * frame + 1])
        #expect(content.pieces(of: half..<half, byteLimit: frame).isEmpty)
        #expect(content.residentFrames == 0)
        // All of a frame is dropped while another still holds it.
        try content.hold(pieces[0])
        try content.hold(0..<frame)
        content.release(part: 0..<frame)
        content.drop(0..<frame)
        #expect(content.residentFrames == 1 && memory[pieces[0]].elementsEqual(bytes[pieces[0]]))
        content.release(part: pieces[0])
        #expect(content.residentFrames == 0)
        // What was not dropped stays.
        try content.hold(0..<bytes.count)
        content.release(part: 0..<bytes.count)
        content.drop(pieces[1])
        #expect(content.residentFrames == 3)
        DispatchQueue.concurrentPerform(iterations: 6) { content.drop(pieces[$0]) }
        #expect(content.residentFrames == 0)
    }
}
