import Compute
import Data
import Glibc
import Models
import TensorCore

/// What a model gives for sequences, and how well that agrees with their labels.
package struct SequenceResult: Sendable {
    /// What was asked.
    package let kind: LabelKind
    /// The loss over the sequences that have a label; a sequence counts as one that is scored.
    package private(set) var loss = LossResult()
    /// What the model gave for each sequence: a number for each class before softmax, or one.
    package private(set) var scores: [[Float]] = []
    private var counts: ConfusionCounts
    private var numbers: (labels: [Double], predicted: [Double]) = ([], [])

    /// Nothing yet.
    package init(kind: LabelKind) {
        self.kind = kind
        counts = ConfusionCounts(classCount: kind.outputCount)
    }

    /// The measures of the task, in its order; nil for one that is not defined.
    package var measures: [(metric: SequenceMetric, value: Double?)] {
        SequenceMetric.all(classCount: kind.outputCount).map { metric in
            switch metric {
            case .pearson: (metric, Correlation.pearson(numbers.labels, numbers.predicted))
            case .spearman: (metric, Correlation.spearman(numbers.labels, numbers.predicted))
            default: (metric, counts.value(metric))
            }
        }
    }

    /// The class of the highest number, the first of equals.
    package static func choice(of scores: [Float]) -> Int {
        scores.indices.reduce(0) { scores[$1] > scores[$0] ? $1 : $0 }
    }

    /// The probability of each class: softmax in double.
    package static func probabilities(of scores: [Float]) -> [Double] {
        let largest = scores.max() ?? 0
        let powers = scores.map { exp(Double($0) - Double(largest)) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }

    /// Takes what the model gave for a sequence.
    mutating func add(_ scores: [Float], of example: Example) {
        self.scores.append(scores)
        loss.tokens += example.tokens.count
        switch example.label {
        case nil: return
        case .index(let label):
            counts.add(label: Int(label), predicted: Self.choice(of: scores))
            let largest = Double(scores.max() ?? 0)
            let sum = scores.reduce(0) { $0 + exp(Double($1) - largest) }
            loss.lossSum += log(sum) + largest - Double(scores[Int(label)])
        case .value(let number):
            numbers.labels.append(Double(number))
            numbers.predicted.append(Double(scores[0]))
            let error = Double(scores[0]) - Double(number)
            loss.lossSum += error * error
        }
        loss.scoredTokens += 1
    }

    /// Adds the result of further sequences of the same task.
    package mutating func add(_ other: SequenceResult) {
        loss = LossResult(adding: [loss, other.loss])
        scores += other.scores
        counts.add(other.counts)
        numbers.labels += other.numbers.labels
        numbers.predicted += other.numbers.predicted
    }
}

/// What `model`, adapter and gates as they are, gives for `examples`; dropout off, nothing recorded.
///
/// - Parameters:
///   - observer: is told of each pass.
///   - progress: is told how many examples are done; may throw to stop.
///
/// Sequences lie end to end without padding. Throws `EvaluationError.lossNotFinite` where a number is not finite.
package func evaluateSequences(
    _ model: any Model, _ examples: [Example], kind: LabelKind, observer: (any PassObserver)? = nil,
    progress: (Int) throws -> Void = { _ in }
) throws -> SequenceResult {
    var scores = [[Float]](repeating: [], count: examples.count)
    var done = 0
    // A model that does not say which token fills up takes one sequence at a time, as transformers has it.
    let budget = model.configuration.padTokenID == nil ? 0 : evaluationTokenBudget
    for group in grouped(Array(examples.indices), budget: budget, size: { examples[$0].tokens.count }) {
        let batch = Batch.packing(group.map { examples[$0] })
        let pass = Pass(Tape(model.context, isRecording: false), observer: observer)
        let values = try model.scores(batch.tokens, batch.layout, in: pass).value.toArray()
        try model.context.throwFailure()
        let width = values.count / max(1, group.count)
        guard values.allSatisfy(\.isFinite) else {
            throw EvaluationError.lossNotFinite(
                records: done + 1...done + group.count,
                module: try model.firstProjectionNotFinite(batch.tokens, batch.layout))
        }
        for (row, index) in group.enumerated() { scores[index] = Array(values[row * width..<(row + 1) * width]) }
        done += group.count
        try progress(done)
    }
    var result = SequenceResult(kind: kind)
    for (example, numbers) in zip(examples, scores) { result.add(numbers, of: example) }
    return result
}
