import CheckpointIO
import Glibc
import TensorCore
import TestSupport
import Testing

/// A GGUF file that breaks a rule, and the sentence that refuses it, after the file's name.
private struct Broken: Sendable, CustomTestStringConvertible {
    let sentence: String
    let status: TensorCore.ExitStatus
    let build: @Sendable (inout GGUFBuilder) -> Void

    init(
        _ sentence: String, status: TensorCore.ExitStatus = .badData,
        _ build: @escaping @Sendable (inout GGUFBuilder) -> Void
    ) {
        self.sentence = sentence
        self.status = status
        self.build = build
    }

    var testDescription: String { sentence }
}

private func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] { GGUFBuilder.bytes(value) }

/// An array's element type, stated count and what follows.
private func array(_ type: UInt32, count: UInt64, _ elements: [UInt8] = []) -> [UInt8] {
    bytes(type) + bytes(count) + elements
}

private let brokenHeaders: [Broken] = [
    Broken("does not start with 'GGUF'") { $0.magic = Array("GGML".utf8) },
    Broken("has GGUF version 0; versions 2 and 3 are known", status: .unsupported) { $0.version = 0 },
    Broken("has GGUF version 1; versions 2 and 3 are known", status: .unsupported) { $0.version = 1 },
    Broken("has GGUF version 4; versions 2 and 3 are known", status: .unsupported) { $0.version = 4 },
    Broken("is a big-endian GGUF file, which tspeft cannot read", status: .unsupported) { $0.version = 0x0300_0000 },
    Broken("the number of tensors is 9223372036854775808, more than the file's 32 bytes can hold") {
        $0.statedTensorCount = 1 << 63
    },
    Broken("the number of metadata pairs is 18446744073709551615, more than the file's 32 bytes can hold") {
        $0.statedPairCount = UInt64.max
    },
    Broken("the file ends after 64 bytes, inside the length of metadata key 1") {
        $0.add("0123456789012345678", integer: 1)
        $0.statedPairCount = 2
    },
]

private let brokenMetadata: [Broken] = [
    Broken("metadata key 0 is empty") { $0.add("", integer: 1) },
    Broken("the metadata key 'größe' is not ASCII") { $0.add("größe", integer: 1) },
    Broken("metadata key 0 has 65536 bytes, more than the 65535 allowed") {
        $0.add(String(repeating: "k", count: 65536), integer: 1)
    },
    Broken("the metadata key 'a' stands there twice") {
        $0.add("a", integer: 1)
        $0.add("b", integer: 1)
        $0.add("a", text: "x")
    },
    Broken("the value of metadata key 'a' has the unknown type 13") { $0.add("a", type: 13, value: [0]) },
    Broken("the value of metadata key 'a' has the unknown type 4294967295") { $0.add("a", type: .max, value: [0]) },
    Broken("the value of metadata key 'a' has the byte 2, not a truth value") { $0.add("a", type: 7, value: [2]) },
    Broken("the array of metadata key 'a' has the byte 255, not a truth value") {
        let flags = [UInt8](repeating: 1, count: 18) + [255]
        $0.add("a", type: 9, value: array(7, count: 19, flags))
    },
    Broken("the length of the value of metadata key 'a' is 1099511627776, more than the file's 64 bytes can hold") {
        $0.add("a", type: 8, value: bytes(UInt64(1) << 40))
    },
    Broken("the value of metadata key 'a' is not valid UTF-8") {
        $0.add("a", type: 8, value: bytes(UInt64(2)) + [0xC3, 0x28])
    },
    Broken("the length of the array of metadata key 'a' is 2305843009213693952, more than the file's 64 bytes can hold")
    {
        $0.add("a", type: 9, value: array(6, count: 1 << 61))
    },
    Broken("the length of the array of metadata key 'a' is 9223372036854775808, more than the file's 64 bytes can hold")
    {
        $0.add("a", type: 9, value: array(0, count: 1 << 63))
    },
    Broken("the length of the array of metadata key 'a' is 1099511627776, more than the file's 64 bytes can hold") {
        $0.add("a", type: 9, value: array(8, count: 1 << 40))
    },
    Broken(
        "the length of a string in the array of metadata key 'a' is 18446744073709551615, more than the file's 64 bytes "
            + "can hold"
    ) { $0.add("a", type: 9, value: array(8, count: 1, bytes(UInt64.max))) },
    Broken("the array of metadata key 'a' holds arrays, which ggml does not read") {
        $0.add("a", type: 9, value: array(9, count: 1, array(4, count: 1, [1, 0, 0, 0])))
    },
    Broken("the array of metadata key 'a' has elements of the unknown type 77") {
        $0.add("a", type: 9, value: array(77, count: 0))
    },
    Broken("'general.alignment' is 0; it must be a power of two, and its type UINT32") {
        $0.add("general.alignment", integer: 0)
    },
    Broken("'general.alignment' is 2147483648 bytes, which would stand before each tensor; at most 65536 are taken") {
        $0.add("general.alignment", integer: 1 << 31)
    },
    Broken("'general.alignment' is 48; it must be a power of two, and its type UINT32") {
        $0.add("general.alignment", integer: 48)
    },
    Broken("'general.alignment' is 32; it must be a power of two, and its type UINT32") {
        $0.add("general.alignment", type: 10, value: bytes(UInt64(32)))
    },
    Broken("'general.alignment' is no number; it must be a power of two, and its type UINT32") {
        $0.add("general.alignment", text: "32")
    },
]

private let long = String(repeating: "n", count: 64)

private let brokenTensors: [Broken] = [
    Broken("tensor 0 has an empty name") { $0.addTensor("", shape: [1], floats: [0]) },
    Broken("the name of tensor 0 has 64 bytes, more than the 63 allowed") {
        $0.addTensor(long, shape: [1], floats: [0])
    },
    Broken("tensor 't' stands there twice; names must differ") {
        $0.addTensor("t", shape: [1], floats: [0])
        $0.addTensor("t", shape: [1], floats: [0])
    },
    Broken("tensor 't' has 5 dimensions; at most 4 are allowed") {
        $0.addEntry("t", extents: [1, 1, 1, 1, 1], type: 0, offset: 0)
    },
    Broken("tensor 't' has an extent of 18446744073709551615; that overflows") {
        $0.addEntry("t", extents: [UInt64.max], type: 0, offset: 0)
    },
    Broken(
        "tensor 't' has the shape [1099511627776, 1099511627776] of F32; rows must be whole blocks of 1 elements and "
            + "sizes must not overflow"
    ) { $0.addEntry("t", extents: [1 << 40, 1 << 40], type: 0, offset: 0) },
    Broken(
        "tensor 't' has the shape [9223372036854775807] of F32; rows must be whole blocks of 1 elements and sizes must "
            + "not overflow"
    ) { $0.addEntry("t", extents: [UInt64(Int64.max)], type: 0, offset: 0) },
    Broken(
        "tensor 't' has the shape [2, 33] of Q8_0; rows must be whole blocks of 32 elements and sizes must not overflow"
    ) { $0.addEntry("t", extents: [33, 2], type: 8, offset: 0) },
    // Q4_2, which ggml gave up.
    Broken(
        "tensor 't' is stored as ggml type 4, which tspeft cannot decode; it decodes floats from 16 bits on, signed "
            + "integers and ggml's blocks", status: .unsupported
    ) { $0.addEntry("t", extents: [32], type: 4, offset: 0) },
    Broken("tensor 't' starts at byte 4 of the data; that must be a multiple of 32") {
        $0.addEntry("t", extents: [1], type: 0, offset: 4)
    },
    Broken("tensor 't' needs 16 bytes from byte 64; the file ends after 64; it is truncated") {
        $0.addEntry("t", extents: [4], type: 0, offset: 0)
    },
    Broken("tensor 't' starts at byte 18446744073709551584 of the data; the file is not so large") {
        $0.addEntry("t", extents: [4], type: 0, offset: UInt64.max - 31)
    },
    Broken("tensor 't' needs 16 bytes from byte 9223372036854775807; the file ends after 64; it is truncated") {
        $0.addEntry("t", extents: [4], type: 0, offset: UInt64(Int64.max) - 31)
    },
    Broken("tensor 'u' overlaps the one before it; tensors must lie behind each other, from the data's start on") {
        $0.addTensor("t", shape: [16], floats: [Float](repeating: 0, count: 16))
        $0.addEntry("u", extents: [1], type: 0, offset: 32)
    },
    Broken("tensor 't' begins 32 bytes too late; tensors must lie behind each other, from the data's start on") {
        $0.addEntry("t", extents: [1], type: 0, offset: 32)
        $0.addData([UInt8](repeating: 0, count: 64))
    },
    Broken("tensor 'u' begins 64 bytes too late; tensors must lie behind each other, from the data's start on") {
        $0.addTensor("t", shape: [1], floats: [0])
        $0.addEntry("u", extents: [1], type: 0, offset: 96)
        $0.addData([UInt8](repeating: 0, count: 128))
    },
]

@Test(arguments: brokenHeaders + brokenMetadata + brokenTensors)
private func hostileGGUFIsRefusedWithASentence(_ broken: Broken) throws {
    try withTemporaryFolder { folder in
        var builder = GGUFBuilder()
        broken.build(&builder)
        let path = folder + "/bad.gguf"
        try writeFile(path, builder.file)
        let error = try #require(throws: CheckpointError.self) { try Checkpoint.open(path) }
        #expect(error.description == "\(path): \(broken.sentence)")
        #expect(error.exitStatus == broken.status)
    }
}

/// A small file with a bit of everything.
private func smallFile() -> [UInt8] {
    var builder = GGUFBuilder()
    builder.add("general.architecture", text: "llama")
    builder.add("list", type: 9, value: array(4, count: 2, [0, 0, 0, 0, 1, 0, 0, 0]))
    let words: [UInt8] = GGUFBuilder.string("ab") + GGUFBuilder.string("")
    builder.add("words", type: 9, value: array(8, count: 2, words))
    builder.add("flag", type: 7, value: [1])
    builder.addTensor("t", shape: [2, 3], floats: [0, 1, 2, 3, 4, 5])
    builder.addTensor("u", extents: [32], type: 8, data: [UInt8](repeating: 1, count: 34))
    return builder.file
}

@Test func ggufThatEndsAnywhereIsRefused() throws {
    try withTemporaryFolder { folder in
        let whole = smallFile()
        let path = folder + "/short.gguf"
        for count in 0..<whole.count {
            try writeFile(path, Array(whole[..<count]))
            #expect(throws: CheckpointError.self, "\(count) bytes") { try Checkpoint.open(path) }
        }
        try writeFile(path, whole)
        let checkpoint = try Checkpoint.open(path)
        #expect(try checkpoint.floats(of: checkpoint.requiredRecord("t")) == [0, 1, 2, 3, 4, 5])
    }
}

@Test func flippedBitsAreRefusedOrReadWithoutHarm() throws {
    try withTemporaryFolder { folder in
        let whole = smallFile()
        let path = folder + "/flipped.gguf"
        var opened = 0
        for bit in 0..<whole.count * 8 {
            var flipped = whole
            flipped[bit / 8] ^= 1 << (bit % 8)
            try writeFile(path, flipped)
            do {
                let checkpoint = try Checkpoint.open(path)
                opened += 1
                for record in checkpoint.tensors where record.encoding.isReadable {
                    #expect(try checkpoint.floats(of: record).count == record.elementCount)
                }
                for key in checkpoint.metadata?.keys ?? [] {
                    #expect(checkpoint.metadata?.encoded(key) != nil && checkpoint.metadata?[key] != nil)
                    if let texts = checkpoint.metadata?[key]?.stringArray { #expect(Array(texts).count == texts.count) }
                }
            } catch is CheckpointError {
                // Refused, which is as good.
            }
        }
        // Bits of tensors' values, names and texts make another sound file.
        #expect(opened > 58 * 8 && opened < whole.count * 8)
    }
}

/// A file of `size` bytes that begins with `head`; the rest is zeros that take no disk.
private func writeSparse(_ path: String, _ head: [UInt8], size: Int) throws {
    try writeFile(path, head)
    try #require(truncate(path, size) == 0)
}

@Test func hugeClaimsInHugeFilesAreRefusedAtOnce() throws {
    func head(_ tensors: UInt64, _ pairs: UInt64) -> [UInt8] {
        var head: [UInt8] = Array("GGUF".utf8)
        head += bytes(UInt32(3))
        head += bytes(tensors)
        head += bytes(pairs)
        return head
    }
    let one: [UInt8] = head(0, 1) + GGUFBuilder.string("a") + bytes(UInt32(9))
    let files: [(bytes: [UInt8], words: String)] = [
        (head(1 << 40, 0), "the number of tensors is 1099511627776, more than the"),
        (head(0, 1 << 40), "the number of metadata pairs is 1099511627776, more than the"),
        (head(300_000, 0), "states 300000 tensors, more than the 65536"),
        (head(0, 70_000), "states 70000 metadata pairs, more than the 65536"),
        (one + array(0, count: 1 << 40), "the length of the array of metadata key 'a' is 1099511627776, more than the"),
        (one + array(8, count: 1 << 37), "the length of the array of metadata key 'a' is 137438953472, more than the"),
        (one + array(10, count: 1 << 25), "67108864 bytes that a header may have"),
    ]
    try withTemporaryFolder { folder in
        for (bytes, words) in files {
            try writeSparse(folder + "/huge.gguf", bytes, size: 1 << 41)
            let error = try #require(throws: CheckpointError.self) { try Checkpoint.open(folder + "/huge.gguf") }
            #expect(error.description.contains(words), "\(error)")
        }
    }
}

@Test func longArraysTakeNoMemoryUntilTheyAreUsed() throws {
    try withTemporaryFolder { folder in
        // 60 million bytes: as integers in memory they would take eight times that.
        let count = 60_000_000
        let path = folder + "/long.gguf"
        var head: [UInt8] = Array("GGUF".utf8)
        head += bytes(UInt32(3))
        head += bytes(UInt64(0)) + bytes(UInt64(1))
        head += GGUFBuilder.string("a") + bytes(UInt32(9))
        head += array(0, count: UInt64(count))
        try writeSparse(path, head, size: head.count + count)
        let metadata = try #require(try Checkpoint.open(path).metadata)
        #expect(metadata["a"]?.elementCount == count)
        guard case .array(let values) = metadata["a"] else {
            Issue.record("no array")
            return
        }
        #expect(values[count - 1].intValue == 0)
    }
}

@Test func stringsOfAnArrayAreFoundInAnyOrder() throws {
    try withTemporaryFolder { folder in
        let texts = (0..<100).map { String(repeating: "x", count: $0 % 7) + "\($0)" }
        var builder = GGUFBuilder()
        builder.add("a", type: 9, value: array(8, count: 100, texts.flatMap(GGUFBuilder.string)))
        try writeFile(folder + "/m.gguf", builder.file)
        let strings = try #require(try Checkpoint.open(folder + "/m.gguf").metadata?["a"]?.stringArray)
        #expect(Array(strings) == texts && strings.count == 100)
        #expect((0..<100).reversed().map { strings[$0] } == texts.reversed())
        #expect(strings.bytes(at: 33) == Array(texts[33].utf8))
    }
}

@Test func oddButSoundGGUFIsRead() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/odd.gguf"
        try writeFile(path, GGUFBuilder().file)
        #expect(try Checkpoint.open(path).tensors.isEmpty)

        // No extents, no elements, tensors in another order than their entries, bytes behind the last.
        var builder = GGUFBuilder()
        builder.addEntry("last", extents: [2], type: 0, offset: 64)
        builder.addEntry("scalar", extents: [], type: 0, offset: 32)
        builder.addEntry("none", extents: [0, 3], type: 0, offset: 32)
        builder.addEntry("first", extents: [1, 1, 1, 8], type: 0, offset: 0)
        let first: [Float] = [0, 1, 2, 3, 4, 5, 6, 7]
        var floats: [Float] = first
        floats += [2.5, 0, 0, 0, 0, 0, 0, 0, 8, 9]
        builder.addData(floats.flatMap { bytes($0.bitPattern) })
        builder.addData([UInt8](repeating: 7, count: 100))
        try writeFile(path, builder.file)
        let checkpoint = try Checkpoint.open(path)
        #expect(checkpoint.tensors.map(\.name) == ["last", "scalar", "none", "first"])
        #expect(checkpoint.tensors.map(\.shape) == [[2], [], [3, 0], [8, 1, 1, 1]])
        #expect(try checkpoint.tensors.map { try checkpoint.floats(of: $0) } == [[8, 9], [2.5], [], first])
    }
}
