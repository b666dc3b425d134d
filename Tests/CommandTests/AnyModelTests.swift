import Adapters
import CheckpointIO
import Foundation
import Models
import TestSupport
import Testing

/// Commands that need no forward pass, on small models of families most of which there are no graphs of; see
/// Tests/Scripts/make_any_model_fixtures.py.
struct AnyModelTests {
    static let models = withoutGraph + ["mixtral", "phi3"]
    static let withoutGraph = ["gpt2", "bert", "t5", "whisper", "clip"]

    private func run(_ folder: String, _ line: String) throws -> Program.Outcome {
        try Program(folder: folder).run(line.split(separator: " ").map(String.init))
    }

    private func succeed(_ folder: String, _ line: String) throws -> String {
        let outcome = try run(folder, line)
        #expect(outcome.status == 0, "\(line): \(outcome.errors)")
        return outcome.output
    }

    /// Paths, outputs and inputs of the model's linear layers.
    private func modules(_ name: String) throws -> [(path: String, outputSize: Int, inputSize: Int)] {
        let known = try JSONValue.parse(readSmallFile(fixture("any-model/\(name)/modules.json"), limit: 1 << 16))
        return (known["linear"]?.arrayValue ?? []).compactMap(\.arrayValue).map {
            ($0[0].stringValue ?? "", $0[1].intValue ?? 0, $0[2].intValue ?? 0)
        }
    }

    @Test(arguments: models) func adapterOfAllLinearModulesHasPEFTsKeys(_ name: String) throws {
        let base = fixture("any-model/" + name)
        try withTemporaryFolder { folder in
            let output = try succeed(
                folder, "inject \(base) --method lora --rank 2 --targets all-linear -o adapter")
            let isUnknown = output.contains("tspeft has no graph of this base") && output.contains("is not known")
            #expect(isUnknown == Self.withoutGraph.contains(name))
            let tensors = try Checkpoint.open(folder + "/adapter/adapter_model.safetensors")
            let head = try ModelCheckpoint.open(base).specifications.outputHead?.module
            let expected = try modules(name).filter { $0.path != head }
            for module in expected {
                let prefix = "base_model.model." + module.path
                #expect(tensors.record(prefix + ".lora_A.weight")?.shape == [2, module.inputSize])
                #expect(tensors.record(prefix + ".lora_B.weight")?.shape == [module.outputSize, 2])
            }
            // The matrices of Mixtral's experts and routers, which are modules in its files alone, are not among them.
            #expect(tensors.tensors.count == 2 * expected.count)
            let read = try AdapterDirectory.read(folder + "/adapter")
            // What all linear layers are is a matter of the graph where there is one.
            let isByName = Self.withoutGraph.contains(name)
            #expect(read.configuration.targets == (isByName ? .names(read.modules) : .allLinear))
            let isTransposed = read.configuration.json["fan_in_fan_out"]?.boolValue
            #expect(isTransposed == (name == "gpt2"))
            let causal = ["gpt2", "mixtral", "phi3"].contains(name)
            #expect(read.configuration.taskType == (causal ? "CAUSAL_LM" : nil))

            _ = try succeed(folder, "export adapter --to peft -o peft")
            #expect(try AdapterDirectory.read(folder + "/peft").modules == read.modules)
            let inspected = try succeed(folder, "inspect adapter")
            #expect(inspected.contains("lora") && inspected.contains("\(read.modules.count)"))
        }
    }

    @Test func magnitudesOfATransposedWeightAreThoseOfItsColumns() throws {
        try withTemporaryFolder { folder in
            let base = fixture("any-model/gpt2")
            _ = try succeed(folder, "inject \(base) --method dora --rank 2 --targets c_attn -o adapter")
            let adapter = try AdapterDirectory.read(folder + "/adapter")
            let path = "transformer.h.1.attn.c_attn"
            let stored = try ModelCheckpoint.open(base).floats(path + ".weight")
            let magnitude = try #require(adapter.tensor(path, PEFTNames.magnitude)).values
            #expect(magnitude.count == 48)
            for (row, value) in magnitude.enumerated() {
                let sum = (0..<16).reduce(0.0) { $0 + Double(stored[$1 * 48 + row]) * Double(stored[$1 * 48 + row]) }
                #expect(abs(Double(value) - sum.squareRoot()) < 1e-5)
            }
        }
    }

    @Test func targetsAreSuffixesPathsAndPatterns() throws {
        try withTemporaryFolder { folder in
            let bert = fixture("any-model/bert")
            _ = try succeed(folder, "inject \(bert) --method lora --rank 1 --targets query,output.dense -o a")
            // `output.dense` ends attention.output.dense and output.dense of both layers.
            #expect(try AdapterDirectory.read(folder + "/a").modules.count == 2 + 4)
            let pattern = #".*layer\.1\..*(query|key)"#
            _ = try succeed(folder, "inject \(bert) --method lora --rank 1 --targets \(pattern) -o b")
            #expect(
                try AdapterDirectory.read(folder + "/b").modules == [
                    "bert.encoder.layer.1.attention.self.key", "bert.encoder.layer.1.attention.self.query",
                ])
            _ = try succeed(
                folder,
                "inject \(bert) --method lora --rank 1 --targets all-linear --exclude cls.predictions.transform.dense -o c"
            )
            #expect(try AdapterDirectory.read(folder + "/c").modules.count == 12)
        }
    }

    @Test func whatIsNoLinearModuleIsRefusedByName() throws {
        try withTemporaryFolder { folder in
            for (model, target, words) in [
                ("gpt2", "wte", "'transformer.wte.weight' [40, 16], which is an embedding"),
                ("gpt2", "wpe", "'transformer.wpe.weight' [16, 16], which is no matrix that is multiplied with"),
                ("gpt2", "ln_1", "which is a norm's"),
                ("whisper", "conv1", "'model.encoder.conv1.weight' [16, 4, 3], which is a convolution's"),
            ] {
                let base = fixture("any-model/" + model)
                let outcome = try run(folder, "inject \(base) --method lora --targets \(target) -o new")
                #expect(outcome.status == 69 && outcome.errorLines.count == 1, "\(outcome.errors)")
                #expect(outcome.errors.contains(words), "\(outcome.errors)")
            }
            let nearest = try run(folder, "inject \(fixture("any-model/gpt2")) --method lora --targets q_proj -o new")
            #expect(nearest.status == 65 && nearest.errors.contains("matches no linear module"), "\(nearest.errors)")

            // Experts in one tensor, as transformers 5 and llama.cpp have them.
            try SafetensorsWriter.write(
                [
                    ("model.layers.0.mlp.experts.gate_up_proj", [2, 4, 6], [Float](repeating: 1, count: 48)),
                    ("model.layers.0.mlp.gate.weight", [2, 4], [Float](repeating: 1, count: 8)),
                ], to: folder + "/packed.safetensors")
            let packed = try run(folder, "inject packed.safetensors --method lora --targets gate_up_proj -o new")
            #expect(
                packed.status == 69 && packed.errors.contains("holds the matrices of 2 experts"), "\(packed.errors)")
            #expect(directoryEntries(folder) == ["packed.safetensors"])
            let table = try succeed(folder, "inspect packed.safetensors")
            #expect(table.contains("model.layers.*.mlp.experts.gate_up_proj") && table.contains("experts"))
        }
    }

    @Test(arguments: withoutGraph) func forwardPassesAreRefusedInOneSentence(_ name: String) throws {
        try withTemporaryFolder { folder in
            let base = fixture("any-model/" + name)
            try writeFile(folder + "/records.json", #"{"text": "a"}"# + "\n")
            _ = try succeed(folder, "inject \(base) --method lora --rank 1 --targets all-linear -o adapter")
            for line in [
                "train \(base) --adapter adapter --data records.json -o new",
                "train \(base) --adapter adapter --data records.json -o new --dry-run",
                "eval \(base) --data records.json", "generate \(base) --prompt a", "convert \(base) -o new.gguf",
                "export adapter --base \(base) --to mlx -o new",
            ] {
                let outcome = try run(folder, line)
                #expect(outcome.status == 69 && outcome.errorLines.count == 1, "\(line): \(outcome.errors)")
                #expect(
                    outcome.errors.contains("the architecture '\(name)' is not known"), "\(line): \(outcome.errors)")
                #expect(outcome.errors.contains("known are llama, mistral"), "\(line): \(outcome.errors)")
            }
            #expect(directoryEntries(folder) == ["adapter", "records.json"])
        }
    }

    @Test(arguments: models) func modulesAreRankedAndPruned(_ name: String) throws {
        try withTemporaryFolder { folder in
            let base = fixture("any-model/" + name)
            _ = try succeed(folder, "inject \(base) --rank 1 --targets all-linear -o adapter")
            var adapter = try AdapterDirectory.read(folder + "/adapter")
            let entries = adapter.modules.enumerated().map { index, module in
                var entry = ModuleStatistics(module: module)
                (entry.tokens, entry.active) = (1000, 1000 - 10 * index)
                (entry.sumUpdateSquared, entry.sumActiveUpdateSquared, entry.sumBaseSquared) = (20, 10, 1000)
                return entry
            }
            adapter.statistics = AdapterStatistics(source: "1,000 tokens", modules: entries)
            try adapter.write(to: OutputTarget(folder + "/tuned"))
            let table = try succeed(folder, "rank-modules tuned --keep 3 --output kept.json")
            #expect(table.contains(adapter.modules[0]))
            _ = try succeed(folder, "prune tuned --select kept.json -o pruned")
            _ = try succeed(folder, "prune tuned --keep 3 -o small")
            for path in ["pruned", "small"] {
                #expect(try AdapterDirectory.read(folder + "/" + path).modules == Array(adapter.modules.prefix(3)))
            }
            let dense = try run(folder, "inject \(base) --method lora --rank 1 --targets all-linear -o dense")
            #expect(dense.status == 0)
            #expect(try run(folder, "rank-modules dense").status == 65)
        }
    }

    @Test(arguments: models) func typesAndFilesChangeAndComeBack(_ name: String) throws {
        try withTemporaryFolder { folder in
            let base = fixture("any-model/" + name)
            let original = try Checkpoint.open(base)
            // Nothing changes where nothing is to.
            for line in ["-o same", "-o packed.safetensors.zst", "-o split --max-shard-size 8KB"] {
                _ = try succeed(folder, "convert \(base) \(line)")
            }
            #expect(try readFile(folder + "/same/model.safetensors") == readFile(base + "/model.safetensors"))
            #expect(try readFile(folder + "/same/config.json") == readFile(base + "/config.json"))
            for path in ["same", "packed.safetensors.zst", "split"] {
                let copy = try Checkpoint.open(folder + "/" + path)
                #expect(copy.tensors.count == original.tensors.count)
                for tensor in original.tensors {
                    #expect(copy.record(tensor.name)?.encoding == tensor.encoding)
                    #expect(try bytes(copy, tensor.name) == bytes(original, tensor.name), "\(path): \(tensor.name)")
                }
            }
            #expect(directoryEntries(folder + "/split").contains("model.safetensors.index.json"))

            _ = try succeed(folder, "convert \(base) --type f32 -o wide")
            let wide = try Checkpoint.open(folder + "/wide")
            #expect(wide.tensors.allSatisfy { $0.encoding == .plain(.f32) })
            for tensor in original.tensors {
                #expect(try wide.floats(of: wide.requiredRecord(tensor.name)) == original.floats(of: tensor))
            }
            if name == "clip" {
                _ = try succeed(folder, "convert wide --type bf16 -o back")
                let back = try Checkpoint.open(folder + "/back")
                for tensor in original.tensors {
                    #expect(try bytes(back, tensor.name) == bytes(original, tensor.name), "\(tensor.name)")
                }
            }
        }
    }

    @Test func inspectionTellsWhatTheTensorsAre() throws {
        try withTemporaryFolder { folder in
            let text = try succeed(folder, "inspect \(fixture("any-model/gpt2"))")
            func line(_ words: String...) -> Bool {
                text.split(separator: "\n").contains { line in words.allSatisfy { line.contains($0) } }
            }
            #expect(line("architecture", "GPT2LMHeadModel (gpt2)"))
            #expect(line("forward pass", "the architecture 'gpt2' is not known"))
            #expect(line("linear modules", "8", "2 c_attn", "4 c_proj", "2 c_fc"))
            #expect(line("transformer.h.*.attn.c_attn.weight", "2", "[16, 48]", "F32", "linear, stored as [in, out]"))
            #expect(line("transformer.wte.weight", "[40, 16]", "embedding of tokens"))
            #expect(line("transformer.h.*.ln_1.bias", "bias") && line("transformer.ln_f.weight", "norm"))
            let json = try JSONValue.parse(
                Array(try succeed(folder, "inspect \(fixture("any-model/bert")) --json").utf8))
            let patterns = try #require(json["model"]?["tensor_patterns"]?.arrayValue)
            let query = patterns.first { $0["pattern"]?.stringValue?.contains("self.query.weight") ?? false }
            #expect(query?["count"]?.intValue == 2 && query?["role"]?.stringValue == "projection")
            #expect(json["model"]?["linear_modules"]?.arrayValue?.count == 13)
            #expect(json["model"]?["tied_embeddings"]?.boolValue == true)
        }
    }

    private func bytes(_ checkpoint: Checkpoint, _ name: String) throws -> [UInt8] {
        try checkpoint.withBytes(of: checkpoint.requiredRecord(name)) { Array($0) }
    }
}
