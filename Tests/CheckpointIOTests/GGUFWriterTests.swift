import CheckpointIO
import TensorCore
import TestSupport
import Testing

/// Metadata of every type that the format has.
private let everyType: [(key: String, value: GGUFEncodedValue)] = [
    ("general.architecture", .string("llama")),
    ("test.u8", .uint8(200)), ("test.i8", .int8(-100)),
    ("test.u16", .uint16(60000)), ("test.i16", .int16(-30000)),
    ("test.u32", .uint32(4_000_000_000)), ("test.i32", .int32(-2_000_000_000)),
    ("test.u64", .uint64(.max)), ("test.i64", .int64(.min)),
    ("test.f32", .float32(0.1)), ("test.f64", .float64(0.1)),
    ("test.true", .bool(true)), ("test.false", .bool(false)),
    ("test.text", .string("Grüße, 世界")), ("test.empty", .string("")),
    ("test.strings", .strings(["", "a", "Ġthe", "\n"])),
    ("test.pieces", .byteStrings([[0xC3, 0xBC], []])),
    ("test.floats", .floats([0.5, -2])), ("test.integers", .int32s([1, -2, 3])),
    ("test.none", .int32s([])),
    ("test.flags", .array([.bool(true), .bool(false)])),
    ("list.u8", .array([.uint8(0), .uint8(255)])), ("list.i8", .array([.int8(-128), .int8(127)])),
    ("list.u16", .array([.uint16(0), .uint16(.max)])), ("list.i16", .array([.int16(.min), .int16(.max)])),
    ("list.u32", .array([.uint32(0), .uint32(.max)])), ("list.i32", .array([.int32(.min), .int32(.max)])),
    ("list.u64", .array([.uint64(0), .uint64(.max)])), ("list.i64", .array([.int64(.min), .int64(.max)])),
    ("list.f64", .array([.float64(0.1), .float64(-1e300)])),
]

private func write(
    _ path: String, version: UInt32 = 3, metadata: [(key: String, value: GGUFEncodedValue)],
    _ tensors: [(entry: GGUFEntry, bytes: [UInt8])]
) throws {
    let writer = try GGUFWriter(
        AtomicFileWriter(path), version: version, metadata: metadata, entries: tensors.map(\.entry))
    for (_, bytes) in tensors { try bytes.withUnsafeBytes { try writer.append($0) } }
    try writer.finish()
}

@Test(arguments: [UInt32(2), 3])
func everyMetadataTypeIsWrittenAsItIsRead(_ version: UInt32) throws {
    try withTemporaryFolder { folder in
        let path = folder + "/out.gguf"
        try write(path, version: version, metadata: everyType, [])
        #expect(try readFile(path)[4] == UInt8(version))
        let metadata = try #require(try Checkpoint.open(path).metadata)
        #expect(metadata.keys == everyType.map(\.key))
        for (key, value) in everyType { #expect(metadata.encoded(key) == value, "\(key)") }
        #expect(metadata.encoded("no such key") == nil)
        #expect(metadata["test.u8"]?.intValue == 200 && metadata["test.i8"]?.intValue == -100)
        #expect(metadata["test.u16"]?.intValue == 60000 && metadata["test.i16"]?.intValue == -30000)
        #expect(metadata["test.u32"]?.intValue == 4_000_000_000)
        #expect(metadata["test.i32"]?.intValue == -2_000_000_000 && metadata["test.i64"]?.intValue == Int.min)
        guard case .uint64(UInt64.max) = metadata["test.u64"] else {
            Issue.record("test.u64")
            return
        }
        #expect(metadata["test.f32"]?.doubleValue == Double(Float(0.1)) && metadata["test.f64"]?.doubleValue == 0.1)
        #expect(metadata["test.true"]?.boolValue == true && metadata["test.false"]?.boolValue == false)
        #expect(metadata["test.text"]?.stringValue == "Grüße, 世界" && metadata["test.empty"]?.stringValue == "")
        #expect(metadata["test.strings"]?.stringArray.map(Array.init) == ["", "a", "Ġthe", "\n"])
        #expect(metadata["test.pieces"]?.stringArray?.bytes(at: 0) == [0xC3, 0xBC])
        #expect(metadata["test.floats"]?.floatArray == [0.5, -2])
        #expect(
            metadata["test.integers"]?.integers(in: .anything) == [1, -2, 3]
                && metadata["test.none"]?.integers(in: .anything) == [])
        guard case .array(let flags) = metadata["test.flags"], case .array(let doubles) = metadata["list.f64"],
            case .array(let large) = metadata["list.u64"], case .uint64(.max) = large[1]
        else {
            Issue.record("arrays")
            return
        }
        #expect(flags.map(\.boolValue) == [true, false] && doubles.map(\.doubleValue) == [0.1, -1e300])
        #expect(metadata["list.u64"]?.integers(in: .anything) == nil && metadata["test.integers"]?.floatArray == nil)
        #expect(
            metadata["list.i64"]?.integers(in: .anything) == [.min, .max]
                && metadata["list.u8"]?.integers(in: .anything) == [0, 255])
        #expect(
            metadata["list.u32"]?.integers(in: .anything) == [0, 4_294_967_295]
                && metadata["list.i8"]?.elementCount == 2)
    }
}

/// The fixture was written by the Python package `gguf`, so equal bytes are that package's bytes.
@Test(
    arguments: ["formats/metadata.gguf", "formats/blocks.gguf", "gguf/aligned.gguf", "gguf/whole.gguf", "gguf/v2.gguf"])
func rewrittenFileEqualsTheOneOfTheReferenceByteForByte(_ name: String) throws {
    try withTemporaryFolder { folder in
        let source = try Checkpoint.open(fixture(name))
        let metadata = try #require(source.metadata)
        let version = UInt32(try readFile(fixture(name))[4])
        let writer = try GGUFWriter(
            AtomicFileWriter(folder + "/copy.gguf"), version: version,
            metadata: metadata.keys.map { ($0, metadata.encoded($0)!) },
            entries: source.tensors.map { GGUFEntry(name: $0.name, encoding: $0.encoding, shape: $0.shape) })
        for record in source.tensors { try writer.append(record, of: source) }
        try writer.finish()
        #expect(try readFile(folder + "/copy.gguf") == readFile(fixture(name)))
    }
}

@Test(arguments: [nil, UInt32(1), 64])
func tensorsStartAtMultiplesOfTheAlignmentAndTheFileEndsAtOne(_ stated: UInt32?) throws {
    try withTemporaryFolder { folder in
        let path = folder + "/out.gguf"
        let alignment = Int(stated ?? 32)
        let one: [UInt8] = Array(0..<12)
        let blocks = [UInt8](repeating: 7, count: 2 * 34)
        try write(
            path, metadata: stated.map { [("general.alignment", .uint32($0))] } ?? [],
            [
                (GGUFEntry(name: "one", encoding: .plain(.f32), shape: [3, 1]), one),
                (GGUFEntry(name: "none", encoding: .plain(.f32), shape: [0, 3]), []),
                (GGUFEntry(name: "blocks", encoding: .block(.init(name: "Q8_0")!), shape: [2, 32]), blocks),
                (GGUFEntry(name: "scalar", encoding: .plain(.bf16), shape: []), [1, 2]),
            ])
        let checkpoint = try Checkpoint.open(path)
        #expect(checkpoint.tensors.map(\.name) == ["one", "none", "blocks", "scalar"])
        #expect(checkpoint.tensors.map(\.shape) == [[3, 1], [0, 3], [2, 32], []])
        #expect(checkpoint.tensors.allSatisfy { $0.offset % alignment == 0 })
        #expect(try readFile(path).count % alignment == 0)
        let contents = try ["one", "blocks", "scalar"].map { name in
            try checkpoint.withBytes(of: try checkpoint.requiredRecord(name)) { Array($0) }
        }
        #expect(contents == [one, blocks, [1, 2]])
    }
}

@Test func tensorMayComeInPieces() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/out.gguf"
        let entries = ["a", "b"].map { GGUFEntry(name: $0, encoding: .plain(.f32), shape: [4]) }
        let writer = try GGUFWriter(AtomicFileWriter(path), metadata: [], entries: entries)
        for piece in [[1], [2, 3], [], [4], [5, 6, 7, 8]] as [[Float]] { try writer.append(piece) }
        #expect(!pathExists(path))
        try writer.finish()
        let checkpoint = try Checkpoint.open(path)
        #expect(try checkpoint.floats(of: checkpoint.requiredRecord("a")) == [1, 2, 3, 4])
        #expect(try checkpoint.floats(of: checkpoint.requiredRecord("b")) == [5, 6, 7, 8])
    }
}

@Test func entryThatTheFormatCannotHoldIsRefused() throws {
    let q8 = TensorEncoding.block(GGMLBlockFormat(name: "Q8_0")!)
    let bad: [(GGUFEntry, String)] = [
        (GGUFEntry(name: "t", encoding: .plain(.u8), shape: [1]), "U8"),
        (GGUFEntry(name: "t", encoding: .plain(.f32), shape: [1, 1, 1, 1, 1]), "5 dimensions"),
        (GGUFEntry(name: "t", encoding: q8, shape: [2, 33]), "blocks of 32"),
        (GGUFEntry(name: "t", encoding: .plain(.f32), shape: [1 << 40, 1 << 40]), "overflow"),
        (GGUFEntry(name: String(repeating: "t", count: 64), encoding: .plain(.f32), shape: [1]), "64 bytes"),
    ]
    try withTemporaryFolder { folder in
        for (entry, words) in bad {
            let error = try #require(throws: CheckpointError.self) {
                try GGUFWriter(AtomicFileWriter(folder + "/out"), metadata: [], entries: [entry])
            }
            #expect(error.description.contains(words) && error.exitStatus == .badData, "\(error)")
        }
        #expect(try names(in: folder) == [])
    }
}

@Test func tooFewOrTooManyBytesNeverMakeAFile() async {
    await #expect(processExitsWith: .failure) {
        let writer = try GGUFWriter(
            AtomicFileWriter(makeTemporaryFolder() + "/out"), metadata: [],
            entries: [GGUFEntry(name: "t", encoding: .plain(.f32), shape: [2])])
        try writer.append([1])
        try writer.finish()
    }
    await #expect(processExitsWith: .failure) {
        let writer = try GGUFWriter(
            AtomicFileWriter(makeTemporaryFolder() + "/out"), metadata: [],
            entries: [
                GGUFEntry(name: "t", encoding: .plain(.f32), shape: [2]),
                GGUFEntry(name: "u", encoding: .plain(.f32), shape: [2]),
            ])
        try writer.append([1, 2, 3])
    }
}
