import CKernels
import CheckpointIO
import TensorCore
import TestSupport
import Testing

/// A GGUF file that breaks a rule, and words that the error must hold.
struct BrokenGGUF: Sendable, CustomTestStringConvertible {
    let rule: String
    let words: [String]
    var status = ExitStatus.badData
    let build: @Sendable (inout GGUFBuilder) -> Void
    var testDescription: String { rule }
}

private let brokenFiles = [
    BrokenGGUF(rule: "magic", words: ["'GGUF'"]) { $0.magic = Array("GGML".utf8) },
    BrokenGGUF(rule: "version 1", words: ["version 1"], status: .unsupported) { $0.version = 1 },
    BrokenGGUF(rule: "big-endian", words: ["big-endian"], status: .unsupported) { $0.version = 0x0300_0000 },
    BrokenGGUF(rule: "too many tensors", words: ["number of tensors"]) { $0.statedTensorCount = 1 << 60 },
    BrokenGGUF(rule: "too many pairs", words: ["metadata pairs"]) { $0.statedPairCount = UInt64.max },
    BrokenGGUF(rule: "a pair that is not there", words: ["the file ends"]) {
        $0.add("a", integer: 1)
        $0.statedPairCount = 3
    },
    BrokenGGUF(rule: "a key twice", words: ["'a'", "twice"]) {
        $0.add("a", integer: 1)
        $0.add("a", integer: 2)
    },
    BrokenGGUF(rule: "unknown value type", words: ["'a'", "type 13"]) { $0.add("a", type: 13, value: [0]) },
    BrokenGGUF(rule: "truth value 2", words: ["'a'", "byte 2"]) { $0.add("a", type: 7, value: [2]) },
    BrokenGGUF(rule: "string beyond the end", words: ["length of the value of metadata key 'a'"]) {
        $0.add("a", type: 8, value: GGUFBuilder.bytes(UInt64(1) << 40))
    },
    BrokenGGUF(rule: "string not UTF-8", words: ["'a'", "UTF-8"]) {
        $0.add("a", type: 8, value: GGUFBuilder.bytes(UInt64(1)) + [0xFF])
    },
    BrokenGGUF(rule: "array beyond the end", words: ["length of the array of metadata key 'a'"]) {
        $0.add("a", type: 9, value: GGUFBuilder.bytes(UInt32(6)) + GGUFBuilder.bytes(UInt64(1) << 61))
    },
    BrokenGGUF(rule: "arrays nested without end", words: ["'a'", "nested"]) {
        let level = GGUFBuilder.bytes(UInt32(9)) + GGUFBuilder.bytes(UInt64(1))
        $0.add("a", type: 9, value: (0..<50).flatMap { _ in level })
    },
    BrokenGGUF(rule: "alignment 0", words: ["general.alignment"]) { $0.add("general.alignment", integer: 0) },
    BrokenGGUF(rule: "alignment 48", words: ["general.alignment"]) { $0.add("general.alignment", integer: 48) },
    BrokenGGUF(rule: "a part of a split model", words: ["5 parts"], status: .unsupported) {
        $0.add("split.count", type: 2, value: GGUFBuilder.bytes(UInt16(5)))
    },
    BrokenGGUF(rule: "five dimensions", words: ["'t'", "5 dimensions"]) {
        $0.addEntry("t", extents: [1, 1, 1, 1, 1], type: 0, offset: 0)
    },
    BrokenGGUF(rule: "extent beyond Int", words: ["'t'", "\(UInt64.max)"]) {
        $0.addEntry("t", extents: [UInt64.max], type: 0, offset: 0)
    },
    BrokenGGUF(rule: "extents that overflow", words: ["'t'", "overflow"]) {
        $0.addEntry("t", extents: [1 << 40, 1 << 40], type: 0, offset: 0)
    },
    BrokenGGUF(rule: "rows that are not whole blocks", words: ["'t'", "blocks of 32"]) {
        $0.addEntry("t", extents: [33, 2], type: 8, offset: 0)
    },
    BrokenGGUF(rule: "unknown tensor type", words: ["'t'", "type 99"], status: .unsupported) {
        $0.addEntry("t", extents: [32], type: 99, offset: 0)
    },
    BrokenGGUF(rule: "unaligned offset", words: ["'t'", "multiple of 32"]) {
        $0.addEntry("t", extents: [1], type: 0, offset: 4)
    },
    BrokenGGUF(rule: "a name twice", words: ["'t'", "twice"]) {
        $0.addTensor("t", shape: [1], floats: [0])
        $0.addTensor("t", shape: [1], floats: [0])
    },
    BrokenGGUF(rule: "data beyond the end", words: ["'t'", "truncated"]) {
        $0.addEntry("t", extents: [4], type: 0, offset: 0)
    },
    BrokenGGUF(rule: "offset beyond Int", words: ["'t'"]) {
        $0.addEntry("t", extents: [4], type: 0, offset: UInt64.max - 31)
    },
    BrokenGGUF(rule: "offset that overflows", words: ["'t'", "truncated"]) {
        $0.addEntry("t", extents: [4], type: 0, offset: UInt64(Int64.max) - 31)
    },
    BrokenGGUF(rule: "an overlap", words: ["'u'", "overlaps"]) {
        $0.addTensor("t", shape: [16], floats: [Float](repeating: 0, count: 16))
        $0.addEntry("u", extents: [1], type: 0, offset: 32)
    },
]

@Test(arguments: brokenFiles)
func brokenGGUFIsRefused(_ broken: BrokenGGUF) throws {
    try withTemporaryFolder { folder in
        var builder = GGUFBuilder()
        broken.build(&builder)
        let path = folder + "/bad.gguf"
        try writeFile(path, builder.file)
        let error = try #require(throws: CheckpointError.self) { try Checkpoint.open(path) }
        #expect(error.exitStatus == broken.status)
        for word in broken.words + ["bad.gguf"] { #expect(error.description.contains(word), "\(error)") }
    }
}

@Test func ggufThatEndsAnywhereIsRefused() throws {
    try withTemporaryFolder { folder in
        var builder = GGUFBuilder()
        builder.add("general.architecture", text: "llama")
        builder.add(
            "list", type: 9,
            value: GGUFBuilder.bytes(UInt32(4)) + GGUFBuilder.bytes(UInt64(2)) + [0, 0, 0, 0, 1, 0, 0, 0])
        builder.addTensor("t", shape: [2, 3], floats: [0, 1, 2, 3, 4, 5])
        let whole = builder.file
        let path = folder + "/short.gguf"
        for count in 0..<whole.count {
            try writeFile(path, Array(whole[..<count]))
            #expect(throws: CheckpointError.self) { try Checkpoint.open(path) }
        }
        try writeFile(path, whole)
        let checkpoint = try Checkpoint.open(path)
        #expect(try checkpoint.floats(of: checkpoint.requiredRecord("t")) == [0, 1, 2, 3, 4, 5])
    }
}

@Test func everyMetadataTypeIsReadWithItsValue() throws {
    let checkpoint = try Checkpoint.open(fixture("formats/metadata.gguf"))
    let metadata = try #require(checkpoint.metadata)
    #expect(metadata["test.u8"]?.intValue == 200)
    #expect(metadata["test.i8"]?.intValue == -100)
    #expect(metadata["test.u16"]?.intValue == 60000)
    #expect(metadata["test.i16"]?.intValue == -30000)
    #expect(metadata["test.u32"]?.intValue == 4_000_000_000)
    #expect(metadata["test.i32"]?.intValue == -2_000_000_000)
    #expect(metadata["test.i64"]?.intValue == Int.min)
    guard case .uint64(UInt64.max) = metadata["test.u64"] else { throw Mismatch() }
    #expect(metadata["test.u64"]?.intValue == nil)
    #expect(metadata["test.f32"]?.doubleValue == Double(Float(0.1)))
    #expect(metadata["test.f64"]?.doubleValue == 0.1)
    #expect(metadata["test.true"]?.boolValue == true && metadata["test.false"]?.boolValue == false)
    #expect(metadata["test.text"]?.stringValue == "Grüße, 世界")
    #expect(metadata["test.strings"]?.stringArray.map(Array.init) == ["", "a", "Ġthe", "\n"])
    #expect(metadata["test.strings"]?.stringArray?.bytes(at: 1) == [0x61])
    #expect(metadata["test.floats"]?.floatArray == [0.5, -2])
    #expect(metadata["test.integers"]?.integerArray == [1, -2, 3])
    guard case .array(let flags) = metadata["test.flags"], case .array(let nested) = metadata["test.nested"] else {
        throw Mismatch()
    }
    #expect(flags.map(\.boolValue) == [true, false])
    #expect(nested.map(\.integerArray) == [[1, 2], [3]])
    #expect(metadata["no such key"] == nil)
    #expect(metadata.keys.first == "general.architecture")
    // Alignment 64 places the second tensor.
    #expect(try checkpoint.floats(of: checkpoint.requiredRecord("one")) == [1.5])
    #expect(try checkpoint.floats(of: checkpoint.requiredRecord("two")) == [2.5, 3.5])
    #expect(checkpoint.tensors.allSatisfy { $0.offset % 64 == 0 })
}

private struct Mismatch: Error {}

@Test(arguments: ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "F32", "F16", "BF16", "cube"])
func decodedTensorEqualsTheReferenceBitForBit(_ name: String) throws {
    let checkpoint = try Checkpoint.open(fixture("formats/blocks.gguf"))
    let expected = try SafetensorsFile.open(fixture("formats/blocks.safetensors"))
    let record = try checkpoint.requiredRecord(name)
    let reference = try expected.requiredRecord(name)
    #expect(record.shape == reference.shape)
    let values = try checkpoint.floats(of: record)
    let wanted = try expected.floats(of: reference)
    #expect(values.map(\.bitPattern) == wanted.map(\.bitPattern))
    // Rows alone too, the last ones, which do not start the tensor.
    let width = values.count / record.shape[0]
    var rows = [Float](repeating: 0, count: width)
    let last = record.shape[0] - 1
    try rows.withUnsafeMutableBufferPointer {
        try checkpoint.readFloats(of: record, rows: last..<last + 1, into: $0)
    }
    #expect(rows.map(\.bitPattern) == wanted.suffix(width).map(\.bitPattern))
}

@Test func everyHalfIsDecodedExactly() {
    let halves = (0...UInt16.max).map { $0 }
    var decoded = [Float](repeating: 0, count: halves.count)
    halves.withUnsafeBytes { tspeft_decode_f16($0.baseAddress, &decoded, halves.count) }
    for (bits, value) in zip(halves, decoded) {
        let wanted = Float(Float16(bitPattern: bits))
        if wanted.isNaN {
            #expect(value.isNaN)
        } else if value.bitPattern != wanted.bitPattern {
            Issue.record("half \(bits) became \(value), not \(wanted)")
        }
    }
}

@Test func doublesAndBrainFloatsAreDecodedAtAnyAlignment() {
    let doubles = [0.1, -1e300, .leastNonzeroMagnitude, .infinity]
    let brains = [Float(1.5), -3.25, 0, .leastNonzeroMagnitude].map { BFloat16($0) }
    for shift in 0..<8 {
        var bytes = [UInt8](repeating: 0, count: shift)
        doubles.withUnsafeBytes { bytes += $0 }
        var decoded = [Float](repeating: 0, count: 4)
        bytes.withUnsafeBytes { tspeft_decode_f64($0.baseAddress! + shift, &decoded, 4) }
        #expect(decoded == doubles.map { Float($0) })
        bytes = [UInt8](repeating: 0, count: shift) + brains.flatMap { GGUFBuilder.bytes($0.bitPattern) }
        bytes.withUnsafeBytes { tspeft_decode_bf16($0.baseAddress! + shift, &decoded, 4) }
        #expect(decoded == brains.map(\.floatValue))
    }
}
