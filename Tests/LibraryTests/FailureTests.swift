import Foundation
import TSPEFT
import Testing

/// Every kind of failure that a caller can tell apart, and what a stopped run leaves.
@Suite struct FailureTests {
    @Test func whatIsNotThereIsMissing() throws {
        try withTinyRequests { tiny in
            var nowhere = tiny
            nowhere.base = tiny.folder + "/nothing"
            let error = try #require(failure { () throws(TSPEFTError) in try inject(nowhere.inject) })
            #expect(error.kind == .missingInput && error.message.contains(nowhere.base))
            #expect("\(error)" == error.message)
            #expect(failure { () throws(TSPEFTError) in try inspect(nowhere.base) } == error)
        }
    }

    @Test func numbersThatCannotBeAreRefusedBeforeAnythingIsRead() throws {
        let changes: [(String, (inout TrainRequest) -> Void)] = [
            ("learningRate", { $0.learningRate = .nan }), ("weightDecay", { $0.weightDecay = -1 }),
            ("gradientClipping", { $0.gradientClipping = .infinity }), ("s", { $0.s = 0 }),
            ("lambda", { $0.lambda = -1e-9 }), ("tauBeta1", { $0.tauBeta1 = 1 }), ("tauBeta2", { $0.tauBeta2 = -0.1 }),
            ("batchSize", { $0.batchSize = 0 }), ("accumulation", { $0.accumulation = -1 }),
            ("warmupSteps", { $0.warmupSteps = -1 }), ("evaluationInterval", { $0.evaluationInterval = 0 }),
            ("checkpointInterval", { $0.checkpointInterval = 0 }), ("evaluationLimit", { $0.evaluationLimit = -1 }),
            ("maxLength", { $0.maxLength = 1 }),
        ]
        for (name, change) in changes {
            var request = TrainRequest(
                basePath: "/none", adapterPath: "/none", dataPath: "/none", outputPath: "/none/x")
            change(&request)
            let error = failure { () throws(TSPEFTError) in try train(request) }
            #expect(error?.kind == .usage && error?.message.hasPrefix(name + " must be ") == true, "\(name)")
        }
        var evaluation = EvaluateRequest(basePath: fixtures + "/tiny-llama", dataPath: fixtures + "/sst2/dev.json")
        evaluation.maxLength = -3
        #expect(failure { () throws(TSPEFTError) in try evaluate(evaluation) }?.kind == .usage)
        for adapters in [[], [MergeRequest.Adapter("/none", weight: 0)], [.init("/none", weight: .nan)]] {
            let request = MergeRequest(basePath: "/none", adapters: adapters, outputPath: "/none/x")
            #expect(failure { () throws(TSPEFTError) in try merge(request) }?.kind == .usage)
        }
        var generation = GenerateRequest(basePath: "/none", prompt: "a")
        generation.topP = 0
        #expect(failure { () throws(TSPEFTError) in try generate(generation) }?.kind == .usage)
        #expect(failure { () throws(TSPEFTError) in try Preset(named: "none") }?.kind == .usage)
    }

    @Test func optionsThatNoMethodHasAreRefused() throws {
        try withTinyRequests { tiny in
            var request = tiny.inject
            request.options = ["rnak": 2]
            let error = failure { () throws(TSPEFTError) in try inject(request) }
            #expect(error?.kind == .usage && error?.message.contains("rnak") == true)
            request.options = ["rank": "two"]
            #expect(failure { () throws(TSPEFTError) in try inject(request) } != nil)
            request.options = ["deltaT": 2]
            #expect(failure { () throws(TSPEFTError) in try inject(request) }?.kind == .usage)
            #expect(!FileManager.default.fileExists(atPath: tiny.adapter))
        }
    }

    @Test func otherKindsSayWhatIsWrong() throws {
        try withTinyRequests { tiny in
            _ = try inject(tiny.inject)
            #expect(failure { () throws(TSPEFTError) in try inject(tiny.inject) }?.kind == .cannotCreate)
            var replacing = tiny.inject
            replacing.replaces = true
            _ = try inject(replacing)

            try Data("[{".utf8).write(to: URL(fileURLWithPath: tiny.folder + "/half.json"))
            var training = tiny.train("tuned")
            training.dataPath = tiny.folder + "/half.json"
            #expect(failure { () throws(TSPEFTError) in try train(training) }?.kind == .badData)
            #expect(failure { () throws(TSPEFTError) in try inspect(tiny.base, tensors: "none*") }?.kind == .badData)

            var conversion = ConvertRequest(inputPath: tiny.base, outputPath: tiny.folder + "/model.gguf")
            conversion.type = "iq2_xs"
            #expect(failure { () throws(TSPEFTError) in try convert(conversion) }?.kind == .unsupported)

            training = tiny.train("tuned")
            training.learningRate = 1e300
            training.gradientClipping = 0
            #expect(failure { () throws(TSPEFTError) in try train(training) }?.kind == .failedCheck)
            #expect(!FileManager.default.fileExists(atPath: training.outputPath))
        }
    }

    @Test func aBaseThatIsWrittenToEndsTheRun() throws {
        try withTinyRequests { tiny in
            var copied = tiny
            copied.base = tiny.folder + "/base"
            try FileManager.default.copyItem(atPath: tiny.base, toPath: copied.base)
            _ = try inject(copied.inject)
            let error = failure { () throws(TSPEFTError) in
                try train(copied.train("tuned")) { event in
                    guard case .step = event,
                        let file = FileHandle(forUpdatingAtPath: copied.base + "/model.safetensors")
                    else { return }
                    file.seekToEndOfFile()
                    file.write(Data([0]))
                    file.closeFile()
                }
            }
            #expect(error?.kind == .inputOutput)
        }
    }

    @Test func aStoppedRunGoesOnToTheSameBytes() throws {
        try withTinyRequests { tiny in
            _ = try inject(tiny.inject)
            let whole = try train(tiny.train("whole"))
            var request = tiny.train("stopped")
            var steps = 0
            let error = failure { () throws(TSPEFTError) in
                try train(
                    request, progress: { if case .step(let step) = $0 { steps = step.step } },
                    shouldStop: { steps == 2 })
            }
            #expect(error?.kind == .interrupted)
            #expect(try inspect(request.outputPath).kind == .run)
            #expect(try inspect(request.outputPath).checkpoints.count == 1)
            request.resumes = true
            var resumed = 0
            let rest = try train(request) { if case .resumed(let step) = $0 { resumed = step } }
            #expect(resumed == 2 && rest.finalLoss == whole.finalLoss)
            let file = "/adapter_model.safetensors"
            #expect(
                try Data(contentsOf: URL(fileURLWithPath: request.outputPath + file))
                    == Data(contentsOf: URL(fileURLWithPath: tiny.folder + "/whole" + file)))
        }
    }

    @Test func aCancelledTaskStopsItsEvaluation() async throws {
        let request = try withTinyRequests { tiny in
            var request = tiny.evaluate(nil)
            request.dataPath = fixtures + "/sst2/dev.json"
            return request
        }
        let task = Task { () throws(TSPEFTError) -> Int in
            try evaluate(request, shouldStop: { Task.isCancelled }).records
        }
        task.cancel()
        await #expect(throws: TSPEFTError.self) { try await task.value }
        #expect(await task.result.kind == .interrupted)
    }
}

extension Result {
    /// The kind of failure; nil for a success.
    fileprivate var kind: TSPEFTError.Kind? {
        if case .failure(let error as TSPEFTError) = self { error.kind } else { nil }
    }
}
