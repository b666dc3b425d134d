import Adapters
import CheckpointIO
import Foundation
import Models
import TensorCore
import TestSupport
import Testing
import Training
import TSPEFT

/// Layers trained whole beside an adapter, from `inject` to `merge`, on the tiny model with a head of its own.
@Suite(.serialized) struct WholeModuleTrainingTests {
    private static let headKey = "base_model.model.lm_head.weight"
    private static let embeddingKey = "base_model.model.model.embed_tokens.weight"

    /// A folder with the untied model, records and a new adapter.
    private struct Bench {
        let tiny: TinyTraining
        var base: String { tiny.folder + "/untied" }
        var adapter: String { tiny.folder + "/whole" }
        var folder: String { tiny.folder }

        init(_ folder: String, method: String = "ts-lora", modules: [String] = ["lm_head", "embed_tokens"]) throws {
            tiny = try TinyTraining(folder)
            try Self.untie(TinyTraining.base, to: base)
            try inject {
                $0.method = method; $0.modulesToSave = modules
            }
        }

        /// The tiny model with an output head that differs from the embedding.
        private static func untie(_ source: String, to path: String) throws {
            try FileManager.default.copyItem(atPath: source, toPath: path)
            let text = String(decoding: try readFile(source + "/config.json"), as: UTF8.self)
            try writeFile(
                path + "/config.json",
                text.replacingOccurrences(of: "\"tie_word_embeddings\": true", with: "\"tie_word_embeddings\": false"))
            let model = try ModelCheckpoint.open(source)
            var tensors = try model.tensorNames.map {
                (name: $0, shape: model.shape(of: $0)!, values: try model.floats($0))
            }
            let embedding = try model.floats("model.embed_tokens.weight")
            tensors.append(
                (
                    name: "lm_head.weight", shape: model.shape(of: "model.embed_tokens.weight")!,
                    values: zip(embedding, randomValues(embedding.count, seed: 1, in: -0.01...0.01)).map(+)
                ))
            try SafetensorsWriter.write(tensors, to: path + "/model.safetensors", replacing: true)
        }

        @discardableResult func inject(_ change: (inout InjectRequest) -> Void) throws -> InjectReport {
            var request = InjectRequest(basePath: base, outputPath: adapter)
            request.options["rank"] = .integer(2)
            request.targets = "q_proj,down_proj"
            request.replaces = true
            change(&request)
            return try injectAdapter(request)
        }

        func request(_ name: String, _ change: (inout TrainRequest) -> Void = { _ in }) -> TrainRequest {
            tiny.request(name) {
                $0.basePath = base
                $0.adapterPath = adapter
                change(&$0)
            }
        }

        /// A saved tensor of an adapter.
        func tensor(_ name: String, _ key: String) throws -> [Float] {
            try #require(AdapterDirectory.read(folder + "/" + name).savedModules.first { $0.name == key }).values
        }
    }

    private func bench<R>(
        method: String = "ts-lora", modules: [String] = ["lm_head", "embed_tokens"], _ body: (Bench) throws -> R
    ) throws -> R {
        try withTemporaryFolder { try body(Bench($0, method: method, modules: modules)) }
    }

    @Test func newAdapterBeginsWithTheBasesWeights() throws {
        try bench { bench in
            let base = try ModelCheckpoint.open(bench.base)
            let directory = try AdapterDirectory.read(bench.adapter)
            #expect(directory.configuration.modulesToSave == ["lm_head", "embed_tokens"])
            let areTheBases =
                try directory.savedModules.map(\.values)
                == [base.floats("lm_head.weight"), base.floats("model.embed_tokens.weight")]
            #expect(areTheBases)
            var request = EvaluateRequest(
                basePath: bench.base, adapterPath: nil, dataPath: bench.tiny.records)
            request.compute = ComputeOptions(precision: .f32, threadCount: 1)
            let plain = try evaluateModel(request)
            request.adapterPath = bench.adapter
            #expect(try evaluateModel(request).loss.lossSum == plain.loss.lossSum)
        }
    }

    private func refusal(_ bench: Bench, _ change: (inout InjectRequest) -> Void) -> (any ReportableError)? {
        let error = #expect(throws: (any Error).self) {
            try bench.inject {
                $0.outputPath = bench.folder + "/refused"
                change(&$0)
            }
        }
        #expect(!pathExists(bench.folder + "/refused"))
        return error as? any ReportableError
    }

    @Test func tiedUnknownAndRepeatedLayersAreRefused() throws {
        try bench { bench in
            for name in ["lm_head", "embed_tokens"] {
                let tied = refusal(bench) {
                    $0.basePath = TinyTraining.base
                    $0.modulesToSave = [name]
                }
                #expect(tied?.exitStatus == .unsupported)
                #expect(tied?.description.contains("'\(name)' cannot be trained whole, since") == true)
            }
            let unknown = refusal(bench) { $0.modulesToSave = ["lm_head", "classifier"] }
            #expect(unknown?.exitStatus == .unsupported)
            #expect(unknown?.description.contains("'classifier'") == true)
            let twice = refusal(bench) { $0.modulesToSave = ["embed_tokens", "model.embed_tokens"] }
            #expect(twice?.exitStatus == .usage)
        }
    }

    @Test func trainingChangesThemAndEvaluationSeesIt() throws {
        try bench { bench in
            let run = try bench.tiny.train(bench.request("run") { $0.evaluationPath = bench.tiny.records })
            #expect(run.error == nil && run.steps.count == 6)
            let first = try #require(bench.tiny.log("run", "step", "loss").first?.doubleValue)
            let losses = try bench.tiny.log("run", "evaluation", "loss").compactMap(\.doubleValue)
            let last = try #require(losses.last)
            #expect(last < 0.5 * first)
            for key in [Self.headKey, Self.embeddingKey] {
                let (before, after) = (try bench.tensor("whole", key), try bench.tensor("run", key))
                let changed = zip(before, after).count { $0 != $1 }
                // Every row of the head has a gradient, of the embedding only the rows of tokens that occur.
                #expect(key == Self.headKey ? changed > before.count / 2 : changed > 0 && changed < before.count / 2)
            }
            var request = EvaluateRequest(
                basePath: bench.base, adapterPath: bench.folder + "/run", dataPath: bench.tiny.records)
            request.compute = ComputeOptions(precision: .f32, threadCount: 1)
            #expect(try abs(evaluateModel(request).loss.meanLoss / last - 1) < 1e-5)

            var generation = GenerateRequest(
                basePath: bench.base, adapterPath: bench.folder + "/run", prompt: "The film")
            generation.limit = 4
            generation.compute = request.compute
            #expect(try generateText(generation) { _ in true }.result.tokens.count > 0)

            // Without gates a merged checkpoint is what the adapter makes of the model; with them, nearly.
            _ = try mergeAdapter(
                MergeRequest(
                    basePath: bench.base, adapters: [MergeRequest.Adapter(bench.folder + "/run")],
                    outputPath: bench.folder + "/merged"))
            request.basePath = bench.folder + "/merged"
            request.adapterPath = nil
            #expect(try abs(evaluateModel(request).loss.meanLoss / last - 1) < 0.05)
        }
    }

    @Test func stoppedAndResumedRunGivesTheFilesOfAnUninterruptedOne() throws {
        try bench(method: "lora") { bench in
            #expect(try bench.tiny.train(bench.request("uninterrupted")).error == nil)
            let stopped = try bench.tiny.train(bench.request("stopped"), stopAfter: 3)
            #expect(stopped.error as? TrainingError != nil)
            let resumed = try bench.tiny.train(bench.request("stopped") { $0.resumes = true })
            #expect(resumed.error == nil && resumed.steps == [4, 5, 6])
            let isSame = try bench.tiny.result("stopped") == bench.tiny.result("uninterrupted")
            #expect(isSame)
            // Two runs with the same seed too.
            #expect(try bench.tiny.train(bench.request("again")).error == nil)
            let isRepeated = try bench.tiny.result("again") == bench.tiny.result("uninterrupted")
            #expect(isRepeated)
        }
    }

    @Test func runOfThresholdsAloneLeavesThemAsTheyAre() throws {
        try bench { bench in
            let run = try bench.tiny.train(bench.request("run") { $0.training.trainsThresholdsOnly = true })
            #expect(run.error == nil)
            for key in [Self.headKey, Self.embeddingKey] {
                let isSame = try bench.tensor("whole", key) == bench.tensor("run", key)
                #expect(isSame)
            }
            let (before, after) = (
                try AdapterDirectory.read(bench.adapter).thresholds,
                try AdapterDirectory.read(bench.folder + "/run").thresholds
            )
            #expect(before != after)
        }
    }

    @Test func pruningKeepsThem() throws {
        try bench(modules: ["embed_tokens"]) { bench in
            #expect(try bench.tiny.train(bench.request("run") { $0.training.length = .steps(1) }).error == nil)
            _ = try pruneAdapter(
                PruneRequest(
                    adapterPath: bench.folder + "/run", choice: .keep("3"), outputPath: bench.folder + "/pruned"))
            let pruned = try AdapterDirectory.read(bench.folder + "/pruned")
            #expect(pruned.modules.count == 3 && pruned.configuration.modulesToSave == ["embed_tokens"])
            let isSame = try bench.tensor("pruned", Self.embeddingKey) == bench.tensor("run", Self.embeddingKey)
            #expect(isSame)
        }
    }

    @Test func inspectionNamesThem() throws {
        try bench { bench in
            guard case .adapter(let found) = try inspectFiles(bench.adapter) else {
                Issue.record("there is an adapter")
                return
            }
            #expect(found.adapter.savedModules.map(\.name) == [Self.headKey, Self.embeddingKey])
            #expect(found.adapter.savedModules.allSatisfy { $0.shape == [2048, 192] })
            let card = String(decoding: try readFile(bench.adapter + "/README.md"), as: UTF8.self)
            #expect(card.contains("| trained whole | lm_head, embed_tokens |"))
        }
    }
}
