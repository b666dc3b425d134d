import CheckpointIO
import Foundation
import TestSupport
import Testing
import Transforms

@testable import TSPEFT
@testable import tspeft

@Suite struct InspectFilesTests {
    func checkpoint(_ path: String, _ request: TensorRequest = TensorRequest()) throws -> CheckpointInspection {
        guard case .checkpoint(let found) = try inspectFiles(path, request) else { throw Unexpected() }
        return found
    }

    struct Unexpected: Error {}

    @Test func ggufHeaderAndMetadataAreTold() throws {
        let found = try checkpoint(fixture("formats/metadata.gguf"))
        #expect(found.files.headers == [.gguf(version: 3, alignment: 64)])
        let entries = Dictionary(uniqueKeysWithValues: found.files.metadata.map { ($0.key, $0) })
        #expect(entries["test.u64"]?.value.text() == "18446744073709551615")
        #expect(entries["test.i8"]?.type == "int8" && entries["test.f64"]?.value.text() == "0.1")
        let model = try checkpoint(fixture("tiny-llama-gguf/tiny-llama-q8_0.gguf"))
        let tokens = try #require(model.files.metadata.first { $0.key == "tokenizer.ggml.tokens" })
        #expect(tokens.type == "2048 strings" && tokens.value.arrayValue?.count == 8 && tokens.omittedCount == 2040)
        let line = try #require(
            InspectionText.lines(.checkpoint(model)).first { $0.hasPrefix("tokenizer.ggml.tokens") })
        #expect(line.hasSuffix(", ...]") && line.count < 130)
    }

    @Test(arguments: QuantizedByLlama.all)
    func typesThatLlamaCppGaveAreNamedAndCounted(_ file: QuantizedByLlama) throws {
        let found = try checkpoint(file.path)
        #expect(found.modelProblem == nil && found.tokenizerProblem == nil)
        let rows = InspectionText.lines(.checkpoint(found)).map { $0.split(separator: " ").prefix(2).map(String.init) }
        let counts = Dictionary(grouping: file.tensors.values, by: \.type).mapValues(\.count)
        for (type, count) in counts { #expect(rows.contains([type, "\(count)"]), "\(type)") }
        #expect(rows.contains(["together", "\(counts.values.reduce(0, +))"]))
    }

    @Test func safetensorsMetadataAndHeadersAreTold() throws {
        let found = try checkpoint(fixture("formats/dtypes.safetensors"))
        #expect(found.files.headers == [.safetensors(byteCount: 1184)])
        #expect(found.files.metadata.map(\.key) == ["format", "made by"])
        // "format": "pt" says nothing to a reader.
        let lines = InspectionText.lines(.checkpoint(found))
        #expect(lines.contains("made by   string  safetensors") && !lines.contains { $0.hasPrefix("format") })
    }

    @Test func filesOfNoModelAreInspectedWhole() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/vectors.safetensors"
            try SafetensorsWriter.write([(name: "style", shape: [3], values: [1, .nan, 3])], to: path)
            let found = try checkpoint(path, TensorRequest(statistics: true, checksums: true))
            #expect(found.modelProblem == nil && found.namedArchitecture == nil)
            #expect(found.files.elementCount == 3)
            let lines = InspectionText.lines(.checkpoint(found))
            // Nobody takes it for a model.
            #expect(!lines.contains { $0.contains("forward pass") })
            #expect(lines.contains { $0.hasPrefix("style   F32   [3]      1    3     2    1    1    0") })
            #expect(lines.contains("NaN or Inf in 1 of 1 tensors, left out of the other figures"))
            let table = try #require(
                try inspectFiles(path, TensorRequest(statistics: true, checksums: true)).json["tensor_table"])
            let tensor = try #require(table.arrayValue?.first)
            #expect(tensor["statistics"]?["nan"]?.intValue == 1 && tensor["statistics"]?["mean"]?.doubleValue == 2)
            #expect(tensor["sha256"]?.stringValue?.count == 64 && tensor["offset"]?.intValue ?? 0 > 0)
        }
    }

    @Test func unknownArchitecturesAreNamed() throws {
        try withTemporaryFolder { folder in
            try SafetensorsWriter.write([(name: "w", shape: [1], values: [1])], to: folder + "/model.safetensors")
            try writeFile(folder + "/config.json", #"{"architectures": ["BertModel"], "model_type": "bert"}"#)
            #expect(try checkpoint(folder).namedArchitecture == "BertModel (bert)")
            var builder = GGUFBuilder()
            builder.add("general.architecture", text: "mamba")
            builder.addTensor("w", shape: [2], floats: [1, 2])
            try writeFile(folder + "/m.gguf", builder.file)
            #expect(try checkpoint(folder + "/m.gguf").namedArchitecture == "mamba")
        }
    }

    @Test func tensorsWithoutNumbersAreSaidSo() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/c.safetensors"
            let header = #"{"c": {"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}}   "#
            var bytes = [UInt8](repeating: 0, count: 8)
            bytes[0] = UInt8(header.utf8.count)
            bytes += header.utf8
            bytes += [UInt8](1...8)
            try writeFile(path, bytes)
            let found = try inspectFiles(path, TensorRequest(statistics: true))
            #expect(InspectionText.lines(found).last == "not read: tspeft has no numbers of type C64")
            #expect(try found.json["tensor_table"]?.arrayValue?.first?["statistics"]?.isNull == true)
        }
    }

    @Test func ggufAdaptersAreToldFromModels() throws {
        try withTemporaryFolder { folder in
            var builder = GGUFBuilder()
            builder.add("general.type", text: "adapter")
            builder.add("general.architecture", text: "llama")
            builder.add("general.base_model.0.name", text: "Tiny")
            builder.add("adapter.type", text: "lora")
            builder.add("adapter.lora.alpha", float: 16)
            builder.addTensor("blk.0.attn_q.weight.lora_a", shape: [2, 4], floats: [1, 2, 3, 4, 5, 6, 7, 8])
            builder.addTensor("blk.0.attn_q.weight.lora_b", shape: [3, 2], floats: [1, 2, 3, 4, 5, 6])
            builder.addTensor("stray", shape: [1], floats: [1])
            try writeFile(folder + "/lora.gguf", builder.file)
            guard case .adapterFile(let found) = try inspectFiles(folder + "/lora.gguf") else { throw Unexpected() }
            #expect(
                found.facts.modules == [
                    .init(name: "model.layers.0.self_attn.q_proj", rank: 2, inputSize: 4, outputSize: 3)
                ])
            #expect(found.facts.alpha == 16 && found.facts.base == "Tiny" && found.facts.otherTensors == ["stray"])
            let lines = InspectionText.lines(.adapterFile(found))
            #expect(lines.contains("modules        1: 1 q_proj") && lines.contains("rank           2"))
            #expect(try Inspection.adapterFile(found).json["kind"]?.stringValue == "adapter_file")
        }
    }

    @Test func layersThatAreTrainedWholeAreNamed() throws {
        let found = try inspectFiles(fixture("peft/saved-modules"))
        guard case .adapter(let adapter) = found else { throw Unexpected() }
        let saved = adapter.adapter.savedModules
        let first = try #require(saved.first)
        let line = InspectionText.lines(found).first { $0.hasPrefix("trained whole") }
        #expect(line?.contains(saved.map { "\($0.name) \($0.shape)" }.joined(separator: ", ")) == true)
        #expect(try found.json["modules_to_save"]?.arrayValue?.first?["tensor"] == .string(first.name))
    }

    @Test func factsOfTheMethodAreTold() throws {
        let found = try inspectFiles(fixture("peft/adalora"))
        guard case .adapter(let adapter) = found else { throw Unexpected() }
        let fact = try #require(adapter.adapter.methodFacts.first)
        #expect(InspectionText.lines(found).contains { $0.hasPrefix(fact.name) && $0.hasSuffix(fact.value) })
        #expect(try found.json["method_facts"]?[fact.name]?.stringValue == fact.value)
    }
}
