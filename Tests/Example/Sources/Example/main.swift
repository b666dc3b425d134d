import Glibc
import TSPEFT

// Example FIXTURES OUTPUT: the repository's fixtures, and a folder for what is made.
let (fixtures, output) = (CommandLine.arguments[1], CommandLine.arguments[2])
let base = fixtures + "/tiny-llama"

do {
    var injection = InjectRequest(basePath: base, outputPath: output + "/adapter")
    injection.options = ["rank": 8, "alpha": 16]
    let injected = try inject(injection)
    print("\(injected.method): \(injected.parameterCount) numbers in \(injected.modules.count) modules")
    var training = TrainRequest(
        basePath: base, adapterPath: output + "/adapter", dataPath: fixtures + "/sst2/train.json",
        outputPath: output + "/tuned")
    training.length = .steps(20)
    training.learningRate = 2e-3
    (training.s, training.lambda) = (2e-3, 1e-4)
    training.endOfText = false
    let trained = try train(training) { event in
        if case .step(let step) = event, step.step % 5 == 0 {
            print("step \(step.step) of \(step.totalSteps): loss \(step.loss), sparsity \(step.sparsity ?? 0)")
        }
    }
    print("\(trained.steps) steps, measured loss \(trained.measuredLoss)")
    var evaluation = EvaluateRequest(
        basePath: base, adapterPath: output + "/tuned", dataPath: fixtures + "/sst2/dev.json")
    evaluation.endOfText = false
    let evaluated = try evaluate(evaluation)
    print("accuracy \(evaluated.accuracy ?? 0) over \(evaluated.records) records, loss \(evaluated.meanLoss)")
    let ranked = try rank(RankRequest(adapterPath: output + "/tuned"))
    print("least skipped: \(ranked.modules[0].module), by \(ranked.modules[0].sparsity) of the tokens")
    _ = try prune(
        PruneRequest(adapterPath: output + "/tuned", choice: .keep("50%"), outputPath: output + "/pruned"))
    let merged = try merge(
        MergeRequest(basePath: base, adapters: [.init(output + "/pruned")], outputPath: output + "/merged"))
    print("merged \(merged.mergedCount) modules, \(merged.changedCount) of \(merged.weightCount) weights changed")
} catch {
    print("\(error.kind.rawValue): \(error.message)")
    exit(1)
}
