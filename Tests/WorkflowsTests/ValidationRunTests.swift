import Adapters
import CheckpointIO
import Foundation
import TestSupport
import Testing
import Training

@testable import TSPEFT

/// Evaluation along the way: what is held back, the best adapter, the early end.
@Suite struct ValidationRunTests {
    private func training(_ body: (TinyTraining) throws -> Void) throws {
        try withTemporaryFolder { try body(TinyTraining($0)) }
    }

    private func names(_ folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    }

    @Test func heldBackExamplesAreNotTrainedOn() throws {
        try training { tiny in
            var told: [Int] = []
            var request = tiny.request("run") {
                $0.validationSplit = .share(0.3)
                $0.evaluationInterval = 2
            }
            _ = try trainAdapter(
                request,
                progress: { event in
                    switch event {
                    case .loaded(let examples, _, _, _, _): told.append(examples)
                    case .prepared(_, _, let heldBack): told.append(heldBack)
                    default: break
                    }
                })
            #expect(told == [7, 3])
            let record = try #require(AdapterDirectory.read(request.outputPath).training)
            #expect(record["validation_split"]?.stringValue == "30.0%")
            #expect(record["evaluation_data"]?.stringValue == "30.0% of records.json")
            #expect(record["evaluation_loss"]?.doubleValue != nil)

            // The same records in files of their own give the same adapter and losses.
            let lines = String(decoding: try readFile(tiny.records), as: UTF8.self).split(separator: "\n")
            let parts = try ValidationSplit.share(0.3).parted(Array(lines), seed: request.seed)
            try writeFile(tiny.folder + "/rest.json", parts.training.joined(separator: "\n") + "\n")
            try writeFile(tiny.folder + "/held.json", parts.validation.joined(separator: "\n") + "\n")
            let apart = tiny.request("apart") {
                $0.dataPath = tiny.folder + "/rest.json"
                $0.evaluationPath = tiny.folder + "/held.json"
                $0.evaluationInterval = 2
            }
            #expect(try tiny.train(apart).error == nil)
            #expect(try tiny.result("run") == tiny.result("apart"))
            #expect(try tiny.log("run", "evaluation", "loss") == tiny.log("apart", "evaluation", "loss"))

            request.resumes = true
            request.validationSplit = .count(2)
            #expect(try tiny.train(request).error is TrainingError || tiny.train(request).error is WorkflowError)
            request.validationSplit = .count(10)
            request.outputPath = tiny.folder + "/none"
            request.resumes = false
            let error = try #require(tiny.train(request).error)
            #expect("\(error)".contains("less than the 10 examples"))
            request.evaluationPath = tiny.records
            #expect(try tiny.train(request).error is WorkflowError)
        }
    }

    @Test func eachDataSetHasItsEntry() throws {
        try training { tiny in
            let text = String(decoding: try readFile(tiny.records), as: UTF8.self)
            try FileManager.default.createDirectory(
                atPath: tiny.folder + "/other", withIntermediateDirectories: false)
            let lines = text.split(separator: "\n")
            try writeFile(tiny.folder + "/other/records.json", lines.prefix(3).joined(separator: "\n"))
            try writeFile(tiny.folder + "/dev.json", lines.suffix(2).joined(separator: "\n"))
            let paths = [tiny.records, tiny.folder + "/other/records.json", tiny.folder + "/dev.json"]
            let request = tiny.request("run") {
                $0.evaluationPaths = paths
                $0.evaluationInterval = 4
            }
            #expect(try tiny.train(request).error == nil)
            let data = try tiny.log("run", "evaluation", "data").compactMap(\.stringValue)
            #expect(data == [paths[0], paths[1], "dev.json", paths[0], paths[1], "dev.json"])
            #expect(try tiny.log("run", "evaluation", "loss").count == 8)
            // Alone, a data set has the same loss.
            let alone = tiny.request("alone") { $0.evaluationPath = paths[2] }
            #expect(try tiny.train(alone).error == nil)
            #expect(try tiny.log("alone", "evaluation", "loss") == [tiny.log("run", "evaluation", "loss")[6]])
        }
    }

    @Test func theBestAdapterStaysBesideTheLast() throws {
        try training { tiny in
            // What the records never say becomes less likely, the more of them are learned.
            let others = tiny.folder + "/others.jsonl"
            try writeFile(others, #"{"text": "~~ || ^^ && %% ## @@ ;; == ++ ~~ ^^"}"#)
            let request = tiny.request("run") {
                $0.evaluationPath = others
                $0.evaluationInterval = 1
                $0.checkpointInterval = 1
                $0.keptCheckpoints = 1
                $0.learningRate = 0.1
                $0.schedule = .constant
                $0.length = .steps(9)
                $0.training.warmupSteps = 0
            }
            #expect(try tiny.train(request).error == nil)
            let losses = try tiny.log("run", "evaluation", "loss").compactMap(\.doubleValue)
            #expect(losses.count == 9)
            let lowest = try #require(losses.indices.min { losses[$0] < losses[$1] })
            let best = try AdapterDirectory.read(request.outputPath + "/best")
            #expect(best.training?["optimizer_steps"]?.intValue == lowest + 1)
            #expect(best.training?["evaluation_loss"]?.doubleValue == losses[lowest])
            #expect(lowest < 8, "the run is to get worse at its end: \(losses)")
            #expect(try names(request.outputPath).filter { $0.hasPrefix("checkpoint") } == ["checkpoint-000009"])
            // It is the adapter that a run of as many steps ends with.
            let again = try evaluateModel(
                {
                    var evaluate = EvaluateRequest(
                        basePath: TinyTraining.base, adapterPath: request.outputPath + "/best", dataPath: others)
                    evaluate.compute = request.compute
                    return evaluate
                }())
            #expect(abs(again.loss.meanLoss / losses[lowest] - 1) < 1e-5)
        }
    }

    /// Stopped at any step and gone on with, a run leaves the same adapter, best adapter, table and events.
    @Test(arguments: [1, 2, 3, 4]) func resumedRunsKeepTheBestAndTheCounters(_ stop: Int) throws {
        try training { tiny in
            func request(_ name: String) -> TrainRequest {
                tiny.request(name) {
                    $0.validationSplit = .count(3)
                    $0.evaluationInterval = 1
                    $0.evaluationsWithoutGain = 2
                    $0.checkpointInterval = 2
                    $0.learningRate = 0.3
                    $0.length = .steps(12)
                    $0.training.warmupSteps = 0
                    $0.warmupShare = 0.1
                    $0.eventFolder = tiny.folder + "/board-" + name
                    $0.tablePath = tiny.folder + "/" + name + ".csv"
                }
            }
            let whole = try tiny.train(request("whole"))
            #expect(whole.error == nil && whole.steps.count < 12, "the run is to end early")
            let first = try tiny.train(request("cut"), stopAfter: stop)
            #expect(first.error != nil)
            var rest = request("cut")
            rest.resumes = true
            #expect(try tiny.train(rest).error == nil)
            #expect(try tiny.result("whole") == tiny.result("cut"))
            #expect(try tiny.result("whole/best") == tiny.result("cut/best"))
            for file in ["best/tspeft.json", "checkpoint-\(number(whole.steps.count))/training_state.json"] {
                #expect(
                    try readFile(tiny.folder + "/whole/" + file) == readFile(tiny.folder + "/cut/" + file), "\(file)")
            }
            let table = { (name: String) -> [String] in
                String(decoding: try readFile(tiny.folder + "/" + name + ".csv"), as: UTF8.self)
                    .split(separator: "\n").map { line in
                        // But for the seconds.
                        var fields = line.split(separator: ",", omittingEmptySubsequences: false)
                        fields.remove(at: 14)
                        return fields.joined(separator: ",")
                    }
            }
            #expect(try table("whole") == table("cut"))
            #expect(try table("whole").count == 1 + 2 * whole.steps.count)
            let events = { try readFile(tiny.folder + "/board-" + $0 + "/" + EventFile.fileName).count }
            #expect(try events("whole") == events("cut"))
        }
    }

    private func number(_ step: Int) -> String { String(repeating: "0", count: 6 - "\(step)".count) + "\(step)" }

    @Test func aRunThatFailsTakesItsTableBack() throws {
        try training { tiny in
            let table = tiny.folder + "/steps.csv"
            let request = tiny.request("run") {
                // A gate would skip an update that is no number.
                var dense = InjectRequest(basePath: TinyTraining.base, outputPath: "")
                dense.method = "lora"
                $0.adapterPath = nil
                $0.newAdapter = dense
                $0.training.warmupSteps = 0
                $0.tablePath = table
                $0.eventFolder = tiny.folder + "/board"
                $0.learningRate = 1e30
                $0.training.gradientClipping = 0
                $0.training.checkpointInterval = nil
            }
            #expect(try tiny.train(request).error is TrainingError)
            #expect(try names(tiny.folder) == ["adapter", "records.json"])

            // What is there is not replaced unasked, and comes back where the new run fails.
            try writeFile(table, "mine\n")
            #expect(try tiny.train(request).error is WorkflowError)
            var forced = request
            forced.replaces = true
            #expect(try tiny.train(forced).error is TrainingError)
            #expect(try readFile(table) == Array("mine\n".utf8))
            forced.learningRate = 1e-3
            #expect(try tiny.train(forced).error == nil)
            #expect(try readFile(table).starts(with: Array(StepTable(path: table).heading.utf8)))
            #expect(try names(tiny.folder).allSatisfy { !$0.contains("replaced") })
            // Nor is an input.
            forced.tablePath = tiny.records
            #expect(try tiny.train(forced).error != nil)
            #expect(try !readFile(tiny.records).isEmpty)
        }
    }

    @Test func earlyEndNeedsEvaluations() throws {
        try training { tiny in
            for change in [
                { $0.evaluationsWithoutGain = 2 },
                {
                    $0.evaluationsWithoutGain = 2
                    $0.evaluationPath = tiny.records
                },
                {
                    $0.evaluationsWithoutGain = 0
                    $0.evaluationPath = tiny.records
                    $0.evaluationInterval = 1
                },
            ] as [(inout TrainRequest) -> Void] {
                let outcome = try tiny.train(tiny.request("run", change))
                #expect(outcome.error is WorkflowError)
            }
        }
    }

    @Test func longTextsAreCutAndToldOf() throws {
        try training { tiny in
            let text = Array(repeating: "The film is a good one and the other is not.", count: 40).joined(
                separator: " ")
            try writeFile(tiny.folder + "/book.txt", text)
            var told: [Int] = []
            let request = tiny.request("run") {
                $0.dataPath = tiny.folder + "/book.txt"
                $0.maxLength = 32
                $0.length = .steps(2)
                $0.validationSplit = .count(2)
            }
            _ = try trainAdapter(
                request,
                progress: { event in
                    if case .prepared(let texts, let parts, let heldBack) = event { told = [texts, parts, heldBack] }
                })
            #expect(told.count == 3 && told[0] == 1 && told[1] > 5 && told[2] == 2)
            var other = request
            other.outputPath = tiny.folder + "/other"
            let dry = try dryRun(of: other)
            #expect(dry.writes.contains { $0.path.hasSuffix("other/adapter_model.safetensors") })
        }
    }
}
