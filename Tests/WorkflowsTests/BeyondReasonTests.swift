import Foundation
import TensorCore
import TestSupport
import Testing

@testable import TSPEFT

/// Selectors that select nothing, and values beyond reason, which would be taken in silence.
@Suite(.serialized) struct BeyondReasonTests {
    private func refusal(_ change: (inout InjectRequest) -> Void) throws -> String {
        try withTemporaryFolder { folder in
            var request = InjectRequest(basePath: TinyTraining.base, outputPath: folder + "/adapter")
            request.targets = "q_proj,v_proj"
            change(&request)
            do {
                _ = try injectAdapter(request)
                return "none"
            } catch {
                #expect(!FileManager.default.fileExists(atPath: folder + "/adapter"))
                return "\(error)"
            }
        }
    }

    @Test func selectorsThatSelectNothingAreRefused() throws {
        let nothing = "matches none of the modules to adapt"
        for key in ["rank_pattern", "alpha_pattern"] {
            #expect(
                try refusal { $0.options[key] = .object(["q_proj": .integer(8), "q_porj": .integer(8)]) }
                    == "\(key): q_porj \(nothing); nearest: q_proj, v_proj")
            #expect(try refusal { $0.options[key] = .object(["k_proj": .integer(8)]) }.contains(nothing))
            #expect(try refusal { $0.options[key] = .object([#".*\.1\..*q_proj"#: .integer(8)]) } == "none")
        }
        #expect(try refusal { $0.excluded = "v_porj" }.hasPrefix("excluded: v_porj \(nothing); nearest: "))
        let one = "model.layers.1.self_attn.v_proj"
        #expect(try refusal { $0.excluded = one + ",k_proj" }.hasPrefix("excluded: k_proj \(nothing)"))
        #expect(try refusal { $0.excluded = ".*nowhere.*" }.hasPrefix("excluded: .*nowhere.* \(nothing)"))
        #expect(try refusal { $0.excluded = one } == "none")
        let layers = "has none of the modules to adapt; they lie in the layers 0 to 5"
        #expect(try refusal { $0.layers = [1, 9] } == "layers: 9 \(layers)")
        #expect(try refusal { $0.layers = Array(0...9) } == "layers: 6 (and 3 more) \(layers)")
        #expect(try refusal { $0.layers = [0, 1] } == "none")
    }

    @Test func ranksThatNoWeightHasUseOfAreRefused() throws {
        let words = "is beyond use: its weight is"
        #expect(try refusal { $0.options["rank"] = .integer(100_000) }.contains("the rank 100000 of "))
        #expect(try refusal { $0.options["rank_pattern"] = .object(["v_proj": .integer(4096)]) }.contains(words))
        #expect(try refusal { $0.options["rank"] = .integer(64) } == "none")
    }

    @Test func threadsBeyondTheMachineAreRefused() {
        #expect(throws: WorkflowError.self) { try ComputeOptions(threadCount: 9999).makeContext() }
        #expect(throws: Never.self) { try ComputeOptions(threadCount: 32).makeContext() }
    }

    @Test func settingsWithoutEffectAreRefused() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            var dense = InjectRequest(basePath: TinyTraining.base, outputPath: folder + "/dense")
            dense.method = "lora"
            _ = try injectAdapter(dense)
            func refusal(_ change: (inout TrainRequest) -> Void) throws -> String {
                let request = tiny.request("run", change)
                let outcome = try tiny.train(request)
                let rehearsed = #expect(throws: (any Error).self) { try dryRun(of: request) }
                #expect(rehearsed.map { "\($0)" } == outcome.error.map { "\($0)" })
                return outcome.error.map { "\($0)" } ?? "none"
            }
            #expect(
                try refusal { $0.training.evaluationInterval = 2 }
                    == "evaluationInterval needs evaluationPaths or validationSplit, the records to evaluate on")
            #expect(try refusal { $0.evaluationLimit = 2 }.hasPrefix("evaluationLimit needs "))
            #expect(
                try refusal { $0.training.warmupSteps = 7 } == "warmupSteps must be at most the run's 6 steps, not 7")
            for (name, set) in [
                ("s", { $0.s = 1 }), ("lambda", { $0.lambda = 1 }), ("tauBeta1", { $0.tauBeta1 = 0.5 }),
                ("tauBeta2", { $0.tauBeta2 = 0.5 }), ("tauUpdate", { $0.tauUpdate = .plain }),
                ("tauFollowsSchedule", { $0.tauFollowsSchedule = true }),
            ] as [(String, (inout TrainRequest) -> Void)] {
                let sentence = try refusal {
                    $0.adapterPath = folder + "/dense"
                    set(&$0)
                }
                #expect(sentence == "\(name) is for a gated adapter; lora has no thresholds")
            }
            #expect(
                try refusal {
                    $0.evaluationPaths = ["-"]; $0.dataPath = "-"
                } == "standard input can be read once only")
        }
    }

    @Test func evaluationOfAnswersThatAreNotThereIsRefused() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/records.json"
            try writeFile(path, #"{"prompt": "a", "completion": " b"}"#)
            var request = EvaluateRequest(basePath: TinyTraining.base, dataPath: path)
            request.compute = ComputeOptions(precision: .f32, threadCount: 1)
            func refusal() -> String {
                do {
                    _ = try evaluateModel(request)
                    return "none"
                } catch {
                    return "\(error)"
                }
            }
            #expect(refusal() == "none")
            request.newTokenLimit = 5
            #expect(refusal() == "newTokenLimit is for mode: generate, which writes answers")
            request.mode = .generate
            #expect(
                refusal()
                    == "records.json: none of the 1 records has an 'answer', which mode: generate looks for in generated "
                    + "text")
        }
    }

    @Test func severalFilesTrainAsOneOfAllTheirRecords() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let lines = String(decoding: try readFile(tiny.records), as: UTF8.self).split(separator: "\n")
            try writeFile(folder + "/a.json", lines[..<4].joined(separator: "\n"))
            try writeFile(folder + "/b.json", lines[4...].joined(separator: "\n"))
            let whole = try tiny.train(tiny.request("whole") { $0.evaluationPath = tiny.records })
            let parts = try tiny.train(
                tiny.request("parts") {
                    $0.dataPaths = [folder + "/a.json", folder + "/b.json"]
                    $0.evaluationPaths = $0.dataPaths
                })
            #expect(whole.error == nil && parts.error == nil)
            #expect(try tiny.result("whole") == tiny.result("parts"))
            func loss(_ paths: [String]) throws -> Double {
                var request = EvaluateRequest(basePath: TinyTraining.base, dataPath: "")
                request.dataPaths = paths
                request.compute = ComputeOptions(precision: .f32, threadCount: 1)
                return try evaluateModel(request).meanLoss
            }
            #expect(try loss([tiny.records]) == loss([folder + "/a.json", folder + "/b.json"]))
        }
    }
}
