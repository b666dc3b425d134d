import CheckpointIO
import Foundation
import TestSupport
import Testing

/// `tspeft convert` as a user runs it.
@Suite struct ConvertTests {
    private static let model = fixture("tiny-llama")
    private static let adapter = fixture("golden/llama-lora-dense/adapter")

    @Test func outputsNameSaysWhatIsWritten() throws {
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            let made = try program.run(["convert", Self.model, "-o", "model.gguf", "--type", "Q8_0", "--threads", "1"])
            #expect(made.status == 0)
            #expect(made.output.contains("56 tensors, 56 of them in another type than before"))
            #expect(made.output.contains("model.gguf: 2.9 MiB"))
            let back = try program.run(["convert", "model.gguf", "-o", "back", "--json"])
            #expect(back.status == 0)
            let json = try JSONValue.parse(Array(back.output.utf8))
            #expect(json["format"]?.stringValue == "huggingface")
            #expect(json["types"]?.arrayValue?.first?["type"]?.stringValue == "BF16")
            #expect(json["side_files"]?.arrayValue?.count == 4)
            #expect(try names(in: folder + "/back").contains("tokenizer.json"))
            // In F32 the way back holds exactly what the blocks hold, which the BF16 above rounds.
            #expect(try program.run(["convert", "model.gguf", "-o", "wide", "--type", "f32"]).status == 0)
            let words = ["--prompt", "The film", "-n", "6", "--dtype", "f32"]
            let (left, right) = (
                try program.run(["generate", "model.gguf"] + words), try program.run(["generate", "wide"] + words)
            )
            #expect(left.status == 0 && right.status == 0)
            #expect(!left.output.isEmpty && left.output == right.output)
        }
    }

    @Test func splitFileIsReadFromAnyOfItsParts() throws {
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            #expect(try program.run(["convert", Self.model, "-o", "whole.gguf"]).status == 0)
            let split = try program.run(["convert", "whole.gguf", "-o", "parts.gguf", "--max-shard-size", "2MiB"])
            #expect(split.errors.contains("written to parts-00001-of-0000"))
            let parts = try names(in: folder).filter { $0.hasPrefix("parts") }
            #expect(parts.count > 2)
            #expect(try program.run(["convert", parts[1], "-o", "joined.gguf"]).status == 0)
            #expect(try readFile(folder + "/joined.gguf") == readFile(folder + "/whole.gguf"))
            // Replaced, the parts are whole again, and nothing that was moved aside is left.
            let before = try names(in: folder)
            let first = try readFile(folder + "/" + parts[0])
            try writeFile(folder + "/" + parts[0], [1, 2, 3])
            let again = ["convert", "whole.gguf", "-o", "parts.gguf", "--max-shard-size", "2MiB", "--force"]
            #expect(try program.run(again + ["--dry-run"]).status == 0)
            #expect(try readFile(folder + "/" + parts[0]) == [1, 2, 3])
            #expect(try program.run(again).status == 0)
            #expect(try readFile(folder + "/" + parts[0]) == first)
            #expect(try names(in: folder) == before)
        }
    }

    @Test func packedFilesUnpackToTheSameBytes() throws {
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            #expect(try program.run(["convert", Self.model, "-o", "m.safetensors.zst"]).status == 0)
            #expect(
                try program.run(["convert", "--to", "safetensors", "m.safetensors.zst", "-o", "m.safetensors"]).status
                    == 0)
            #expect(try readFile(folder + "/m.safetensors") == readFile(Self.model + "/model.safetensors"))
            #expect(
                try program.run(["convert", "m.safetensors.zst", "-o", "wide.safetensors.zst", "--type", "f32"]).status
                    == 0)
            #expect(
                try program.run(["convert", "wide.safetensors.zst", "-o", "n.safetensors", "--type", "bf16"]).status
                    == 0)
            // The header is ours now, the data are the same.
            let size = try Checkpoint.open(Self.model).tensors.reduce(0) { $0 + $1.byteCount }
            let isSame =
                try readFile(folder + "/n.safetensors").suffix(size) == readFile(folder + "/m.safetensors").suffix(size)
            #expect(isSame)

            #expect(try program.run(["convert", Self.adapter, "-o", "a.tspeft.zst"]).status == 0)
            #expect(try program.run(["convert", "a.tspeft.zst", "-o", "a"]).status == 0)
            for name in try names(in: folder + "/a") {
                #expect(try readFile(folder + "/a/" + name) == readFile(Self.adapter + "/" + name))
            }
        }
    }

    @Test(arguments: [
        (["MODEL", "-o", "x", "--to", "gguf"], 64, "writes a file whose name ends in .gguf, which 'x' does not"),
        (["MODEL", "-o", "x.gguf", "--to", "huggingface"], 64, "writes a directory, but 'x.gguf' ends as a file does"),
        (["MODEL", "-o", "x", "--type", "q9"], 64, "--type must be one of f32, f16, bf16, q8_0"),
        (["MODEL", "-o", "x.gguf", "--type", "iq3_xxs"], 69, "tspeft reads such tensors, but writes none"),
        (["MODEL", "-o", "x", "--type", "q4_0"], 69, "safetensors holds no blocks such as Q4_0"),
        (["MODEL", "-o", "x", "--max-shard-size", "0GB"], 64, "must be a size such as 5GB, 500MB or 2GiB, not '0GB'"),
        (
            ["MODEL", "-o", "x.safetensors", "--max-shard-size", "1GB"], 64,
            "'x.safetensors' is a single safetensors file"
        ),
        (["MODEL", "-o", "x.tspeft.zst"], 64, "is no adapter, and 'x.tspeft.zst' would hold one"),
        (["ADAPTER", "-o", "x.gguf"], 64, "'export' writes it for other programs, 'merge' puts it into its base"),
        (["ADAPTER", "-o", "x.tspeft.zst", "--type", "f16"], 64, "an adapter is packed as it is"),
        (["nothing", "-o", "x.gguf"], 66, "nothing: no such file or directory"),
        (["MODEL", "-o", "MODEL", "--force"], 73, "the output would replace the input"),
        (["MODEL", "-o", "x.gguf", "--threads", "0"], 64, "--threads must be between 1 and"),
    ])
    func refusalIsOneSentence(_ arguments: [String], _ status: Int, _ sentence: String) throws {
        try withTemporaryFolder { folder in
            let places = ["MODEL": Self.model, "ADAPTER": Self.adapter]
            let outcome = try Program(folder: folder).run(["convert"] + arguments.map { places[$0] ?? $0 })
            #expect(outcome.status == Int32(status))
            #expect(outcome.errors.contains(sentence), "\(outcome.errors)")
            #expect(outcome.errorLines.count == 1)
            #expect(try names(in: folder).isEmpty)
        }
    }
}
