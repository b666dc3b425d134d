import Adapters
import CheckpointIO
import Foundation
import Models
import TensorCore
import TestSupport
import Testing
import Training

@testable import TSPEFT

/// A tiny BERT with a tokenizer, and short runs over labelled records.
private struct TinyClassifier {
    let folder: String
    var base: String { folder + "/base" }
    var records: String { folder + "/train.tsv" }

    /// Words, by their ids from 5 on.
    private static let words = ["good", "bad", "odd", "film", "play", "and", "so"]

    init(_ folder: String) throws {
        self.folder = folder
        try FileManager.default.copyItem(atPath: fixture("golden/bert-lora/model"), toPath: base)
        let tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + Self.words
        let vocabulary = tokens.enumerated().map { "\"\($1)\": \($0)" }.joined(separator: ", ")
        try writeFile(
            base + "/tokenizer.json",
            """
            {"normalizer": {"type": "BertNormalizer", "lowercase": true}, "pre_tokenizer": {"type": "BertPreTokenizer"},
             "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
             "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
             "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {\(vocabulary)}}}
            """)
        var lines = ["sentence\tlabel"]
        for index in 0..<24 {
            let (before, behind) = (Self.words[3 + index % 4], Self.words[3 + index / 3 % 4])
            lines.append("\(before) \(Self.words[index % 3]) \(behind)\t\(index % 3)")
        }
        try writeFile(records, lines.joined(separator: "\n") + "\n")
    }

    func request(_ name: String, _ change: (inout InjectRequest) -> Void = { _ in }) -> TrainRequest {
        var adapter = InjectRequest(basePath: base, outputPath: folder + "/" + name)
        adapter.options["rank"] = .integer(4)
        adapter.targets = "query,value,intermediate.dense"
        change(&adapter)
        var request = TrainRequest(
            basePath: base, newAdapter: adapter, dataPath: records, outputPath: folder + "/" + name)
        request.training.batchSize = 8
        request.training.length = .epochs(20)
        request.training.learningRate = 1e-2
        request.training.thresholds = ThresholdSettings(stepSize: 1e-3, lambda: 1e-4)
        request.training.evaluationInterval = 10
        request.evaluationPaths = [records]
        request.tablePath = folder + "/" + name + ".csv"
        request.compute = ComputeOptions(precision: .f32, threadCount: 1)
        return request
    }

    func evaluation(_ adapter: String, _ change: (inout EvaluateRequest) -> Void = { _ in }) -> EvaluateRequest {
        var request = EvaluateRequest(basePath: base, adapterPath: folder + "/" + adapter, dataPath: records)
        request.compute = ComputeOptions(precision: .f32, threadCount: 1)
        change(&request)
        return request
    }

    /// The lines of a file as JSON.
    func lines(_ name: String) throws -> [JSONValue] {
        let text = String(decoding: try readFile(folder + "/" + name), as: UTF8.self)
        return try text.split(separator: "\n").map { try JSONValue.parse(Array($0.utf8)) }
    }
}

@Suite(.serialized) struct LabelledRunTests {
    @Test func aClassifierLearnsAndIsMeasuredAlongTheWay() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyClassifier(folder)
            let request = tiny.request("tuned") {
                $0.task = SequenceTask(classes: ["negative", "positive", "neither"])
            }
            var measured: [Measure] = []
            let report = try trainAdapter(
                request,
                progress: { event in
                    if case .measured(_, nil, _, let measures) = event { measured += measures }
                })
            #expect(report.measures.map(\.name) == ["accuracy", "macro_f1", "matthews"])
            #expect(report.measures[0].value == 1, "one word tells the class")
            #expect(report.measures.allSatisfy { measured.contains($0) })
            #expect(report.best != nil)
            let events = try tiny.lines("tuned/log.jsonl").filter { $0["event"]?.stringValue == "evaluation" }
            #expect(!events.isEmpty && events.allSatisfy { $0["matthews"]?.doubleValue != nil })
            #expect(events.allSatisfy { $0["perplexity"] == nil })
            let table = String(decoding: try readFile(folder + "/tuned.csv"), as: UTF8.self)
            #expect(table.hasPrefix("event,step,epoch,loss,accuracy,macro_f1,matthews,learning_rate,"))

            let predictions = folder + "/said.jsonl"
            let again = try evaluateModel(tiny.evaluation("tuned") { $0.predictionsPath = predictions })
            #expect(again.measures == report.measures && again.records == 24)
            let said = try tiny.lines("said.jsonl")
            #expect(said.count == 24 && said[0]["line"]?.intValue == 2)
            for (index, line) in said.enumerated() {
                let expected = ["negative", "positive", "neither"][index % 3]
                #expect(line["label"]?.stringValue == expected && line["predicted"]?.stringValue == expected)
                let shares = (line["probabilities"]?.objectValue?.members ?? []).compactMap { $1.doubleValue }
                #expect(shares.count == 3 && abs(shares.reduce(0, +) - 1) < 1e-12)
            }
            #expect(throws: WorkflowError.self) {
                try evaluateModel(tiny.evaluation("tuned") { $0.predictionsPath = predictions })
            }
        }
    }

    @Test func classesAreFoundInTheDataWhereNobodyNamesThem() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyClassifier(folder)
            var request = tiny.request("found")
            request.findsClasses = true
            request.training.length = .steps(2)
            let report = try trainAdapter(request)
            #expect(report.measures.map(\.name) == ["accuracy", "macro_f1", "matthews"])
            let measured = try evaluateModel(tiny.evaluation("found"))
            #expect(measured.measures == report.measures)
        }
    }

    @Test func anotherKindOfModelOrDataIsRefused() throws {
        try withTemporaryFolder { folder in
            let tiny = try TinyClassifier(folder)
            let request = tiny.request("tuned") {
                $0.task = SequenceTask(classes: ["negative", "positive", "neither"])
            }
            var short = request
            short.training.length = .steps(1)
            _ = try trainAdapter(short)
            #expect(throws: WorkflowError.self) { try evaluateModel(tiny.evaluation("tuned") { $0.mode = .generate }) }
            let other = folder + "/other.tsv"
            try writeFile(other, "sentence\tlabel\ngood\t1\ngood\tfine\n")
            let error = try #require(throws: (any Error).self) {
                try evaluateModel(tiny.evaluation("tuned") { $0.dataPaths = [other] })
            }
            #expect(
                "\(error)".contains("other.tsv, line 3: the label 'fine' is none of 'negative', 'positive', 'neither'"))
            var language = EvaluateRequest(basePath: TinyTraining.base, dataPath: other)
            language.columns = ["label", "text"]
            #expect(throws: WorkflowError.self) { try evaluateModel(language) }
        }
    }
}
