import CheckpointIO
import Compute
import Glibc
import Models
import TensorCore
import TestSupport
import Testing
import Tokenization

@testable import Transforms

/// Conversions of the fixture model between the formats.
@Suite struct CheckpointConversionTests {
    private static let model = fixture("tiny-llama")
    private static let twin = fixture("tiny-llama-gguf/tiny-llama-bf16.gguf")

    /// Converts and gives the plan.
    @discardableResult private func convert(
        _ input: String, to output: String, type: String? = nil, limit: Int? = nil
    ) throws -> CheckpointConversion {
        let format: CheckpointConversion.Format =
            output.hasSuffix(".gguf") ? .gguf : output.hasSuffix(".safetensors") ? .safetensors : .huggingFace
        let mix = try type.map { try #require(QuantizationMix(named: $0)) }
        let plan = try CheckpointConversion(
            try Checkpoint.open(input), to: format, at: output, type: mix, shardByteLimit: limit)
        try plan.write(threadCount: 2)
        for file in plan.files {
            #expect(try readSmallFile(file.path, limit: 1 << 24).count == file.byteCount)
        }
        return plan
    }

    private func expectSame(_ left: String, _ right: String) throws {
        let (left, right) = (try Checkpoint.open(left), try Checkpoint.open(right))
        #expect(Set(left.tensors.map(\.name)) == Set(right.tensors.map(\.name)))
        for record in right.tensors {
            let other = try left.requiredRecord(record.name)
            #expect(other.encoding == record.encoding, "\(record.name)")
            #expect(other.shape == record.shape, "\(record.name)")
            let isSame = try bytes(left, record.name) == bytes(right, record.name)
            #expect(isSame, "\(record.name)")
        }
    }

    @Test(arguments: ["bf16", "f16", "f32"])
    func thereAndBackIsTheSame(type: String) throws {
        try withTemporaryFolder { folder in
            // The fixture's weights are in BF16; most fit F16.
            try convert(Self.model, to: folder + "/plain", type: type)
            let record = #"{"format": 1, "merges": [{"adapter": {"digest": "abc"}}]}"#
            try writeFile(folder + "/plain/" + MergeRecord.fileName, record)
            try convert(folder + "/plain", to: folder + "/model.gguf")
            try convert(folder + "/model.gguf", to: folder + "/back")
            try expectSame(folder + "/back", folder + "/plain")
            let (left, right) = (
                try ModelCheckpoint.open(folder + "/back"), try ModelCheckpoint.open(folder + "/plain")
            )
            #expect(try left.configuration == right.configuration)
            #expect(try MergeRecord.read(of: left.checkpoint).contains(digest: "abc"))
            let config = try JSONValue.parse(readSmallFile(folder + "/back/config.json", limit: 1 << 20))
            #expect(
                config["torch_dtype"]?.stringValue == ["bf16": "bfloat16", "f16": "float16", "f32": "float32"][type])
            let written = try Tokenizer.load(modelPath: folder + "/back")
            let original = try Tokenizer.load(modelPath: Self.model)
            for text in ["The film is good.", "  two  spaces\n\n\tand tabs", "naïve 🙂 漢字 12345 don't", ""] {
                #expect(written.encode(text) == original.encode(text))
                #expect(
                    written.encode(text, addingSpecialTokens: true) == original.encode(text, addingSpecialTokens: true))
            }
            #expect(written.eosTokenID == original.eosTokenID)
        }
    }

    @Test func ggufHasWhatThePythonPackageWrites() throws {
        try withTemporaryFolder { folder in
            try convert(Self.model, to: folder + "/ours.gguf")
            try expectSame(folder + "/ours.gguf", Self.twin)
            let (ours, theirs) = (
                try #require(try Checkpoint.open(folder + "/ours.gguf").metadata),
                try #require(try Checkpoint.open(Self.twin).metadata)
            )
            for key in theirs.keys where key != "general.name" {
                #expect(ours.encoded(key) == theirs.encoded(key), "\(key)")
            }
            #expect(ours["general.name"]?.stringValue == "Tiny Llama")
            let extra = Set(ours.keys).subtracting(theirs.keys)
            #expect(
                extra == [
                    "general.type", "general.size_label", "general.quantization_version",
                    "tokenizer.ggml.add_eos_token", BaseFingerprint.sourcesKey,
                ])
        }
    }

    @Test func quantizedFileReadsBackAsWhatItHolds() throws {
        try withTemporaryFolder { folder in
            let plan = try convert(Self.model, to: folder + "/q.gguf", type: "q8_0")
            #expect(plan.encodings.map(\.encoding.description) == ["Q8_0", "F32"])
            try convert(folder + "/q.gguf", to: folder + "/back", type: "f32")
            let (quantized, back) = (
                try ModelCheckpoint.open(folder + "/q.gguf"), try ModelCheckpoint.open(folder + "/back")
            )
            for name in quantized.tensorNames {
                let isSame = try quantized.floats(name) == back.floats(name)
                #expect(isSame, "\(name)")
            }
            #expect(quantized.checkpoint.metadata?["general.file_type"]?.intValue == 7)
            // Anew in another type, which no file of blocks refuses.
            let again = try convert(folder + "/q.gguf", to: folder + "/again.gguf", type: "q4_k_m")
            #expect(again.notes.contains { $0.contains("quantized anew from Q8_0") })
            #expect(try Checkpoint.open(folder + "/again.gguf").metadata?["general.file_type"]?.intValue == 15)
        }
    }

    @Test func blocksBecomeBF16UnlessSaidOtherwise() throws {
        try withTemporaryFolder { folder in
            let plan = try convert(fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf"), to: folder + "/out")
            #expect(plan.encodings.map(\.encoding.description) == ["BF16"])
            // The norms came from BF16, so nothing is lost by it.
            let (model, back) = (
                try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf")),
                try ModelCheckpoint.open(folder + "/out")
            )
            let norm = "model.layers.0.input_layernorm.weight"
            #expect(try model.floats(norm) == back.floats(norm))
        }
    }

    @Test func normsThatBF16CannotHoldStayF32() throws {
        try withTemporaryFolder { folder in
            let source = try Checkpoint.open(Self.twin)
            var builder = GGUFBuilder()
            for key in try #require(source.metadata).keys {
                let value = try #require(source.metadata?.encoded(key))
                builder.add(key, type: value.type, value: value.bytes)
            }
            for record in source.tensors {
                var data = try bytes(source, record.name)
                if record.name == "output_norm.weight" { data[0] |= 1 }
                builder.addTensor(
                    record.name, extents: record.shape.reversed().map(UInt64.init),
                    type: record.encoding == .plain(.f32) ? 0 : 30,
                    data: data)
            }
            try writeFile(folder + "/odd.gguf", builder.file)
            try convert(folder + "/odd.gguf", to: folder + "/out")
            let out = try Checkpoint.open(folder + "/out")
            #expect(out.record("model.norm.weight")?.encoding == .plain(.f32))
            #expect(out.record("model.layers.0.input_layernorm.weight")?.encoding == .plain(.bf16))
        }
    }

    @Test func shardsAndSplitsJoinAgain() throws {
        try withTemporaryFolder { folder in
            let shards = try convert(Self.model, to: folder + "/shards", limit: 1 << 20)
            #expect(shards.files.count > 3)
            #expect(shards.files.allSatisfy { $0.tensorCount == 1 || $0.byteCount < 1 << 20 })
            try expectSame(folder + "/shards", Self.model)
            // Kept as they are, unless a size is given.
            #expect(try convert(folder + "/shards", to: folder + "/kept").files.count == shards.files.count)
            try convert(folder + "/shards", to: folder + "/joined", limit: 1 << 30)
            try expectSame(folder + "/joined", Self.model)
            try convert(folder + "/shards", to: folder + "/alone.safetensors")
            try expectSame(folder + "/alone.safetensors", Self.model)
            for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
                #expect(
                    try readSmallFile(folder + "/joined/" + name, limit: 1 << 24)
                        == readSmallFile(Self.model + "/" + name, limit: 1 << 24))
            }
        }
    }

    @Test func valueThatATypeCannotHoldIsNamed() throws {
        try withTemporaryFolder { folder in
            mkdir(folder + "/in", 0o777)
            try SafetensorsWriter.write(
                [("a.weight", [2, 2], [1, 2, 70_000, 3])], to: folder + "/in/model.safetensors")
            #expect(
                throws: TransformError.unusableTensor(
                    base: folder + "/in", tensor: "a.weight",
                    reason: "has the value 70000.0 at element 2, which is too large for F16")
            ) { try convert(folder + "/in", to: folder + "/out", type: "f16") }
            #expect(pathKind(folder + "/out") == .nothing)
            // Infinity is data.
            try SafetensorsWriter.write(
                [("a.weight", [2], [.infinity, .nan])], to: folder + "/in/model.safetensors", replacing: true)
            try convert(folder + "/in", to: folder + "/out", type: "f16")
            let out = try Checkpoint.open(folder + "/out")
            let values = try out.floats(of: try out.requiredRecord("a.weight"))
            #expect(values[0] == .infinity && values[1].isNaN)

            var builder = GGUFBuilder()
            builder.add("general.architecture", text: "any")
            builder.addTensor("b.weight", shape: [2, 32], floats: (0..<64).map { $0 == 40 ? .nan : Float($0) })
            try writeFile(folder + "/nan.gguf", builder.file)
            #expect {
                try convert(folder + "/nan.gguf", to: folder + "/q.gguf", type: "q8_0")
            } throws: {
                "\($0)".contains("'b.weight' cannot be written as Q8_0: the block from element 32 on has the value nan")
            }
            #expect(directoryEntries(folder) == ["in", "nan.gguf", "out"])
        }
    }

    @Test func unknownArchitecturePassesThroughItsOwnFormatAlone() throws {
        try withTemporaryFolder { folder in
            var builder = GGUFBuilder()
            builder.add("general.architecture", text: "novel")
            builder.add("novel.block_count", integer: 1)
            builder.addTensor("blk.0.mixer.weight", shape: [4, 32], floats: (0..<128).map(Float.init))
            builder.addTensor("blk.0.mixer.ids", extents: [3], type: 26, data: [UInt8](repeating: 7, count: 12))
            try writeFile(folder + "/novel.gguf", builder.file)
            try convert(folder + "/novel.gguf", to: folder + "/out.gguf", type: "f16")
            let out = try Checkpoint.open(folder + "/out.gguf")
            #expect(out.record("blk.0.mixer.weight")?.encoding == .plain(.f16))
            #expect(out.record("blk.0.mixer.ids")?.encoding == .plain(.i32))
            func noGraph(_ file: String, _ name: String) -> ModelError {
                .noGraph(file: folder + file, name: name, purpose: ModelCheckpoint.conversion)
            }
            #expect(throws: noGraph("/novel.gguf", "novel")) {
                try convert(folder + "/novel.gguf", to: folder + "/hf")
            }

            mkdir(folder + "/bert", 0o777)
            try SafetensorsWriter.write(
                [("x.weight", [2, 2], [1, 2, 3, 4])], to: folder + "/bert/model.safetensors")
            try writeFile(folder + "/bert/config.json", #"{"model_type": "bert", "torch_dtype": "float32", "x": 1.50}"#)
            try writeFile(folder + "/bert/vocab.txt", "a\nb\n")
            try convert(folder + "/bert", to: folder + "/bert16", type: "bf16")
            #expect(try Checkpoint.open(folder + "/bert16").record("x.weight")?.encoding == .plain(.bf16))
            let config = try JSONValue.parse(readSmallFile(folder + "/bert16/config.json", limit: 1 << 20))
            #expect(config["torch_dtype"]?.stringValue == "bfloat16")
            #expect(config["x"] == .number("1.50"))
            #expect(try readSmallFile(folder + "/bert16/vocab.txt", limit: 100) == Array("a\nb\n".utf8))
            #expect(throws: noGraph("/bert/config.json", "bert")) {
                try convert(folder + "/bert", to: folder + "/bert.gguf")
            }
        }
    }

    @Test func outputThatIsTheInputIsRefused() throws {
        try withTemporaryFolder { folder in
            try convert(Self.model, to: folder + "/a.gguf")
            #expect(throws: TransformError.outputIsInput(path: folder + "/a.gguf")) {
                try convert(folder + "/a.gguf", to: folder + "/a.gguf")
            }
            try link(folder + "/b.gguf", to: folder + "/a.gguf")
            #expect(throws: TransformError.outputIsInput(path: folder + "/b.gguf")) {
                try convert(folder + "/a.gguf", to: folder + "/b.gguf")
            }
            #expect(throws: CheckpointError.outputExists(path: folder + "/a.gguf")) {
                try convert(Self.model, to: folder + "/a.gguf")
            }
        }
    }

    @Test func wideNumberThatFloatsCannotHoldIsNamed() throws {
        try withTemporaryFolder { folder in
            mkdir(folder + "/in", 0o777)
            let writer = try SafetensorsWriter(
                AtomicFileWriter(folder + "/in/model.safetensors"),
                entries: [SafetensorsEntry(name: "w", dtype: .f64, shape: [4])])
            try [1, -Double.infinity, 1e300, 2].withUnsafeBytes { try writer.append($0) }
            try writer.finish()
            #expect(
                throws: TransformError.unusableTensor(
                    base: folder + "/in", tensor: "w",
                    reason: "has the value 1e+300 at element 2, which is too large for BF16")
            ) { try convert(folder + "/in", to: folder + "/out", type: "bf16") }
        }
    }

    @Test(arguments: [
        ConvertedTensor.Reordering.asStored, .toGGUF(GGUFForm(rows: .rotaryPairs(headSize: 4))),
        .fromGGUF(GGUFForm(rows: .rotaryPairs(headSize: 4))),
    ])
    func wideNumberIsNamedByItsPlaceInTheInput(order: ConvertedTensor.Reordering) throws {
        try withTemporaryFolder { folder in
            let path = folder + "/model.safetensors"
            let writer = try SafetensorsWriter(
                AtomicFileWriter(path), entries: [SafetensorsEntry(name: "w", dtype: .f64, shape: [8, 2])])
            // Row 5 is another row of the output in each order; infinity, in row 6, is data.
            let numbers = (0..<16).map { $0 == 11 ? 1e300 : $0 == 12 ? .infinity : Double($0) }
            try numbers.withUnsafeBytes { try writer.append($0) }
            try writer.finish()
            let checkpoint = try Checkpoint.open(path)
            let tensor = ConvertedTensor(
                try checkpoint.requiredRecord("w"), encoding: .plain(.f32), order: order)
            guard case .made(let rows) = tensor.content(from: checkpoint) else {
                Issue.record("the tensor is stored as it is")
                return
            }
            let workspace = RowWorkspace()
            #expect(
                throws: TransformError.unusableTensor(
                    base: path, tensor: "w",
                    reason: "has the value 1e+300 at element 11, which is too large for F32")
            ) {
                try rows.begin()(0..<rows.count, workspace, workspace.bytes(rows.count * rows.byteCount))
            }
        }
    }

    @Test func quantizedWeightsKeepTheirScalesType() throws {
        try withTemporaryFolder { folder in
            mkdir(folder + "/in", 0o777)
            try SafetensorsWriter.write([("w.scale", [1], [1])], to: folder + "/in/model.safetensors")
            try writeFile(folder + "/in/config.json", #"{"quantization_config": {"quant_method": "fp8"}}"#)
            #expect { try convert(folder + "/in", to: folder + "/out", type: "bf16") } throws: {
                "\($0)".contains("the weights are quantized by 'fp8'")
            }
            try convert(folder + "/in", to: folder + "/out")
            try expectSame(folder + "/out", folder + "/in")
        }
    }
}
