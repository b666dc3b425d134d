import Adapters
import CheckpointIO
import Foundation
import TensorCore
import TestSupport
import Testing
import Training
import TSPEFT

/// Training as a workflow: what stands on disk before, while and after.
@Suite(.serialized) struct TrainAdapterTests {
    private func training<R>(_ body: (TinyTraining) throws -> R) throws -> R {
        try withTemporaryFolder { try body(TinyTraining($0)) }
    }

    private func status(_ error: (any Error)?) -> TensorCore.ExitStatus? { (error as? any ReportableError)?.exitStatus }

    /// Stopped inside an epoch and at the end of one.
    @Test func stoppedAndResumedRunGivesTheFilesOfAnUninterruptedOne() throws {
        try training { tiny in
            let whole = try tiny.train(tiny.request("whole"))
            #expect(whole.error == nil && whole.steps == [1, 2, 3, 4, 5, 6])
            #expect(
                try names(in: tiny.folder + "/whole")
                    == [
                        "README.md", PEFTNames.configurationFile, PEFTNames.tensorFile, "checkpoint-000002",
                        "checkpoint-000004", "checkpoint-000006", "log.jsonl", PEFTNames.recordFile,
                        PEFTNames.statisticsFile,
                    ].sorted())

            for stop in [2, 3] {
                let name = "stopped-\(stop)"
                let stopped = try tiny.train(tiny.request(name), stopAfter: stop)
                let checkpoint = "\(tiny.folder)/\(name)/checkpoint-00000\(stop)"
                #expect(stopped.error as? TrainingError == .interrupted(step: stop, savedAt: checkpoint))
                #expect(status(stopped.error) == .interrupted)
                #expect(!pathExists("\(tiny.folder)/\(name)/\(PEFTNames.configurationFile)"), "no adapter yet")
                let resumed = try tiny.train(tiny.request(name) { $0.resumes = true })
                #expect(resumed.error == nil && resumed.steps == Array((stop + 1)...6))
                #expect(try tiny.result(name) == tiny.result("whole"))
                #expect(try tiny.log(name, "step", "loss") == tiny.log("whole", "step", "loss"))
                #expect(try tiny.log(name, "step", "step") == (1...6).map { .integer($0) })
                let statistics = try ["whole", name].map {
                    try AdapterDirectory.read("\(tiny.folder)/\($0)").statistics?.modules
                }
                #expect(statistics[0] == statistics[1] && statistics[0]?.count == 18)
            }
        }
    }

    @Test func runDoneAlreadyResumesToItself() throws {
        try training { tiny in
            _ = try tiny.train(tiny.request("run") { $0.training.length = .steps(2) })
            let before = try tiny.result("run")
            let again = try tiny.train(
                tiny.request("run") {
                    $0.training.length = .steps(2)
                    $0.resumes = true
                })
            #expect(again.error == nil && again.steps.isEmpty)
            #expect(try tiny.result("run") == before)
        }
    }

    @Test func onlyTheNewestCheckpointsAreKept() throws {
        try training { tiny in
            let run = try tiny.train(
                tiny.request("run") {
                    $0.training.checkpointInterval = 1
                    $0.keptCheckpoints = 2
                })
            #expect(run.error == nil)
            #expect(
                try names(in: tiny.folder + "/run").filter { $0.hasPrefix("checkpoint") }
                    == ["checkpoint-000005", "checkpoint-000006"])
            // Each is a whole adapter by itself.
            let last = try AdapterDirectory.read(tiny.folder + "/run/checkpoint-000006")
            let final = try AdapterDirectory.read(tiny.folder + "/run")
            #expect(last.thresholds == final.thresholds)
            #expect(zip(last.tensors, final.tensors).allSatisfy { $0.name == $1.name && $0.values == $1.values })
        }
    }

    @Test func resumingOtherInputsIsRefusedAndChangesNothing() throws {
        try training { tiny in
            _ = try tiny.train(tiny.request("run"), stopAfter: 2)
            let state = tiny.folder + "/run/checkpoint-000002/training_state.json"
            let before = try readFile(state)
            func refusal(_ change: (inout TrainRequest) -> Void) throws -> String {
                let run = try tiny.train(
                    tiny.request("run") {
                        $0.resumes = true
                        change(&$0)
                    })
                #expect(status(run.error) == .badData && run.steps.isEmpty)
                return run.error.map { "\($0)" } ?? ""
            }
            #expect(
                try refusal { $0.training.learningRate = 1e-3 }.contains("learning_rate was 0.002 and is now 0.001"))
            #expect(try refusal { $0.training.length = .epochs(3) }.contains("epochs was"))
            #expect(try refusal { $0.compute.precision = .bf16 }.contains("dtype was"))
            #expect(try refusal { $0.compute.threadCount = 2 }.contains("threads was 1 and is now 2"))
            #expect(try refusal { $0.loading.promptMasking = false }.contains("data was"))
            #expect(try readFile(state) == before)
            #expect(try tiny.train(tiny.request("run") { $0.resumes = true }).error == nil)
        }
    }

    @Test func resumingWithAnotherAdapterIsRefused() throws {
        try withTemporaryFolder { folder in
            let bench = try TinyTraining(folder)
            #expect(try bench.train(bench.request("run"), stopAfter: 2).error is TrainingError)
            var other = InjectRequest(basePath: TinyTraining.base, outputPath: folder + "/other")
            other.options["rank"] = .integer(2)
            other.options["alpha"] = .real(64.0)
            other.options["dropout"] = .real(0.1)
            other.targets = "q_proj,v_proj,down_proj"
            _ = try injectAdapter(other)
            let outcome = try bench.train(
                bench.request("run") {
                    $0.adapterPath = other.outputPath
                    $0.resumes = true
                })
            let error = try #require(outcome.error as? WorkflowError)
            #expect(error.exitStatus == .badData && error.description.contains("adapter"))
            #expect(outcome.steps.isEmpty)
        }
    }

    /// A dense adapter has no gates, and so no statistics.
    @Test func denseRunLeavesNoStatistics() throws {
        try withTemporaryFolder { folder in
            let bench = try TinyTraining(folder)
            var dense = InjectRequest(basePath: TinyTraining.base, outputPath: folder + "/dense")
            dense.method = "lora"
            dense.options["rank"] = .integer(2)
            _ = try injectAdapter(dense)
            #expect(
                try bench.train(
                    bench.request("run") {
                        $0.adapterPath = dense.outputPath
                        $0.training.length = .steps(1)
                    }
                ).error == nil)
            #expect(try AdapterDirectory.read(folder + "/run").statistics == nil)
        }
    }

    @Test func outputHeadIsRefused() throws {
        try withTemporaryFolder { folder in
            try makeUntiedModel(at: folder + "/untied")
            var request = InjectRequest(basePath: folder + "/untied", outputPath: folder + "/adapter")
            request.targets = "q_proj,lm_head"
            let error = #expect(throws: WorkflowError.self) { try injectAdapter(request) }
            #expect(error?.exitStatus == .unsupported && error?.description.contains("lm_head") == true)
            #expect(!pathExists(folder + "/adapter"))
        }
    }

    /// The random model of the golden cases with an output head of its own.
    private func makeUntiedModel(at path: String) throws {
        let source = fixture("golden/llama-lora/model")
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        let text = String(decoding: try readFile(source + "/config.json"), as: UTF8.self)
        try writeFile(
            path + "/config.json",
            text.replacingOccurrences(of: "\"tie_word_embeddings\": true", with: "\"tie_word_embeddings\": false"))
        let file = try SafetensorsFile.open(source + "/model.safetensors")
        var tensors = try file.tensors.map { ($0.name, $0.shape, try file.floats(of: $0)) }
        let embedding = try #require(tensors.first { $0.0 == "model.embed_tokens.weight" })
        tensors.append(("lm_head.weight", embedding.1, embedding.2.map { $0 + 1 }))
        try SafetensorsWriter.write(
            tensors.map { (name: $0.0, shape: $0.1, values: $0.2) }, to: path + "/model.safetensors")
    }

    @Test func resumingNothingIsAMissingInput() throws {
        try training { tiny in
            let absent = try tiny.train(tiny.request("run") { $0.resumes = true })
            #expect(status(absent.error) == .missingInput && !pathExists(tiny.folder + "/run"))
            try FileManager.default.createDirectory(
                atPath: tiny.folder + "/run", withIntermediateDirectories: false)
            let empty = try tiny.train(tiny.request("run") { $0.resumes = true })
            #expect(status(empty.error) == .missingInput)
        }
    }

    @Test func damagedCheckpointIsRefused() throws {
        try training { tiny in
            _ = try tiny.train(tiny.request("run"), stopAfter: 2)
            let checkpoint = tiny.folder + "/run/checkpoint-000002/"
            let record = try readFile(checkpoint + "training_state.json")
            try writeFile(checkpoint + "training_state.json", Array(record.prefix(record.count / 2)))
            #expect(status(try tiny.train(tiny.request("run") { $0.resumes = true }).error) == .badData)
            try writeFile(checkpoint + "training_state.json", record)
            let moments = try readFile(checkpoint + "training_state.safetensors")
            try writeFile(checkpoint + "training_state.safetensors", Array(moments.dropLast()))
            #expect(status(try tiny.train(tiny.request("run") { $0.resumes = true }).error) == .badData)
            try writeFile(checkpoint + "training_state.safetensors", moments)
            #expect(try tiny.train(tiny.request("run") { $0.resumes = true }).error == nil)
        }
    }

    /// Without force nothing is touched; with it the old run stands aside until the new one is done, whether that comes
    /// to its end at once or is stopped and resumed.
    @Test func forcedRunKeepsTheOldOneUntilItIsDone() throws {
        try training { tiny in
            let aside = tiny.folder + "/run.replaced"
            _ = try tiny.train(tiny.request("run") { $0.training.length = .steps(1) })
            let old = try tiny.result("run")
            #expect(status(try tiny.train(tiny.request("run")).error) == .cannotCreate)
            #expect(try tiny.result("run") == old && !pathExists(aside))

            let forced = tiny.request("run") { $0.replaces = true }
            let stopped = try tiny.train(forced, stopAfter: 2).error
            #expect(status(stopped) == .interrupted)
            let words = (stopped as? WorkflowError)?.description ?? ""
            #expect(words.hasPrefix("interrupted after step 2; continue with resumes: true"))
            #expect(words.hasSuffix("; the run that it replaces is kept in \(aside) until it is done"))
            #expect(try readFile(aside + "/" + PEFTNames.tensorFile) == old)
            #expect(try names(in: tiny.folder + "/run") == ["checkpoint-000002", "log.jsonl"])
            // A second force would have nowhere to put this one.
            #expect(status(try tiny.train(forced).error) == .cannotCreate)

            #expect(try tiny.train(tiny.request("run") { $0.resumes = true }).error == nil)
            #expect(try tiny.result("run") != old)
            #expect(!pathExists(aside))

            #expect(try tiny.train(forced).error == nil)
            #expect(!pathExists(aside))
        }
    }

    @Test func forceDoesNotReplaceWhatIsNoRun() throws {
        try training { tiny in
            try FileManager.default.createDirectory(
                atPath: tiny.folder + "/run", withIntermediateDirectories: false)
            try writeFile(tiny.folder + "/run/letter.txt", "dear")
            #expect(status(try tiny.train(tiny.request("run") { $0.replaces = true }).error) == .cannotCreate)
            #expect(try names(in: tiny.folder + "/run") == ["letter.txt"])
        }
    }

    @Test func evaluationAlongTheWayIsLogged() throws {
        try training { tiny in
            let run = try tiny.train(
                tiny.request("run") {
                    $0.evaluationPath = tiny.records
                    $0.evaluationLimit = 4
                    $0.training.evaluationInterval = 2
                })
            #expect(run.error == nil)
            // The last one is measured with the adapter as it is saved.
            #expect(try tiny.log("run", "evaluation", "step") == [2, 4, 6].map { .integer($0) })
            let adapter = try AdapterDirectory.read(tiny.folder + "/run")
            #expect(adapter.statistics?.source.hasPrefix("4 records of records.json (") == true)
            let losses = try tiny.log("run", "evaluation", "loss").compactMap(\.doubleValue)
            var request = EvaluateRequest(
                basePath: TinyTraining.base, adapterPath: tiny.folder + "/run", dataPath: tiny.records)
            request.limit = 4
            request.compute = ComputeOptions(precision: .f32, threadCount: 1)
            let report = try evaluateModel(request)
            // The evaluation takes the loss from the choices' scores, in batches of other sizes.
            #expect(abs(report.loss.meanLoss / (losses.last ?? .nan) - 1) < 1e-5)
            #expect(report.modules.map(\.sparsity) == adapter.statistics?.modules.map(\.sparsity))
        }
    }

    /// The warm-up's first rate is 0, the second step leaves B at the end of the range of F32, the third finds out.
    @Test func divergedRunKeepsItsCheckpoints() throws {
        try training { tiny in
            let run = try tiny.train(
                tiny.request("run") {
                    $0.training.learningRate = 3e38
                    $0.training.checkpointInterval = 1
                })
            guard case .notFinite(_, step: 3, module: let module, dtype: .f32)? = run.error as? TrainingError else {
                Issue.record("\(String(describing: run.error))")
                return
            }
            #expect(module?.hasPrefix("model.layers.0.") == true && status(run.error) == .failedSelfCheck)
            #expect(
                try names(in: tiny.folder + "/run") == ["checkpoint-000001", "checkpoint-000002", "log.jsonl"])
            let first = try AdapterDirectory.read(tiny.folder + "/run/checkpoint-000001")
            let start = try AdapterDirectory.read(tiny.adapter)
            #expect(zip(first.tensors, start.tensors).allSatisfy { $0.values == $1.values })
        }
    }

    /// Counts from outside may be anything; none may trap or run forever.
    @Test func settingsBeyondReasonAreRefusedOrHarmless() throws {
        try training { tiny in
            func error(_ change: @escaping (inout TrainingConfiguration) -> Void) throws -> (any Error)? {
                try tiny.train(tiny.request("run") { change(&$0.training) }).error
            }
            for length: TrainingLength in [
                .epochs(1e300), .epochs(.nan), .epochs(0), .epochs(-1), .steps(0), .steps(-3),
            ] {
                #expect(status(try error { $0.length = length }) == .usage, "\(length)")
            }
            #expect(!pathExists(tiny.folder + "/run"))
            let all = try tiny.train(
                tiny.request("run") {
                    $0.training.batchSize = .max
                    $0.training.accumulation = .max
                    $0.training.length = .epochs(1)
                })
            #expect(all.error == nil && all.steps == [1])
        }
    }
}
