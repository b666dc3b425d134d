import Adapters
import CheckpointIO
import Data
import Glibc
import TensorCore
import Training
import Transforms

/// The whole way from a base to a deployable checkpoint, on a small model and real data: what `demo` is asked to do.
package struct DemoRequest: Sendable {
    /// The folder with `tiny-llama` and `sst2`.
    package var fixturesPath: String
    /// The model, a directory or a GGUF file; nil for the small one of `fixturesPath`.
    package var basePath: String?
    /// Where the demo's files go: a directory that is empty or does not exist.
    package var workPath: String
    /// Optimizer steps.
    package var steps = 600
    /// Seed of initial values, data order and dropout.
    package var seed: UInt64 = 0
    /// How to compute.
    package var compute = ComputeOptions()

    /// A request with the demo's own settings.
    package init(fixturesPath: String, workPath: String) {
        self.fixturesPath = fixturesPath
        self.workPath = workPath
    }
}

/// A step of the demo, with what is asked of it.
package enum DemoStep: Sendable {
    /// The folder for the files is made.
    case makeFolder(String)
    /// A model is measured; what the table calls it.
    case evaluate(String, EvaluateRequest)
    case inject(InjectRequest)
    case train(TrainRequest)
    case rank(RankRequest)
    case prune(PruneRequest)
    case merge(MergeRequest)
}

/// What a step of the demo came to.
package enum DemoResult: Sendable {
    case evaluated(EvaluateReport)
    case injected(InjectReport)
    case trained(TrainReport)
    case ranked(RankReport)
    case pruned(PruneReport)
    case merged(MergeReport)
}

/// What the demo is at.
package enum DemoEvent: Sendable {
    /// A step begins.
    case begins(DemoStep)
    /// A step is done.
    case ends(DemoResult)
    /// Progress of training.
    case training(TrainProgress)
    /// Progress of an evaluation: records done and in all.
    case evaluating(done: Int, total: Int)
}

/// One line of the demo's closing table, all of it measured in the run.
package struct DemoRow: Sendable {
    /// What was evaluated.
    package let name: String
    /// Share of the test records answered rightly.
    package let accuracy: Double
    /// The test records.
    package let records: Int
    /// Mean loss of the scored tokens.
    package let loss: Double
    /// Mean sparsity over the test file; nil where there are no gates.
    package let sparsity: Double?
    /// Adapted modules; nil where there is no adapter.
    package let modules: Int?
    /// Bytes of the tensors' file: the adapter's, or the model's where there is none.
    package let byteCount: Int
    /// Seconds that making it took.
    package let seconds: Double
    /// Seconds of the evaluation.
    package let evaluationSeconds: Double
}

/// Runs inject, train, eval, rank-modules, prune, merge and eval again, and gives the closing table. Throws
/// `WorkflowError.interrupted` where `shouldStop` says so.
package func runDemo(
    _ request: DemoRequest, shouldStop: @escaping () -> Bool = { false },
    report: @escaping (DemoEvent) throws -> Void
) throws -> [DemoRow] {
    do {
        return try Demo(request, shouldStop: shouldStop, report: report).run()
    } catch TrainingError.interrupted {
        // Its words are about the run's directory, which is the demo's own affair.
        throw WorkflowError.interrupted("the demo was interrupted")
    }
}

/// Sentiment of film reviews (SST-2) with the settings that the tiny model's README gives, and s and lambda found on
/// this task.
private struct Demo {
    let request: DemoRequest
    let shouldStop: () -> Bool
    let report: (DemoEvent) throws -> Void

    private enum Settings {
        static let rank = 8
        static let alpha = 16.0
        static let learningRate = 2e-3
        static let batchSize = 32
        static let stepSize = 5e-4
        static let lambda = 1e-5
        static let keep = "50%"
        /// For models that come from elsewhere: peft's own targets, since names differ, and a rate for trained weights.
        static let otherTargets = TargetSpecification.allLinearName
        static let otherLearningRate = 2e-4
    }

    init(
        _ request: DemoRequest, shouldStop: @escaping () -> Bool, report: @escaping (DemoEvent) throws -> Void
    ) {
        self.request = request
        self.shouldStop = shouldStop
        self.report = report
    }

    private var base: String { request.basePath ?? joinedPath(request.fixturesPath, "tiny-llama") }
    /// A GGUF file is merged into another.
    private var mergedPath: String { path(base.hasSuffix(".gguf") ? "merged.gguf" : "merged") }
    private var testData: String { joinedPath(request.fixturesPath, "sst2/test.json") }
    private func path(_ name: String) -> String { joinedPath(request.workPath, name) }

    func run() throws -> [DemoRow] {
        let own = request.basePath == nil ? [joinedPath(base, "config.json")] : []
        for needed in own + [testData] where access(needed, R_OK) != 0 {
            throw WorkflowError.missing(
                path: needed, what: "the demo's model and data are missing; name their folder with \(.fixtures)")
        }
        try begin(.makeFolder(request.workPath))
        guard mkdir(request.workPath, 0o777) == 0 || errno == EEXIST else {
            throw WorkflowError.cannotCreate(request.workPath, reason: systemMessage(errno))
        }
        var rows: [DemoRow] = []
        rows.append(try evaluate("base", base: base, adapter: nil, modelFile: base, seconds: 0, modules: nil))

        let injectRequest = injectRequest
        try begin(.inject(injectRequest))
        let (injected, injectSeconds) = try timed { try injectAdapter(injectRequest) }
        try report(.ends(.injected(injected)))

        let trainRequest = trainRequest
        try begin(.train(trainRequest))
        let (trained, trainSeconds) = try timed {
            try trainAdapter(trainRequest, progress: { try report(.training($0)) }, shouldStop: shouldStop)
        }
        try report(.ends(.trained(trained)))
        let tuned = try evaluate(
            "tuned", base: base, adapter: path("tuned"), modelFile: path("tuned"),
            seconds: injectSeconds + trainSeconds, modules: injected.match.modules.count)
        rows.append(tuned)

        let rankRequest = RankRequest(adapterPath: path("tuned"))
        try begin(.rank(rankRequest))
        try report(.ends(.ranked(try rankModules(rankRequest))))

        let pruneRequest = PruneRequest(
            adapterPath: path("tuned"), choice: .keep(Settings.keep), outputPath: path("pruned"))
        try begin(.prune(pruneRequest))
        let (pruned, pruneSeconds) = try timed { try pruneAdapter(pruneRequest) }
        try report(.ends(.pruned(pruned)))
        rows.append(
            try evaluate(
                "pruned", base: base, adapter: path("pruned"), modelFile: path("pruned"), seconds: pruneSeconds,
                modules: pruned.selection.modules.count))

        let mergeRequest = MergeRequest(
            basePath: base, adapters: [MergeRequest.Adapter(path("tuned"))], outputPath: mergedPath)
        try begin(.merge(mergeRequest))
        let (merged, mergeSeconds) = try timed { try mergeAdapter(mergeRequest) }
        try report(.ends(.merged(merged)))
        rows.append(
            try evaluate(
                "merged", base: mergedPath, adapter: nil, modelFile: mergedPath, seconds: mergeSeconds,
                modules: nil))
        return rows
    }

    private func begin(_ step: DemoStep) throws {
        try goOn()
        try report(.begins(step))
    }

    private func goOn() throws {
        if shouldStop() { throw TrainingError.interrupted(step: 0, savedAt: nil) }
    }

    private var injectRequest: InjectRequest {
        var inject = InjectRequest(basePath: base, outputPath: path("adapter"))
        inject.method = "ts-lora"
        inject.options["rank"] = .integer(Settings.rank)
        inject.options["alpha"] = .real(Settings.alpha)
        inject.seed = request.seed
        if request.basePath != nil { inject.targets = Settings.otherTargets }
        return inject
    }

    private var trainRequest: TrainRequest {
        var train = TrainRequest(
            basePath: base, adapterPath: path("adapter"), dataPath: joinedPath(request.fixturesPath, "sst2/train.json"),
            outputPath: path("tuned"))
        train.evaluationPath = joinedPath(request.fixturesPath, "sst2/dev.json")
        train.loading.endOfText = false
        train.training.learningRate =
            request.basePath == nil ? Settings.learningRate : Settings.otherLearningRate
        train.training.batchSize = Settings.batchSize
        train.training.length = .steps(request.steps)
        train.training.thresholds = ThresholdSettings(stepSize: Settings.stepSize, lambda: Settings.lambda)
        train.training.seed = request.seed
        train.compute = request.compute
        return train
    }

    private func evaluate(
        _ name: String, base: String, adapter: String?, modelFile: String, seconds: Double, modules: Int?
    ) throws -> DemoRow {
        var evaluate = EvaluateRequest(basePath: base, adapterPath: adapter, dataPath: testData)
        evaluate.loading.endOfText = false
        evaluate.compute = request.compute
        try begin(.evaluate(name, evaluate))
        let result = try evaluateModel(evaluate) { _, done, total in
            try goOn()
            try report(.evaluating(done: done, total: total))
        }
        try report(.ends(.evaluated(result)))
        return DemoRow(
            name: name, accuracy: result.accuracy ?? .nan, records: result.records, loss: result.loss.meanLoss,
            sparsity: result.meanSparsity, modules: modules, byteCount: Self.tensorBytes(modelFile),
            seconds: seconds, evaluationSeconds: result.seconds)
    }

    /// Bytes of a file, or of the safetensors files in a directory that hold weights, training states left out.
    private static func tensorBytes(_ directory: String) -> Int {
        var whole = stat()
        if stat(directory, &whole) == 0, whole.st_mode & S_IFMT == S_IFREG { return Int(whole.st_size) }
        return weightBytes(directory)
    }

    private static func weightBytes(_ directory: String) -> Int {
        directoryEntries(directory).filter { $0 == "adapter_model.safetensors" || $0.hasPrefix("model") }
            .filter { $0.hasSuffix(".safetensors") }
            .reduce(0) { total, name in
                var facts = stat()
                return stat(joinedPath(directory, name), &facts) == 0 ? total + Int(facts.st_size) : total
            }
    }
}

/// A value and the seconds that making it took.
private func timed<R>(_ body: () throws -> R) rethrows -> (R, Double) {
    let start = ContinuousClock.now
    let value = try body()
    return (value, (ContinuousClock.now - start).inSeconds)
}
