import CheckpointIO
import Foundation
import TestSupport
import Testing

/// The tiny model in files of other names: what is written goes by the base's names.
struct FileNameTests {
    /// A layout of the tiny model's files, made by a conversion of which files are renamed or removed.
    struct Layout: CustomTestStringConvertible, Sendable {
        /// Where each file of the conversion goes; nil for one that is removed.
        let names: [String: String?]
        /// The tensor files and indexes that an output has, in the order of their names.
        let kept: [String]
        var limit = ""
        var testDescription: String { kept.joined(separator: " ") }
    }

    private static let index = "model.safetensors.index.json"
    private static let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]

    static let layouts = [
        Layout(names: ["model.safetensors": "weights.safetensors"], kept: ["weights.safetensors"]),
        Layout(names: [index: nil], kept: shards, limit: "--max-shard-size 4MB"),
        Layout(
            names: [index: "diffusion_pytorch_model.safetensors.index.json"],
            kept: ["diffusion_pytorch_model.safetensors.index.json"] + shards, limit: "--max-shard-size 4MB"),
        Layout(
            names: [index: nil, shards[0]: "first.safetensors", shards[1]: "second.safetensors"],
            kept: ["first.safetensors", "second.safetensors"], limit: "--max-shard-size 4MB"),
    ]

    private func succeed(_ folder: String, _ line: String) throws {
        let outcome = try Program(folder: folder).run(line.split(separator: " ").map(String.init))
        #expect(outcome.status == 0, "\(line): \(outcome.errors)")
    }

    private func weightFiles(_ path: String) -> [String] {
        directoryEntries(path).filter { $0.contains(".safetensors") }
    }

    @Test(arguments: layouts) func namesOfTheBasesFilesAreKept(_ layout: Layout) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            try succeed(folder, "convert \(TinyRun.base) -o base \(layout.limit)")
            for (name, new) in layout.names {
                let path = folder + "/base/" + name
                if let new {
                    try FileManager.default.moveItem(atPath: path, toPath: folder + "/base/" + new)
                } else {
                    try FileManager.default.removeItem(atPath: path)
                }
            }
            #expect(weightFiles(folder + "/base") == layout.kept.sorted())
            try succeed(folder, "merge base --adapter \(run.path("tuned")) -o merged --dtype f32")
            try succeed(folder, "merge \(TinyRun.base) --adapter \(run.path("tuned")) -o reference --dtype f32")
            #expect(weightFiles(folder + "/merged") == layout.kept.sorted())
            let (merged, reference) = (
                try Checkpoint.open(folder + "/merged"), try Checkpoint.open(folder + "/reference")
            )
            for tensor in reference.tensors {
                let name = tensor.name
                let left = try merged.withBytes(of: merged.requiredRecord(name)) { Array($0) }
                #expect(try left == reference.withBytes(of: tensor) { Array($0) }, "\(name)")
            }

            try succeed(folder, "convert base -o copy")
            let copied = weightFiles(folder + "/copy").filter { $0.hasSuffix(".safetensors") }
            #expect(copied == layout.kept.filter { $0.hasSuffix(".safetensors") }.sorted())
            for name in copied {
                #expect(try readFile(folder + "/copy/" + name) == readFile(folder + "/base/" + name))
            }
            try succeed(folder, "inspect copy")
        }
    }

    @Test func whatIsNoModelsBesideItIsNotRead() throws {
        try withTemporaryFolder { folder in
            try succeed(folder, "convert \(TinyRun.base) -o base")
            try FileManager.default.moveItem(
                atPath: folder + "/base/model.safetensors", toPath: folder + "/base/weights.safetensors")
            for name in ["adapter_model.safetensors", "optimizer.safetensors", "consolidated.safetensors"] {
                try SafetensorsWriter.write([("model.norm.weight", [1], [7])], to: folder + "/base/" + name)
            }
            try succeed(folder, "inject base --rank 1 -o adapter")
            try succeed(folder, "convert base -o copy")
            #expect(weightFiles(folder + "/copy") == ["weights.safetensors"])

            // Twice the same tensor, and a file that is cut off.
            try SafetensorsWriter.write([("model.norm.weight", [1], [7])], to: folder + "/base/norms.safetensors")
            for line in ["inject base --rank 1 -o new", "convert base -o new", "inspect base"] {
                let outcome = try Program(folder: folder).run(line.split(separator: " ").map(String.init))
                #expect(outcome.status == 65 && outcome.errorLines.count == 1)
                #expect(outcome.errors.contains("'norms.safetensors' and 'weights.safetensors'"), "\(outcome.errors)")
            }
            let whole = try readFile(folder + "/base/norms.safetensors")
            try writeFile(folder + "/base/norms.safetensors", Array(whole.dropLast()))
            let outcome = try Program(folder: folder).run(["convert", "base", "-o", "new"])
            #expect(outcome.status == 65 && outcome.errors.contains("norms.safetensors"), "\(outcome.errors)")
            #expect(!directoryEntries(folder).contains("new"))
        }
    }
}
