import CheckpointIO
import TensorCore
import TestSupport
import Testing

/// A header that breaks a rule, the bytes after it, and words that the error must hold.
struct BrokenHeader: Sendable, CustomTestStringConvertible {
    let rule: String
    let header: String
    var dataCount = 0
    let words: [String]
    var testDescription: String { rule }
}

private let brokenHeaders = [
    BrokenHeader(rule: "not JSON", header: "{\"a\":", words: ["header", "not valid JSON"]),
    BrokenHeader(rule: "not an object", header: "[1]", words: ["does not start with '{'"]),
    BrokenHeader(rule: "leading space", header: " {}", words: ["does not start with '{'"]),
    BrokenHeader(rule: "empty", header: "", words: ["does not start with '{'"]),
    BrokenHeader(
        rule: "a key twice",
        header:
            #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
        dataCount: 1, words: ["'a'", "twice"]),
    BrokenHeader(rule: "metadata not an object", header: #"{"__metadata__":3}"#, words: ["__metadata__"]),
    BrokenHeader(
        rule: "metadata value not a string", header: #"{"__metadata__":{"k":3}}"#, words: ["__metadata__", "'k'"]),
    BrokenHeader(rule: "entry not an object", header: #"{"a":3}"#, words: ["'a'", "another kind"]),
    BrokenHeader(rule: "no dtype", header: #"{"a":{"shape":[],"data_offsets":[0,1]}}"#, words: ["'a'", "dtype"]),
    BrokenHeader(rule: "no shape", header: #"{"a":{"dtype":"U8","data_offsets":[0,1]}}"#, words: ["'a'", "shape"]),
    BrokenHeader(
        rule: "negative extent", header: #"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#, dataCount: 1,
        words: ["'a'", "[-1]"]),
    BrokenHeader(
        rule: "fractional extent", header: #"{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}"#, dataCount: 1,
        words: ["'a'", "[1.5]"]),
    BrokenHeader(
        rule: "more axes than any program knows",
        header: #"{"a":{"dtype":"U8","shape":[1"# + String(repeating: ",1", count: 64)
            + #"],"data_offsets":[0,1]}}"#,
        dataCount: 1, words: ["'a'", "has 65 extents"]),
    BrokenHeader(
        rule: "an extent of very many digits",
        header: #"{"a":{"dtype":"U8","shape":["# + String(repeating: "9", count: 1000) + #"],"data_offsets":[0,1]}}"#,
        dataCount: 1, words: ["'a'", "99..."]),
    BrokenHeader(rule: "no offsets", header: #"{"a":{"dtype":"U8","shape":[1]}}"#, words: ["'a'", "data_offsets"]),
    BrokenHeader(
        rule: "one offset", header: #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}"#,
        words: ["'a'", "data_offsets"]),
    BrokenHeader(
        rule: "falling offsets", header: #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}"#, dataCount: 1,
        words: ["'a'", "data_offsets"]),
    BrokenHeader(
        rule: "size against shape", header: #"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,12]}}"#,
        dataCount: 12, words: ["'a'", "has 12 bytes", "shape [2, 2] of F32 needs 16"]),
    BrokenHeader(
        rule: "extents that overflow",
        header: #"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}}"#,
        words: ["'a'", "overflows"]),
    BrokenHeader(
        rule: "bytes that overflow",
        header: #"{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}"#,
        words: ["'a'", "overflows"]),
    BrokenHeader(
        rule: "offset that overflows",
        header:
            #"{"a":{"dtype":"U8","shape":[0],"data_offsets":[9223372036854775807,9223372036854775807]}}"#,
        words: ["'a'"]),
    BrokenHeader(
        rule: "a hole at the start", header: #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, dataCount: 2,
        words: ["'a'", "hole"]),
    BrokenHeader(
        rule: "a hole between",
        header:
            #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}"#,
        dataCount: 3, words: ["'b'", "hole"]),
    BrokenHeader(
        rule: "an overlap",
        header:
            #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
        dataCount: 3, words: ["'b'", "overlaps"]),
    BrokenHeader(
        rule: "trailing bytes", header: #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, dataCount: 2,
        words: ["the tensors end at byte"]),
    BrokenHeader(
        rule: "truncated data", header: #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, dataCount: 3,
        words: ["'a'", "truncated"]),
]

@Test(arguments: brokenHeaders)
func headerThatBreaksARuleIsRefused(_ broken: BrokenHeader) throws {
    try withTemporaryFolder { folder in
        let path = folder + "/bad.safetensors"
        try writeFile(
            path, safetensorsFile(header: broken.header, data: [UInt8](repeating: 0, count: broken.dataCount)))
        let error = try #require(throws: CheckpointError.self) { try SafetensorsFile.open(path) }
        for word in broken.words + ["bad.safetensors"] {
            #expect(error.description.contains(word), "\(error)")
        }
        #expect(error.exitStatus == .badData)
    }
}

@Test func typeThatIsNotKnownIsUnsupported() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/new.safetensors"
        try writeFile(
            path,
            safetensorsFile(header: #"{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}"#, data: [0]))
        let error = try #require(throws: CheckpointError.self) { try SafetensorsFile.open(path) }
        #expect(error.exitStatus == .unsupported)
        #expect(error.description.contains("'a'") && error.description.contains("F4"))
    }
}

@Test(arguments: [0, 1, 7, 8, 20])
func fileThatEndsInItsHeaderIsRefused(_ count: Int) throws {
    try withTemporaryFolder { folder in
        let whole = safetensorsFile(header: #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, data: [7])
        let path = folder + "/short.safetensors"
        try writeFile(path, Array(whole[..<count]))
        let error = try #require(throws: CheckpointError.self) { try SafetensorsFile.open(path) }
        #expect(error.description.contains("the file ends after \(count) bytes"), "\(error)")
    }
}

@Test(arguments: [100_000_001, UInt64.max, UInt64(Int64.max)])
func headerLengthOverTheLimitIsRefused(_ length: UInt64) throws {
    try withTemporaryFolder { folder in
        let path = folder + "/long.safetensors"
        try writeFile(path, GGUFBuilder.bytes(length) + Array("{}".utf8))
        let error = try #require(throws: CheckpointError.self) { try SafetensorsFile.open(path) }
        #expect(error.description.contains("\(length)"), "\(error)")
    }
}

@Test func spacesAfterTheHeaderAndUnalignedDataAreRead() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/odd.safetensors"
        // 0 to 3 spaces put the data of one of these files at each residue of 4.
        for spaces in 0..<4 {
            let header =
                #"{"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"# + String(repeating: " ", count: spaces)
            try writeFile(path, safetensorsFile(header: header, data: GGUFBuilder.bytes(Float(1.25).bitPattern)))
            let file = try SafetensorsFile.open(path)
            #expect(try file.floats(of: file.requiredRecord("x")) == [1.25])
        }
    }
}

@Test func everyTypeThatSafetensorsWritesIsRead() throws {
    let file = try SafetensorsFile.open(fixture("formats/dtypes.safetensors"))
    #expect(Dictionary(uniqueKeysWithValues: file.metadata) == ["format": "pt", "made by": "safetensors"])
    // Made before safetensors had these; files with all types of today are in SafetensorsCaseTests.
    let newer: [DType] = [.f8e8m0, .f8e4m3fnuz, .f8e5m2fnuz, .c64]
    for type in DType.allCases where !newer.contains(type) {
        let record = try file.requiredRecord(type.rawValue)
        #expect(record.shape == [2, 3] && record.encoding == .plain(type) && record.byteCount == 6 * type.byteCount)
        if record.encoding.isReadable {
            #expect(try file.floats(of: record) == [0, 1, 2, 3, 4, 5])
        } else {
            let error = try #require(throws: CheckpointError.self) { try file.floats(of: record) }
            #expect(error.exitStatus == .unsupported && error.description.contains("'\(type.rawValue)'"))
        }
    }
    #expect(try file.floats(of: file.requiredRecord("scalar")) == [2.5])
    #expect(try file.floats(of: file.requiredRecord("empty")) == [])
    #expect(try file.requiredRecord("empty").shape == [0, 4])
    #expect(try file.requiredRecord("also.empty").shape == [3, 0])
    #expect(throws: CheckpointError.missingTensor(file: file.path, tensor: "none")) {
        try file.requiredRecord("none")
    }
}

@Test func rowsAreReadAlone() throws {
    let file = try SafetensorsFile.open(fixture("formats/dtypes.safetensors"))
    var row = [Float](repeating: -1, count: 3)
    for type in ["F16", "BF16", "F32", "F64"] {
        let record = try file.requiredRecord(type)
        try row.withUnsafeMutableBufferPointer { try file.readFloats(of: record, rows: 1..<2, into: $0) }
        #expect(row == [3, 4, 5])
    }
}

@Test func writtenFileReadsBack() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/out.safetensors"
        let tensors: [(name: String, shape: [Int], values: [Float])] = [
            ("b", [2, 2], [1, -2, .pi, 0]), ("a", [], [7]), ("quote\"\n", [1], [.infinity]), ("empty", [0, 3], []),
        ]
        try SafetensorsWriter.write(tensors, to: path, metadata: [("format", "pt"), ("note", "é \"x\"")])
        let file = try SafetensorsFile.open(path)
        #expect(file.metadata.map(\.key) == ["format", "note"] && file.metadata[1].value == "é \"x\"")
        #expect(Set(file.tensors.map(\.name)) == Set(tensors.map(\.name)))
        for tensor in tensors {
            let record = try file.requiredRecord(tensor.name)
            #expect(record.shape == tensor.shape)
            #expect(try file.floats(of: record) == tensor.values)
        }
        #expect(try file.requiredRecord("b").offset % 8 == 0)
        #expect(try names(in: folder) == ["out.safetensors"])
    }
}

@Test func storedTensorIsCopiedByteForByte() throws {
    try withTemporaryFolder { folder in
        let source = try Checkpoint.open(fixture("formats/dtypes.safetensors"))
        let path = folder + "/copy.safetensors"
        let entries = source.tensors.map { tensor in
            guard case .plain(let type) = tensor.encoding else { preconditionFailure("safetensors has no blocks") }
            return SafetensorsEntry(name: tensor.name, dtype: type, shape: tensor.shape)
        }
        let writer = try SafetensorsWriter(AtomicFileWriter(path), entries: entries)
        for tensor in source.tensors { try writer.append(tensor, of: source) }
        #expect(!pathExists(path))
        try writer.finish()
        let copy = try Checkpoint.open(path)
        for tensor in source.tensors {
            let twin = try copy.requiredRecord(tensor.name)
            let (before, after) = try (source.withBytes(of: tensor, Array.init), copy.withBytes(of: twin, Array.init))
            #expect(before == after, "\(tensor.name)")
        }
    }
}
