import CheckpointIO
import Foundation
import Models
import TestSupport
import Testing

private func fingerprint(_ change: (inout SmallModel) -> Void = { _ in }) throws -> BaseFingerprint {
    var model = SmallModel()
    change(&model)
    return try withTemporaryFolder { folder in
        try model.write(to: folder)
        return try ModelCheckpoint.open(folder).fingerprint()
    }
}

@Test func sameModelHasTheSameFingerprint() throws {
    let first = try fingerprint()
    let second = try fingerprint { $0.tensors.reverse() }
    #expect(first == second)
    #expect(first.difference(from: second) == nil)
    #expect(first.digest.count == 16)
}

/// Adapters hold the fingerprint of their base, so it must stay what it was.
@Test func fingerprintOfAModelIsAlwaysTheSame() throws {
    #expect(try ModelCheckpoint.open(fixture("tiny-llama")).fingerprint().digest == "96b03630afef6478")
}

@Test func differenceIsNamed() throws {
    let base = try fingerprint()
    let name = "model.layers.1.mlp.up_proj.weight"
    let changed = try fingerprint { model in
        let index = model.tensors.firstIndex { $0.name == name }!
        model.tensors[index].values[17] += 1
    }
    #expect(base.difference(from: changed) == "1 of 21 tensors have other values, '\(name)' for one")
    let fewer = try fingerprint {
        $0.remove("lm_head.weight")
        $0.configuration["tie_word_embeddings"] = .bool(true)
    }
    #expect(base.difference(from: fewer) == "it has no tensor 'lm_head.weight'")
    #expect(fewer.difference(from: base) == "it has a tensor 'lm_head.weight' that the recorded base has not")
    let wider = try fingerprint {
        $0.configuration["vocab_size"] = .integer(11)
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            $0.remove(name)
            $0.add(name, [11, 8])
        }
    }
    #expect(
        base.difference(from: wider) == "tensor 'lm_head.weight' has the shape [11, 8], in the recorded base [10, 8]")
}

@Test func otherEncodingIsADifference() throws {
    let directory = try ModelCheckpoint.open(fixture("tiny-llama")).fingerprint()
    let gguf = try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")).fingerprint()
    let difference = try #require(directory.difference(from: gguf))
    #expect(difference.contains("is stored as"), "\(difference)")
}

/// Of numbers in F32 only those rows differ that Llama's GGUF files hold in another order.
@Test func convertedLlamaIsSaidToBePerhapsTheSame() throws {
    try withTemporaryFolder { folder in
        try SmallModel().write(to: folder)
        try SmallModel().writeGGUF(to: folder + "/m.gguf")
        let (directory, gguf) = (try ModelCheckpoint.open(folder), try ModelCheckpoint.open(folder + "/m.gguf"))
        for (recorded, found) in [(directory, gguf), (gguf, directory)] {
            let recorded = try BaseFingerprint(json: recorded.fingerprint().json)
            let difference = try #require(recorded.difference(from: found.fingerprint()))
            #expect(difference.hasPrefix("4 of 21 tensors have other values"), "\(difference)")
            #expect(difference.contains("if this is that base converted"), "\(difference)")
        }
    }
}

/// Resident pages of a mapping, in bytes.
private func resident(_ path: String) throws -> Int {
    // A file that says it is empty.
    let handle = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
    let text = String(decoding: try handle.readToEnd() ?? Data(), as: UTF8.self)
    let name = path.split(separator: "/").suffix(2).joined(separator: "/")
    let entries = text.split(separator: "\n").drop { !$0.hasSuffix(name) }
    let line = try #require(entries.first { $0.hasPrefix("Rss:") })
    return try #require(Int(line.split(separator: " ")[1])) << 10
}

@Test func fingerprintLeavesMappedPagesAlone() throws {
    try withTemporaryFolder { folder in
        var model = SmallModel()
        model.configuration["vocab_size"] = .integer(1 << 18)
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            model.remove(name)
            model.add(name, [1 << 18, 8])
        }
        try model.write(to: folder)
        let checkpoint = try ModelCheckpoint.open(folder)
        let before = try resident(folder + "/model.safetensors")
        _ = try checkpoint.fingerprint()
        let after = try resident(folder + "/model.safetensors")
        #expect(after - before < 1 << 20, "\(after - before) of \(checkpoint.checkpoint.mappings[0].byteCount) bytes")
    }
}

@Test func fingerprintSurvivesJSON() throws {
    let base = try ModelCheckpoint.open(fixture("tiny-llama")).fingerprint()
    #expect(try BaseFingerprint(json: JSONValue.parse(base.json.text(indent: 2))) == base)
}

@Test func brokenJSONOfAFingerprintIsRefused() throws {
    let base = try fingerprint()
    var object = try #require(base.json.objectValue)
    object["digest"] = .string("0000000000000000")
    #expect(throws: ModelError.self) { try BaseFingerprint(json: .object(object)) }
    for text in [
        "{}", "3", #"{"digest":"","tensors":3}"#, #"{"digest":"","tensors":[{}]}"#,
        #"{"digest":"","tensors":[{"name":"a","shape":["x"],"encoding":"F32","hash":""}]}"#,
    ] {
        #expect(throws: ModelError.self) { try BaseFingerprint(json: JSONValue.parse(text)) }
    }
}
