import CKernels
import CheckpointIO
import TensorCore
import TestSupport
import Testing

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
    #expect(metadata["test.integers"]?.integers(in: .anything) == [1, -2, 3])
    guard case .array(let flags) = metadata["test.flags"] else { throw Mismatch() }
    #expect(flags.map(\.boolValue) == [true, false])
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
