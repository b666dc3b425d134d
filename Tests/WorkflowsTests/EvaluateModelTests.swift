import Adapters
import TensorCore
import TestSupport
import Testing
import TSPEFT

/// Evaluation as a workflow, on records of SST-2.
@Suite(.serialized) struct EvaluateModelTests {
    private func request(_ tiny: TinyTraining, adapter: Bool) -> EvaluateRequest {
        var request = EvaluateRequest(
            basePath: TinyTraining.base, adapterPath: adapter ? tiny.adapter : nil, dataPath: tiny.records)
        request.compute = ComputeOptions(precision: .f32, threadCount: 1)
        return request
    }

    @Test func newAdapterEvaluatesAsTheBaseDoes() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let base = try evaluateModel(request(tiny, adapter: false))
            #expect(base.records == TinyTraining.recordCount && base.answered == TinyTraining.recordCount)
            #expect(base.truncated == 0 && base.dtype == .f32)
            // One token is scored twice a record: the answer and the end.
            #expect(base.loss.scoredTokens == 2 * TinyTraining.recordCount)
            #expect(base.loss.meanLoss > 0 && base.loss.meanLoss.isFinite)
            #expect(base.modules.isEmpty && base.meanSparsity == nil)
            let accuracy = try #require(base.accuracy)
            #expect(accuracy == Double(base.correct) / Double(TinyTraining.recordCount))

            let adapted = try evaluateModel(request(tiny, adapter: true))
            #expect(adapted.loss.lossSum == base.loss.lossSum && adapted.correct == base.correct)
            // tau is 0, so that every token passes.
            #expect(adapted.modules.count == 18 && adapted.meanSparsity == 0)
            #expect(adapted.modules.allSatisfy { $0.tokens == adapted.loss.tokens && $0.active == $0.tokens })
        }
    }

    @Test func limitTakesTheFirstRecords() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            var limited = request(tiny, adapter: false)
            limited.limit = 3
            var done: [String] = []
            let report = try evaluateModel(limited) { done.append("\($0.rawValue) \($1) of \($2)") }
            #expect(report.records == 3 && report.answered == 3 && report.loss.scoredTokens == 6)
            #expect(done == ["answers 3 of 3"])
            limited.limit = 0
            #expect(throws: WorkflowError.badValue(.recordLimit, expected: "at least 1", found: "0")) {
                try evaluateModel(limited)
            }
        }
    }

    /// Only what the first records ask is answered, and what is not asked is measured all the same.
    @Test func limitHoldsForAnswersAmongOtherRecords() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let tasks = String(decoding: try readFile(tiny.records), as: UTF8.self).split(separator: "\n")
            let path = folder + "/mixed.json"
            try writeFile(path, (["{\"text\": \"a film\"}"] + tasks.map(String.init)).joined(separator: "\n"))
            var mixed = request(tiny, adapter: true)
            mixed.dataPath = path
            mixed.limit = 3
            let report = try evaluateModel(mixed)
            #expect(report.records == 3 && report.answered == 2)
            #expect(report.loss.scoredTokens > 4)
            #expect(report.modules.allSatisfy { $0.tokens == report.loss.tokens })
        }
    }

    /// Prompts that are scored too leave more to measure than the answers.
    @Test func scoredPromptsNeedALossPassOfTheirOwn() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            let masked = try evaluateModel(request(tiny, adapter: true))
            var whole = request(tiny, adapter: true)
            whole.loading.promptMasking = false
            var phases: [EvaluatePhase] = []
            let report = try evaluateModel(whole) { phase, _, _ in phases.append(phase) }
            #expect(phases == [.loss, .answers])
            #expect(report.loss.scoredTokens == masked.loss.tokens - TinyTraining.recordCount)
            #expect(report.loss.tokens == masked.loss.tokens && report.correct == masked.correct)
            #expect(report.modules.allSatisfy { $0.tokens == report.loss.tokens })
        }
    }

    @Test func answersMayBeGenerated() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            var generating = request(tiny, adapter: true)
            generating.mode = .generate
            generating.limit = 2
            generating.newTokenLimit = 3
            let report = try evaluateModel(generating)
            #expect(report.answered == 2 && (0...2).contains(report.correct))
        }
    }

    @Test func inputsThatCannotBeHaveTheRightStatus() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyTraining(folder)
            func status(_ change: (inout EvaluateRequest) throws -> Void) throws -> TensorCore.ExitStatus? {
                var changed = request(tiny, adapter: true)
                try change(&changed)
                do {
                    _ = try evaluateModel(changed)
                    return nil
                } catch let error as any ReportableError { return error.exitStatus }
            }
            func records(_ text: String) throws -> String {
                try writeFile(folder + "/other.json", text)
                return folder + "/other.json"
            }
            #expect(try status { $0.basePath = folder + "/nowhere" } == .missingInput)
            #expect(try status { $0.basePath = folder } == .badData)
            #expect(try status { $0.dataPath = folder + "/nowhere.json" } == .missingInput)
            #expect(try status { $0.adapterPath = folder + "/nowhere" } == .missingInput)
            #expect(try status { $0.adapterPath = folder } == .missingInput)
            #expect(try status { $0.basePath = fixture("golden/llama-lora/model") } == .badData)
            #expect(try status { $0.dataPath = try records("{\"prompt\": \"x\"}\n") } == .badData)
            #expect(try status { $0.dataPath = try records("") } == .badData)
            #expect(try status { $0.dataPath = try records("{\"text\": ") } == .badData)
            let long = String(repeating: "good bad ", count: 400)
            #expect(try status { $0.dataPath = try records("{\"text\": \"\(long)\"}\n") } == .badData)
            #expect(try status { $0.compute.threadCount = 0 } == .usage)
            #expect(try status { _ in } == nil)
        }
    }
}
