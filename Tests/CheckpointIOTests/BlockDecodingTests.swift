import CKernels
import CheckpointIO
import TensorCore
import TestSupport
import Testing

/// The files that Tests/Scripts/make_block_fixtures.py writes.
private struct Reference {
    let checkpoint: Checkpoint
    let expected: SafetensorsFile

    init() throws {
        checkpoint = try Checkpoint.open(fixture("blocks/decode.gguf"))
        expected = try SafetensorsFile.open(fixture("blocks/decode.safetensors"))
    }

    func values(_ name: String) throws -> [Float] { try expected.floats(of: expected.requiredRecord(name)) }

    /// The stored bytes of a format's blocks; where no GGUF writer makes them, they stand beside the values.
    func blocks(_ name: String) throws -> [UInt8] {
        if let record = checkpoint.record(name) { return try checkpoint.withBytes(of: record) { Array($0) } }
        return try expected.withBytes(of: expected.requiredRecord(name + ".blocks")) { Array($0) }
    }
}

/// Where two lists differ in their bits; two NaN are the same.
func differences(_ found: [Float], _ wanted: [Float]) -> [Int] {
    if found.count != wanted.count { return [-1] }
    return found.indices.filter {
        found[$0].bitPattern != wanted[$0].bitPattern && !(found[$0].isNaN && wanted[$0].isNaN)
    }
}

private let levels = (0...2).filter { tspeft_kernels_at(Int32($0)) != nil }

@Test(arguments: GGMLBlockFormat.known.map(\.name), levels)
func blocksAreDecodedBitForBitAtEveryLevel(_ name: String, _ level: Int) throws {
    let reference = try Reference()
    let format = try #require(GGMLBlockFormat(name: name))
    let wanted = try reference.values(name)
    let bytes = try reference.blocks(name)
    let blocks = bytes.count / format.bytesPerBlock
    #expect(wanted.count == blocks * format.elementsPerBlock && blocks * format.bytesPerBlock == bytes.count)
    let decoder = try #require(tspeft_block_decoder_at(Int32(level), format.number))
    // Any number of blocks, at any alignment, and nothing behind the last.
    for (first, count, shift) in [(0, blocks, 0), (1, blocks - 1, 3), (2, 1, 1), (3, 0, 0)] {
        let part = Array(repeating: 0, count: shift) + bytes[(first * format.bytesPerBlock)...]
        let elements = count * format.elementsPerBlock
        var values = [Float](repeating: 0, count: shift) + [Float](repeating: -7, count: elements + 1)
        part.withUnsafeBytes { source in
            values.withUnsafeMutableBufferPointer {
                decoder(source.baseAddress! + shift, $0.baseAddress! + shift, count)
            }
        }
        #expect(values.popLast() == -7)
        let start = first * format.elementsPerBlock
        #expect(differences(Array(values[shift...]), Array(wanted[start..<start + elements])) == [])
    }
}

@Test func everyTensorOfAFileIsDecodedBitForBit() throws {
    let reference = try Reference()
    #expect(reference.checkpoint.tensors.count == GGMLBlockFormat.known.count - 2 + 8)
    for record in reference.checkpoint.tensors {
        #expect(record.encoding.description == record.name)
        let wanted = try reference.values(record.name)
        #expect(differences(try reference.checkpoint.floats(of: record), wanted) == [], "\(record.name)")
        // Rows alone too, the last one, which does not start the tensor.
        let width = wanted.count / record.shape[0]
        var row = [Float](repeating: 0, count: width)
        let last = record.shape[0] - 1
        try row.withUnsafeMutableBufferPointer {
            try reference.checkpoint.readFloats(of: record, rows: last..<last + 1, into: $0)
        }
        #expect(differences(row, wanted.suffix(width)) == [], "\(record.name)")
    }
}

@Test func numbersAndNamesOfFormatsAreTheirOwn() {
    let formats = GGMLBlockFormat.known
    #expect(Set(formats.map(\.number)).count == formats.count && Set(formats.map(\.name)).count == formats.count)
    for number in 0..<256 as Range<UInt32> {
        #expect((GGMLBlockFormat(number: number) == nil) == (tspeft_block_decoder_at(0, number) == nil))
    }
}

@Test func numbersOfTypesThatGGMLRemovedAreRefused() throws {
    try withTemporaryFolder { folder in
        for number in [4, 5, 31, 32, 33, 36, 37, 38, 43] as [UInt32] {
            var builder = GGUFBuilder()
            builder.addEntry("t", extents: [256], type: number, offset: 0)
            try writeFile(folder + "/old.gguf", builder.file)
            let error = try #require(throws: CheckpointError.self) { try Checkpoint.open(folder + "/old.gguf") }
            #expect(error.exitStatus == .unsupported && error.description.contains("type \(number)"))
        }
    }
}

@Test func integersAreReadAsNumbersButAreNoWeights() throws {
    let reference = try Reference()
    for name in ["I8", "I16", "I32", "I64"] {
        let encoding = try reference.checkpoint.requiredRecord(name).encoding
        #expect(encoding.isReadable && !encoding.holdsReals)
    }
    #expect(TensorEncoding.plain(.f64).holdsReals && !TensorEncoding.plain(.u8).isReadable)
}
