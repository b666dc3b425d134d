import Foundation
import TSPEFT
import Testing

/// The whole way through the library as another program goes it: this target sees public declarations alone.
@Suite struct WholeWayTests {
    @Test func everyFunctionDoesItsPart() throws {
        try withTinyRequests { tiny in
            let injected = try inject(tiny.inject)
            #expect(injected.method == "ts-lora")
            #expect(injected.modules.count == 18 && injected.modules[0] == "model.layers.0.self_attn.q_proj")

            var events: [String] = []
            var losses: [Double] = []
            var training = tiny.train("tuned")
            training.evaluationPath = tiny.records
            training.evaluationInterval = 2
            let trained = try train(training) { event in
                switch event {
                case .loaded(let examples, _, _, _, let steps): events.append("loaded \(examples) \(steps)")
                case .ready(_, let modules, let precision, let threads):
                    events.append("ready \(modules) \(precision.rawValue) \(threads)")
                case .step(let step):
                    losses.append(step.loss)
                    #expect(step.step == losses.count && step.totalSteps == 4)
                    #expect(step.tokensPerSecond > 0 && step.learningRate > 0 && step.sparsity != nil)
                case .evaluation(let step, let loss, let perplexity):
                    events.append("evaluation \(step)")
                    #expect(abs(perplexity / exp(loss) - 1) < 1e-12)
                case .checkpoint(let step, let path):
                    events.append("checkpoint \(step)")
                    #expect(FileManager.default.fileExists(atPath: path))
                case .measuring(_, let examples, _): events.append("measuring \(examples)")
                case .best(let step, let path):
                    events.append("best \(step)")
                    #expect(path == training.outputPath + "/best")
                case .resumed, .warning, .prepared, .partialEvaluation, .measured, .stoppedEarly: break
                }
            }
            #expect(events.contains("best 2"))
            #expect(
                events.filter { !$0.hasPrefix("best") } == [
                    "loaded 10 4", "ready 18 f32 1", "evaluation 2", "checkpoint 4", "measuring 10", "evaluation 4",
                ])
            #expect(trained.steps == 4)
            let mean = losses.reduce(0, +) / 4
            #expect(abs(trained.finalLoss - mean) < 1e-12)

            let measured = try evaluate(tiny.evaluate(training.outputPath))
            // The same tokens in other passes, so that sums, and a token at its threshold, may round otherwise.
            #expect(abs(measured.meanLoss / trained.measuredLoss - 1) < 1e-5)
            #expect(abs((measured.meanSparsity ?? 2) - (trained.meanSparsity ?? -2)) < 1e-2)
            #expect(measured.records == 10 && measured.accuracy != nil && measured.precision == .f32)
            #expect(measured.gates.map(\.module) == injected.modules)

            var ranking = RankRequest(adapterPath: training.outputPath)
            (ranking.keep, ranking.selectionPath) = ("50%", tiny.folder + "/kept.json")
            let ranked = try rank(ranking)
            #expect(ranked.modules.map(\.sparsity) == ranked.modules.map(\.sparsity).sorted())
            #expect(Set(ranked.chosen ?? []) == Set(ranked.modules.prefix(9).map(\.module)))

            let pruned = try prune(
                PruneRequest(
                    adapterPath: training.outputPath, choice: .selection(path: tiny.folder + "/kept.json"),
                    outputPath: tiny.folder + "/pruned"))
            #expect(pruned.keptModules == ranked.chosen && pruned.moduleCount == 18)

            var merging = MergeRequest(
                basePath: tiny.base, adapters: [.init(tiny.folder + "/pruned")], outputPath: tiny.folder + "/merged")
            merging.compute.threadCount = 1
            let merged = try merge(merging)
            #expect(merged.moduleCount == 9 && merged.changedCount > 0 && merged.changedCount < merged.weightCount)
            #expect(merged.adapters.count == 1 && merged.adapters[0].modules.map(\.module) == pruned.keptModules)
            var plain = tiny
            plain.base = merging.outputPath
            #expect(try evaluate(plain.evaluate(nil)).meanLoss.isFinite)
        }
    }

    @Test func filesAreConvertedExportedAndInspected() throws {
        try withTinyRequests { tiny in
            _ = try inject(tiny.inject)
            let base = try inspect(tiny.base)
            #expect(base.kind == .checkpoint && base.problem == nil && (base.parameterCount ?? 0) > 1_000_000)
            let adapter = try inspect(tiny.adapter, tensors: "*tau*")
            #expect(adapter.kind == .adapter && adapter.method == "ts-lora" && adapter.modules.count == 18)
            #expect(adapter.tensors.count == 18 && adapter.tensors.allSatisfy { $0.type == "F32" })

            var conversion = ConvertRequest(inputPath: tiny.base, outputPath: tiny.folder + "/model.gguf")
            conversion.type = "q8_0"
            let converted = try convert(conversion)
            #expect(converted.tensorFiles == [conversion.outputPath] && converted.byteCount > 0)
            let gguf = try inspect(conversion.outputPath)
            #expect(gguf.parameterCount == base.parameterCount && gguf.tensors.contains { $0.type == "Q8_0" })

            var dense = tiny.inject
            (dense.method, dense.outputPath) = ("lora", tiny.folder + "/dense")
            _ = try inject(dense)
            let exported = try export(
                ExportRequest(adapterPath: dense.outputPath, format: .peft, outputPath: tiny.folder + "/peft"))
            #expect(exported.method == "lora" && exported.modules.count == 18 && exported.omissions.isEmpty)
        }
    }

    @Test func generationHandsOutTextAndStopsWhereItIsTold() throws {
        var request = GenerateRequest(basePath: fixtures + "/tiny-llama", prompt: "The film")
        request.limit = 4
        request.compute = TinyRequests.compute
        var text = ""
        let whole = try generate(request) { piece in
            text += piece
            return true
        }
        #expect(!whole.tokens.isEmpty && whole.promptTokens > 0 && !text.isEmpty)
        #expect(try generate(request) { _ in false }.end == .stopped)
    }

    /// Another program may call from any thread or task, and from several at a time.
    @Test func callsFromSeveralTasksAgree() async throws {
        let request = try withTinyRequests { tiny in
            var request = tiny.evaluate(nil)
            request.dataPath = fixtures + "/sst2/dev.json"
            request.limit = 6
            return request
        }
        let alone = try evaluate(request).meanLoss
        let together = try await withThrowingTaskGroup(of: Double.self) { group in
            for _ in 0..<3 { group.addTask { try evaluate(request).meanLoss } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(together == [alone, alone, alone])
    }
}
