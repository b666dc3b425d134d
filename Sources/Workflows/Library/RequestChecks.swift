import Adapters
import CheckpointIO
import TensorCore
import Training

/// A number of a request, and what it must be.
private struct Requirement {
    let parameter: Parameter
    let expected: String
    let found: String
    let holds: Bool

    /// A count from `least` on, where there is one.
    static func count(_ parameter: Parameter, _ value: Int?, least: Int = 1) -> Requirement {
        Requirement(
            parameter: parameter, expected: "at least \(least)", found: value.map(String.init) ?? "nil",
            holds: value.map { $0 >= least } ?? true)
    }

    /// A finite number for which `holds`.
    static func number(_ parameter: Parameter, _ value: Double, _ expected: String, _ holds: (Double) -> Bool)
        -> Requirement
    {
        Requirement(parameter: parameter, expected: expected, found: "\(value)", holds: value.isFinite && holds(value))
    }
}

/// Throws `badValue` for the first that does not hold.
private func check(_ requirements: [Requirement]) throws(WorkflowError) {
    for one in requirements where !one.holds {
        throw .badValue(one.parameter, expected: one.expected, found: one.found)
    }
}

extension TrainRequest {
    /// Throws `badValue` for a number that cannot be; what depends on the data is checked when that is read.
    func check() throws(WorkflowError) {
        try TSPEFT.check([
            .number(.learningRate, learningRate, "a number of 0 or more") { $0 >= 0 },
            .number(.weightDecay, weightDecay, "a number of 0 or more") { $0 >= 0 },
            .number(.gradientClipping, gradientClipping, "a number of 0 or more") { $0 >= 0 },
            .number(.thresholdStep, s, "a number above 0") { $0 > 0 },
            .number(.lambda, lambda, "a number of 0 or more") { $0 >= 0 },
            .number(.tauBeta1, tauBeta1, "at least 0 and below 1", (0..<1).contains),
            .number(.tauBeta2, tauBeta2, "at least 0 and below 1", (0..<1).contains),
            .count(.batchSize, batchSize), .count(.accumulation, accumulation),
            .count(.warmupSteps, warmupSteps, least: 0), .count(.evaluationInterval, evaluationInterval),
            .count(.checkpointInterval, checkpointInterval), .count(.evaluationLimit, evaluationLimit),
            .count(.maxLength, maxLength, least: 2),
            .count(.data, dataPaths.count), .count(.earlyStop, evaluationsWithoutGain),
        ])
        if evaluationsWithoutGain != nil, evaluationInterval == nil {
            throw .conflict("\(.earlyStop) counts evaluations along the way: give \(.evaluationInterval) too")
        }
        try checkFigures()
        if training.validationSplit != nil {
            guard evaluationPaths.isEmpty else {
                throw .conflict("\(.validationSplit) or \(.evaluationData) can be given, not both")
            }
            return
        }
        guard evaluationPaths.isEmpty else {
            let standardInput = (dataPaths + evaluationPaths).count { $0 == "-" }
            guard standardInput <= 1 else { throw .conflict("standard input can be read once only") }
            return
        }
        for (parameter, value) in [
            (Parameter.evaluationInterval, evaluationInterval), (.evaluationLimit, evaluationLimit),
        ] where value != nil {
            throw .conflict(
                "\(parameter) needs \(.evaluationData) or \(.validationSplit), the records to evaluate on")
        }
    }

    /// Throws `conflict` where figures would go where the run writes its own files, or all into one place.
    private func checkFigures() throws(WorkflowError) {
        let figures = [(Parameter.tablePath, tablePath), (.eventFolder, eventFolder)].compactMap { parameter, path in
            path.map { (parameter: parameter, given: $0, path: absolutePath($0)) }
        }
        if figures.count == 2, figures[0].path.hasSameBytes(as: figures[1].path) {
            throw .conflict("\(.tablePath) and \(.eventFolder) are the same place, '\(figures[0].given)'")
        }
        let output = absolutePath(outputPath)
        for (parameter, given, path) in figures where TrainingOutput.isOwn(path, in: output) {
            throw .conflict("\(parameter) '\(given)' is where the run writes its own files; give it another name")
        }
    }

    /// Throws `conflict` for settings that the adapter's method has no use for.
    func check(method: AdapterConfiguration) throws(WorkflowError) {
        guard !method.isGated, let given = givenThresholdSettings.first else { return }
        throw .conflict("\(given) is for a gated adapter; \(method.methodName) has no thresholds")
    }
}

extension EvaluateRequest {
    /// Throws `badValue` for a length that cannot be.
    func check() throws(WorkflowError) {
        try TSPEFT.check([.count(.maxLength, maxLength, least: 2)])
    }
}

extension MergeRequest {
    /// Throws `badValue` for no adapter, and for a weight that adds nothing.
    func check() throws(WorkflowError) {
        guard !adapters.isEmpty else { throw .badValue(.adapter, expected: "at least one", found: "empty") }
        try TSPEFT.check(
            adapters.map { adapter in
                .number(.adapterWeight(adapter.path), adapter.weight, "a finite number other than 0") { $0 != 0 }
            })
    }
}
