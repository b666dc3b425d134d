import Adapters
import CheckpointIO
import Foundation
import TensorCore
import TestSupport
import Training
import TSPEFT

/// A folder with records and a new adapter of the tiny model, and short runs over them: two epochs of three steps with
/// dropout, shuffling and accumulation.
struct TinyTraining {
    static let base = fixture("tiny-llama")
    /// Records of `records.json`.
    static let recordCount = 10

    let folder: String
    var records: String { folder + "/records.json" }
    var adapter: String { folder + "/adapter" }

    init(_ folder: String) throws {
        self.folder = folder
        let text = String(decoding: try readFile(fixture("sst2/dev.json")), as: UTF8.self)
        let lines = text.split(separator: "\n").prefix(Self.recordCount)
        try writeFile(records, lines.joined(separator: "\n") + "\n")
        var request = InjectRequest(basePath: Self.base, outputPath: adapter)
        request.options["rank"] = .integer(2)
        request.options["dropout"] = .real(0.1)
        request.targets = "q_proj,v_proj,down_proj"
        _ = try injectAdapter(request)
    }

    /// A request to train into `name`.
    func request(_ name: String, _ change: (inout TrainRequest) -> Void = { _ in }) -> TrainRequest {
        var request = TrainRequest(
            basePath: Self.base, adapterPath: adapter, dataPath: records, outputPath: folder + "/" + name)
        request.training.batchSize = 2
        request.training.accumulation = 2
        request.training.length = .epochs(2)
        request.training.learningRate = 2e-3
        request.training.warmupSteps = 1
        request.training.thresholds = ThresholdSettings(stepSize: 2e-3, lambda: 1e-4)
        request.training.checkpointInterval = 2
        request.compute = ComputeOptions(precision: .f32, threadCount: 1)
        change(&request)
        return request
    }

    /// Trains, stopping after `stop` steps where that is given; what came of it, and the steps that were made.
    func train(_ request: TrainRequest, stopAfter stop: Int? = nil) throws -> (error: (any Error)?, steps: [Int]) {
        var steps: [Int] = []
        do {
            _ = try trainAdapter(
                request,
                progress: { event in
                    if case .step(let step) = event { steps.append(step.step) }
                }, shouldStop: { steps.last == stop && stop != nil })
            return (nil, steps)
        } catch {
            return (error, steps)
        }
    }

    /// The trained tensors and thresholds of a run, as the files have them.
    func result(_ name: String) throws -> [UInt8] {
        try readFile(folder + "/" + name + "/" + PEFTNames.tensorFile)
    }

    /// The values of a key over the lines of a run's log of one kind.
    func log(_ name: String, _ kind: String, _ key: String) throws -> [JSONValue] {
        let text = String(decoding: try readFile(folder + "/" + name + "/log.jsonl"), as: UTF8.self)
        return try text.split(separator: "\n").map { try JSONValue.parse(Array($0.utf8)) }
            .filter { $0["event"]?.stringValue == kind }.compactMap { $0[key] }
    }
}
