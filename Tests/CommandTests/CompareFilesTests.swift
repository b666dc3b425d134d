import CheckpointIO
import Foundation
import TestSupport
import Testing
import Transforms

@testable import TSPEFT
@testable import tspeft

@Suite struct CompareFilesTests {
    @Test func aCheckpointIsIdenticalToItself() throws {
        let found = try compareFiles(fixture("tiny-llama"), fixture("tiny-llama/model.safetensors"))
        #expect(found.isIdentical && found.summary == "identical: 56 tensors, byte for byte")
        #expect(found.json["identical"]?.boolValue == true && found.json["changed"]?.arrayValue?.isEmpty == true)
    }

    @Test func ggufModelIsComparedByNamesAndRowsOfHuggingFace() throws {
        // The same model: 43 matrices in BF16, 13 norms that GGUF has in F32.
        for paths in [
            (fixture("tiny-llama"), fixture("tiny-llama-gguf/tiny-llama-bf16.gguf")),
            (fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"), fixture("tiny-llama")),
        ] {
            let found = try compareFiles(paths.0, paths.1)
            #expect(found.isTranslated && found.changed.isEmpty && found.retyped.count == 13)
            #expect(found.added.isEmpty && found.removed.isEmpty && !found.isIdentical)
        }
        let quantized = try compareFiles(
            fixture("tiny-llama"), fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf"), tensors: "*.q_proj.weight")
        #expect(quantized.changed.count == 6)
        for entry in quantized.changed {
            guard case .compared(let comparison) = entry.outcome else {
                Issue.record("\(entry) was not compared")
                continue
            }
            // Q8_0 rounds to about 1 in 256 of a block's largest value.
            #expect(comparison.relative > 0.001 && comparison.relative < 0.01)
        }
    }

    /// Two files with every kind of difference.
    func makeFiles(in folder: String) throws -> (a: String, b: String) {
        let (a, b) = (folder + "/a.safetensors", folder + "/b.safetensors")
        try SafetensorsWriter.write(
            [
                ("same", [2], [1, 2]), ("little", [4], [3, 4, 0, 0]), ("much", [2], [1, 1]),
                ("shape", [2, 1], [1, 2]),
                ("old", [1], [1]), ("odd", [2], [.nan, 1]), ("zero", [1], [0]),
            ], to: a)
        try SafetensorsWriter.write(
            [
                ("new", [1], [1]), ("zero", [1], [2]), ("odd", [2], [.nan, .infinity]), ("shape", [1, 2], [1, 2]),
                ("much", [2], [1, 3]), ("little", [4], [3, 4, 0, 0.5]), ("same", [2], [1, 2]),
            ], to: b)
        return (a, b)
    }

    @Test func everyKindOfDifferenceIsTold() throws {
        try withTemporaryFolder { folder in
            let files = try makeFiles(in: folder)
            let found = try compareFiles(files.a, files.b)
            #expect(found.added == ["new"] && found.removed == ["old"])
            #expect(found.reshaped == [.init(name: "shape", before: [2, 1], after: [1, 2])])
            // From zero to something first, then by |B - A| / |A|: sqrt(2), 0.1, and NaN and infinity, which do not
            // count.
            #expect(found.changed.map(\.name) == ["zero", "much", "little", "odd"])
            let json = found.json["changed"]?.arrayValue
            #expect(json?[0]["relative_change"]?.isNull == true && json?[0]["largest_change"]?.doubleValue == 2)
            #expect(json?[1]["relative_change"]?.doubleValue == 2.0.squareRoot())
            #expect(json?[2]["relative_change"]?.doubleValue == 0.1 && json?[2]["differing"]?.intValue == 1)
            #expect(json?[3]["not_finite"]?.intValue == 1 && json?[3]["differing"]?.intValue == 1)
            #expect(
                found.summary
                    == "7 tensors in A, 7 in B: 1 identical, 4 changed, 1 of another shape, 1 added, 1 removed")
            #expect(found.lines.contains("  shape  [2, 1] -> [1, 2]"))
            #expect(found.lines.contains { $0.hasPrefix("zero") && $0.hasSuffix("inf") })
        }
    }

    @Test func patternRestrictsAndMustMatch() throws {
        try withTemporaryFolder { folder in
            let files = try makeFiles(in: folder)
            #expect(try compareFiles(files.a, files.b, tensors: "s*").entries.map(\.name) == ["same"])
            #expect(throws: WorkflowError.self) { try compareFiles(files.a, files.b, tensors: "nothing*") }
        }
    }

    @Test func adaptersAreComparedByTheirTensors() throws {
        let found = try compareFiles(fixture("peft/lora"), fixture("peft/lora-bf16"))
        #expect(found.added.isEmpty && found.removed.isEmpty && found.entries.allSatisfy(\.isRetyped))
        #expect(try compareFiles(fixture("peft/lora"), fixture("peft/lora")).isIdentical)
    }

    @Test func rowsThatAreNoPartOfTheModelAreComparedAsTheyStand() throws {
        // A stray query of one row in GGUF, whose rows could not be reordered.
        try withTemporaryFolder { folder in
            let base = try Checkpoint.open(fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"))
            let stray = GGUFEntry(name: "blk.99.attn_q.weight", encoding: .plain(.f32), shape: [3, 2])
            let metadata = try #require(base.metadata)
            let writer = try GGUFWriter(
                AtomicFileWriter(folder + "/m.gguf"),
                metadata: metadata.keys.map { ($0, metadata.encoded($0)!) },
                entries: base.tensors.map { GGUFEntry(name: $0.name, encoding: $0.encoding, shape: $0.shape) } + [stray]
            )
            for tensor in base.tensors { try writer.append(tensor, of: base) }
            try writer.append([1, 2, 3, 4, 5, 6])
            try writer.finish()
            let found = try compareFiles(fixture("tiny-llama"), folder + "/m.gguf")
            #expect(found.added == ["model.layers.99.self_attn.q_proj.weight"])
            let same = try compareFiles(folder + "/m.gguf", folder + "/m.gguf")
            #expect(same.isIdentical)
        }
    }
}
