import CheckpointIO
import TestSupport
import Testing

/// The parts of a model of the tensors a to e; a test may break one.
private struct Parts {
    var builders: [GGUFBuilder]
    static let tensors = [["a", "b"], ["c"], ["d", "e"]]

    /// Parts with the given words about the split; nil leaves a key out.
    init(
        numbers: [Int?] = [0, 1, 2], counts: [Int?] = [3, 3, 3], tensorCounts: [Int?] = [5, 5, 5],
        tensors: [[String]] = Parts.tensors
    ) {
        builders = tensors.indices.map { part in
            var builder = GGUFBuilder()
            if part == 0 { builder.add("general.architecture", text: "llama") }
            if let number = numbers[part] {
                builder.add("split.no", type: 2, value: GGUFBuilder.bytes(UInt16(number)))
            }
            if let count = counts[part] {
                builder.add("split.count", type: 2, value: GGUFBuilder.bytes(UInt16(count)))
            }
            if let count = tensorCounts[part] {
                builder.add("split.tensors.count", type: 5, value: GGUFBuilder.bytes(Int32(count)))
            }
            for name in tensors[part] { builder.addTensor(name, shape: [1], floats: [Float(name.utf8.first!)]) }
            return builder
        }
    }

    func write(to folder: String, leavingOut missing: Int? = nil) throws {
        for (part, builder) in builders.enumerated() where part != missing {
            try writeFile("\(folder)/m-0000\(part + 1)-of-00003.gguf", builder.file)
        }
    }
}

@Test(arguments: 1...3)
func splitModelOpensFromAnyPart(_ part: Int) throws {
    let checkpoint = try Checkpoint.open(fixture("gguf/split-0000\(part)-of-00003.gguf"))
    let whole = try Checkpoint.open(fixture("gguf/whole.gguf"))
    #expect(checkpoint.layout == .gguf)
    #expect(checkpoint.files == (1...3).map { fixture("gguf/split-0000\($0)-of-00003.gguf") })
    #expect(checkpoint.tensors.map(\.name) == whole.tensors.map(\.name))
    #expect(checkpoint.tensors.map(\.fileIndex) == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2])
    for (record, other) in zip(checkpoint.tensors, whole.tensors) {
        #expect(try checkpoint.floats(of: record) == whole.floats(of: other))
    }
    // All metadata, which only the first part has.
    let keys = try #require(checkpoint.metadata?.keys)
    #expect(keys == (whole.metadata?.keys ?? []) + ["split.no", "split.count", "split.tensors.count"])
    #expect(checkpoint.metadata?["tokenizer.ggml.tokens"]?.elementCount == 12)
}

private let brokenSplits: [(sentence: String, parts: Parts)] = [
    ("m-00002-of-00003.gguf: is part 3 of 3 by its metadata, where part 2 of 3 belongs", Parts(numbers: [0, 2, 2])),
    ("m-00003-of-00003.gguf: is part 3 of 4 by its metadata, where part 3 of 3 belongs", Parts(counts: [3, 3, 4])),
    (
        "m-00002-of-00003.gguf: is named as part 2 of 3, but is no part of a split model (it has no 'split.count')",
        Parts(counts: [3, nil, 3])
    ),
    ("m-00001-of-00003.gguf: is one of 3 parts of a model, but has no 'split.no'", Parts(numbers: [nil, 1, 2])),
    ("m-00001-of-00003.gguf: 'split.no' is 3; it must be from 0 to 2", Parts(numbers: [3, 1, 2])),
    (
        "m-00001-of-00003.gguf: 'split.tensors.count' is 6, but the 3 parts hold 5 tensors",
        Parts(tensorCounts: [6, 6, 6])
    ),
    (
        "m-00001-of-00003.gguf: 'split.tensors.count' is missing, but the 3 parts hold 5 tensors",
        Parts(tensorCounts: [nil, 5, 5])
    ),
    (
        "m-00003-of-00003.gguf: states 4 tensors of all parts ('split.tensors.count'), the first part 5",
        Parts(tensorCounts: [5, 5, 4])
    ),
    (
        "m-00003-of-00003.gguf: tensor 'b' is in 'm-00001-of-00003.gguf' too; it may be in one part only",
        Parts(tensors: [["a", "b"], ["c"], ["d", "b"]])
    ),
]

@Test(arguments: brokenSplits.indices)
func partsThatDoNotFitAreRefused(_ index: Int) throws {
    let (sentence, parts) = brokenSplits[index]
    try withTemporaryFolder { folder in
        try parts.write(to: folder)
        let error = try #require(throws: CheckpointError.self) {
            try Checkpoint.open(folder + "/m-00001-of-00003.gguf")
        }
        #expect(error.description == folder + "/" + sentence && error.exitStatus == .badData)
    }
}

@Test func missingOrRenamedPartIsNamed() throws {
    try withTemporaryFolder { folder in
        try Parts().write(to: folder, leavingOut: 1)
        let missing = try #require(throws: CheckpointError.self) {
            try Checkpoint.open(folder + "/m-00003-of-00003.gguf")
        }
        #expect(
            missing.description == folder + "/m-00003-of-00003.gguf: the part 'm-00002-of-00003.gguf' of this model is "
                + "not there; all 3 must lie in one directory")
        try writeFile(folder + "/m.gguf", Parts().builders[1].file)
        let renamed = try #require(throws: CheckpointError.self) { try Checkpoint.open(folder + "/m.gguf") }
        #expect(
            renamed.description == folder + "/m.gguf: is part 2 of 3 of a split model, so its name must end in "
                + "'-00002-of-00003.gguf'; give it its name back")
        // The wrong kind of value, and a count that no part number reaches.
        var builder = GGUFBuilder()
        builder.add("split.count", text: "3")
        try writeFile(folder + "/m.gguf", builder.file)
        let wrong = try #require(throws: CheckpointError.self) { try Checkpoint.open(folder + "/m.gguf") }
        #expect(wrong.description.hasSuffix("'split.count' is no integer; it must be from 0 to 65535"))
    }
}

@Test func oneFileOfASplitOfOneIsAModelUnderAnyName() throws {
    try withTemporaryFolder { folder in
        for count in [0, 1] {
            let parts = Parts(numbers: [0], counts: [count], tensorCounts: [2], tensors: [["a", "b"]])
            try writeFile(folder + "/any.gguf", parts.builders[0].file)
            #expect(try Checkpoint.open(folder + "/any.gguf").tensors.map(\.name) == ["a", "b"])
        }
    }
}

@Test func partsWithLinksInTheirPathsAreFound() throws {
    try withTemporaryFolder { folder in
        // As the Hugging Face cache has them: names in one directory, which are links to blobs in another.
        for (part, builder) in Parts().builders.enumerated() {
            try writeFile("\(folder)/blob\(part)", builder.file)
            try link("\(folder)/m-0000\(part + 1)-of-00003.gguf", to: "blob\(part)")
        }
        #expect(
            try Checkpoint.open(folder + "/m-00002-of-00003.gguf").tensors.map(\.name) == ["a", "b", "c", "d", "e"])
    }
}

private func pairs(_ metadata: GGUFMetadata) -> [(key: String, value: GGUFEncodedValue)] {
    metadata.keys.map { ($0, metadata.encoded($0)!) }
}

@Test func writtenPartsEqualThoseOfThePackageByteForByte() throws {
    let whole = try Checkpoint.open(fixture("gguf/whole.gguf"))
    let metadata = pairs(try #require(whole.metadata))
    let entries = whole.tensors.map { GGUFEntry(name: $0.name, encoding: $0.encoding, shape: $0.shape) }
    let parts = [Array(entries[..<5]), Array(entries[5..<10]), Array(entries[10...])]
    try withTemporaryFolder { folder in
        for (part, entries) in parts.enumerated() {
            let path = GGUFSplit.path(prefix: folder + "/split", part: part, of: parts.count)
            let writer = try GGUFWriter(
                AtomicFileWriter(path),
                metadata: GGUFSplit.metadata(metadata, part: part, of: parts.count, tensorCount: whole.tensors.count),
                entries: entries)
            for entry in entries { try writer.append(whole.requiredRecord(entry.name), of: whole) }
            try writer.finish()
            #expect(try readFile(path) == readFile(fixture("gguf/split-0000\(part + 1)-of-00003.gguf")))
        }
        // And back into one file.
        let split = try Checkpoint.open(folder + "/split-00002-of-00003.gguf")
        let writer = try GGUFWriter(
            AtomicFileWriter(folder + "/joined.gguf"),
            metadata: GGUFSplit.joined(pairs(try #require(split.metadata))), entries: entries)
        for record in split.tensors { try writer.append(record, of: split) }
        try writer.finish()
        #expect(try readFile(folder + "/joined.gguf") == readFile(fixture("gguf/whole.gguf")))
    }
}

@Test func tensorsAreDistributedOverPartsInOrder() throws {
    let sizes = [1, 8, 8, 40, 0, 9, 8]
    let entries = sizes.enumerated().map { GGUFEntry(name: "t\($0)", encoding: .plain(.f32), shape: [$1]) }
    func counts(_ limit: Int, alignment: Int = 32) throws -> [Int] {
        try GGUFSplit.parts(of: entries, byteLimit: limit, alignment: alignment, file: "out").map(\.count)
    }
    // Padded, they have 32, 32, 32, 160, 0, 64 and 32 bytes.
    #expect(try counts(.max) == [7])
    #expect(try counts(96) == [3, 2, 2])
    #expect(try counts(1) == [1, 1, 1, 2, 1, 1])
    #expect(try counts(320, alignment: 64) == [3, 4])
    #expect(try GGUFSplit.parts(of: [], byteLimit: 1, file: "out") == [[]])
    let many = (0...GGUFSplit.partLimit).map { GGUFEntry(name: "t\($0)", encoding: .plain(.f32), shape: [1]) }
    let error = try #require(throws: CheckpointError.self) { try GGUFSplit.parts(of: many, byteLimit: 1, file: "out") }
    #expect(error.description.contains("65536 parts are more than the 65535"))
}

@Test func everyPartKeepsTheModelsAlignment() throws {
    let model: [(key: String, value: GGUFEncodedValue)] = [
        ("general.architecture", .string("llama")), ("general.alignment", .uint32(64)), ("split.no", .uint16(0)),
        ("split.count", .uint16(0)), ("split.tensors.count", .int32(1)),
    ]
    let first = GGUFSplit.metadata(model, part: 0, of: 2, tensorCount: 9)
    #expect(
        first.map(\.key) == [
            "general.architecture", "general.alignment", "split.no", "split.count", "split.tensors.count",
        ])
    let second = GGUFSplit.metadata(model, part: 1, of: 2, tensorCount: 9)
    #expect(second.map(\.key) == ["general.alignment", "split.no", "split.count", "split.tensors.count"])
    #expect(second.map(\.value) == [.uint32(64), .uint16(1), .uint16(2), .int32(9)])
    #expect(GGUFSplit.joined(model).map(\.key) == ["general.architecture", "general.alignment"])
    #expect(GGUFSplit.path(prefix: "d/m", part: 99_998, of: 100_000) == "d/m-99999-of-100000.gguf")
}
