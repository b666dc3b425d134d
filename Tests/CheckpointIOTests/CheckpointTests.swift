import CheckpointIO
import Foundation
import TensorCore
import TestSupport
import Testing

@Test func shardsOfAnotherProgramAreOneCheckpoint() throws {
    let checkpoint = try Checkpoint.open(fixture("formats/sharded"))
    #expect(checkpoint.files.count == 3 && checkpoint.files[0].hasSuffix("model-00001-of-00003.safetensors"))
    #expect(checkpoint.tensors.map(\.name) == (0..<6).map { "part.\($0)" })
    #expect(checkpoint.tensors.map(\.fileIndex) == [0, 0, 1, 1, 2, 2])
    for index in 0..<6 {
        let record = try checkpoint.requiredRecord("part.\(index)")
        #expect(try checkpoint.floats(of: record) == [Float](repeating: Float(index), count: 16))
    }
    #expect(checkpoint.record("part.6") == nil)
    #expect(checkpoint.configuration == nil)
}

@Test func modelDirectoryFileAndGGUFAreOpenedByTheirKind() throws {
    let directory = try Checkpoint.open(fixture("tiny-llama"))
    #expect(directory.layout == .huggingFace(directory: fixture("tiny-llama")))
    #expect(directory.configuration?["model_type"]?.stringValue == "llama")
    let file = try Checkpoint.open(fixture("tiny-llama/model.safetensors"))
    #expect(file.layout == .huggingFace(directory: fixture("tiny-llama")))
    #expect(file.configuration == directory.configuration)
    let gguf = try Checkpoint.open(fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"))
    #expect(gguf.layout == .gguf && gguf.metadata?["general.architecture"]?.stringValue == "llama")
    #expect(gguf.tensors.count == directory.tensors.count)
}

/// A `weight_map` (its JSON text) beside two shards, `one` with tensor a and `two` with tensor b.
struct BrokenIndex: Sendable, CustomTestStringConvertible {
    let rule: String
    let index: String
    let words: [String]
    var testDescription: String { rule }
}

private let brokenIndexes = [
    BrokenIndex(rule: "not JSON", index: "{", words: ["not valid JSON"]),
    BrokenIndex(rule: "no map", index: "{}", words: ["weight_map"]),
    BrokenIndex(rule: "empty map", index: #"{"weight_map":{}}"#, words: ["empty"]),
    BrokenIndex(rule: "not a name", index: #"{"weight_map":{"a":3}}"#, words: ["'a'"]),
    BrokenIndex(rule: "a folder", index: #"{"weight_map":{"a":"x/one"}}"#, words: ["'a'", "'x/one'"]),
    BrokenIndex(rule: "upwards", index: #"{"weight_map":{"a":"../one"}}"#, words: ["'a'", "'../one'"]),
    BrokenIndex(rule: "dots", index: #"{"weight_map":{"a":".."}}"#, words: ["'a'", "'..'"]),
    BrokenIndex(rule: "absolute", index: #"{"weight_map":{"a":"/etc/passwd"}}"#, words: ["'a'", "'/etc/passwd'"]),
    BrokenIndex(rule: "a nul", index: #"{"weight_map":{"a":"one\u0000"}}"#, words: ["'a'", "plain file name"]),
    BrokenIndex(rule: "empty name", index: #"{"weight_map":{"a":""}}"#, words: ["'a'", "''"]),
    BrokenIndex(rule: "a shard that is not there", index: #"{"weight_map":{"a":"three"}}"#, words: ["'three'", "'a'"]),
    BrokenIndex(
        rule: "a tensor that is nowhere", index: #"{"weight_map":{"a":"one","c":"two"}}"#,
        words: ["'c'", "in no shard", "'two'"]),
    BrokenIndex(
        rule: "a tensor in another shard", index: #"{"weight_map":{"a":"two","b":"one"}}"#,
        words: ["'a'", "'one'", "'two'"]),
    BrokenIndex(
        rule: "a tensor twice", index: #"{"weight_map":{"a":"one","b":"again"}}"#, words: ["'a'", "two shards"]),
]

@Test(arguments: brokenIndexes)
func indexThatDoesNotFitIsRefused(_ broken: BrokenIndex) throws {
    try withTemporaryFolder { folder in
        try SafetensorsWriter.write([("a", [1], [1])], to: folder + "/one")
        try SafetensorsWriter.write([("a", [1], [1])], to: folder + "/again")
        try SafetensorsWriter.write([("b", [1], [2])], to: folder + "/two")
        try writeFile(folder + "/model.safetensors.index.json", broken.index)
        let error = try #require(throws: CheckpointError.self) { try Checkpoint.open(folder) }
        #expect(error.exitStatus == .badData)
        for word in broken.words + ["model.safetensors.index.json"] {
            #expect(error.description.contains(word), "\(error)")
        }
    }
}

@Test func missingPathAndOtherKindsOfFileAreToldApart() throws {
    let missing = try #require(throws: CheckpointError.self) { try Checkpoint.open("/no/such/model") }
    #expect(missing == .missing(path: "/no/such/model") && missing.exitStatus == .missingInput)
    #expect(throws: CheckpointError.notRegularFile(path: "/dev/null")) { try Checkpoint.open("/dev/null") }
    try withTemporaryFolder { folder in
        #expect(mkfifo(folder + "/pipe", 0o600) == 0)
        #expect(throws: CheckpointError.notRegularFile(path: folder + "/pipe")) {
            try Checkpoint.open(folder + "/pipe")
        }
        try writeFile(folder + "/notes.txt", "hello")
        let other = try #require(throws: CheckpointError.self) { try Checkpoint.open(folder + "/notes.txt") }
        #expect(other.exitStatus == .badData)
    }
}

@Test func directoryWithoutAModelSaysWhatItHolds() throws {
    let cases = [
        ("readme.txt", "neither model.safetensors nor"), ("adapter_config.json", "adapter directory"),
        ("m.gguf", "m.gguf"), ("pytorch_model.bin", "pickle"),
    ]
    for (name, words) in cases {
        try withTemporaryFolder { folder in
            try writeFile(folder + "/" + name, "")
            let error = try #require(throws: CheckpointError.self) { try Checkpoint.open(folder) }
            #expect(error.exitStatus == .badData)
            #expect(error.description.contains(words), "\(error)")
        }
    }
}

@Test func configurationThatIsNotAnObjectIsRefused() throws {
    for text in ["[]", "{", "\u{FEFF}{}"] {
        try withTemporaryFolder { folder in
            try SafetensorsWriter.write([("a", [1], [1])], to: folder + "/model.safetensors")
            try writeFile(folder + "/config.json", text)
            let error = try #require(throws: CheckpointError.self) { try Checkpoint.open(folder) }
            #expect(error.description.contains("config.json"), "\(error)")
        }
    }
}

@Test func smallFileIsReadUpToItsLimit() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/four"
        try writeFile(path, [1, 2, 3, 4])
        #expect(try readSmallFile(path, limit: 4) == [1, 2, 3, 4])
        #expect(throws: CheckpointError.tooLarge(path: path, limit: 3)) { try readSmallFile(path, limit: 3) }
        #expect(throws: CheckpointError.missing(path: folder + "/none")) {
            try readSmallFile(folder + "/none", limit: 1)
        }
        #expect(throws: CheckpointError.notRegularFile(path: folder)) { try readSmallFile(folder, limit: 1) }
    }
}

@Test func emptyFileIsMappedAsNoBytes() throws {
    try withTemporaryFolder { folder in
        try writeFile(folder + "/empty", [])
        let file = try MappedFile.open(folder + "/empty")
        #expect(file.byteCount == 0 && file.withBytes { $0.isEmpty })
        file.advise(0..<10, willNeed: true)
    }
}
