import TSPEFT

extension DemoStep {
    /// What the step is for.
    var purpose: String {
        switch self {
        case .makeFolder: "make a place for the files"
        case .evaluate(let name, _): "measure the \(name) model on SST-2's test file"
        case .inject: "put gated adapters around the chosen projections"
        case .train: "train adapters and thresholds"
        case .rank: "rank the modules by the tokens that they skip"
        case .prune: "keep the half that skips least"
        case .merge: "write a checkpoint that needs no adapter"
        }
    }

    /// The command that does the same.
    var command: String {
        switch self {
        case .makeFolder(let path): "mkdir -p " + CommandText.quoted(path)
        case .evaluate(_, let request): request.command
        case .inject(let request): request.command
        case .train(let request): request.command
        case .rank(let request): request.command
        case .prune(let request): request.command
        case .merge(let request): request.command
        }
    }
}

extension DemoResult {
    /// The result in few lines.
    var lines: [String] {
        switch self {
        case .evaluated(let report):
            return ["accuracy \(percent(report.accuracy ?? .nan)) %, loss \(fixed(report.loss.meanLoss, 4))"]
        case .injected(let report):
            return ["\(report.match.modules.count) modules, \(grouped(report.parameterCount)) trainable numbers"]
        case .trained(let report):
            var line = "loss \(fixed(report.finalLoss, 4)), \(fixed(report.tokensPerSecond, 0)) tokens/s"
            if let gates = report.gates { line += ", mean sparsity \(percent(gates.meanSparsity)) % on dev.json" }
            return [line]
        case .ranked(let report):
            return SparsityReport.layers(report.ranking.table)
        case .pruned(let report):
            return ["kept \(report.selection.modules.count) of \(report.moduleCount) modules"]
        case .merged(let report):
            return [
                "\(report.mergedCount) of \(report.moduleCount) modules merged, "
                    + "\(percent(report.changedShareOfCheckpoint)) % of the weights changed, largest change "
                    + scientific(Double(report.largestChange))
            ]
        }
    }
}
