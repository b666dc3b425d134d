import CheckpointIO
import Data
import Evaluation
import Models
import TensorCore
import Tokenization

/// A measure of how well a model's classes or numbers agree with those of the records.
public struct Measure: Sendable, Equatable {
    /// Its name in logs and JSON: `accuracy`, `f1`, `macro_f1`, `matthews`, `pearson` or `spearman`.
    public let name: String
    /// What it is called where it is shown.
    public let title: String
    /// Its value, a share or a coefficient; nil where it is not defined.
    public let value: Double?

    /// A measure that was taken.
    init(_ metric: SequenceMetric, _ value: Double?) {
        (name, title, self.value) = (metric.rawValue, metric.title, value)
    }

    /// Why a measure may have no value, for messages.
    public static let undefinedReason = SequenceMetric.undefinedReason

    /// Those that an evaluation's details hold; empty for a language model's.
    static func all(in details: JSONObject) -> [Measure] {
        SequenceMetric.allCases.compactMap { metric in
            details[metric.rawValue].map { Measure(metric, $0.doubleValue) }
        }
    }
}

extension LabelKind {
    /// What is minimised.
    var objective: any Objective {
        switch self {
        case .classes: SequenceClasses()
        case .numbers: SequenceValues()
        }
    }
}

extension LoadingOptions {
    /// Files of records for a model: labelled ones for one with a head for sequences, as `kind` says.
    ///
    /// - Parameter needsLabels: whether a labelled record without its label is refused.
    ///
    /// Throws what reading throws, and `WorkflowError.conflict` for options of the other kind of model.
    func dataset(
        _ paths: [String], _ tokenizer: Tokenizer, as kind: LabelKind?, needsLabels: Bool = true
    ) throws -> Dataset {
        guard let kind else {
            if columns != nil {
                throw WorkflowError.conflict(
                    "\(.columns) names the columns of labelled records, and the model has no head for sequences")
            }
            return try Dataset.load(paths: paths, tokenizer: tokenizer, options: self)
        }
        guard promptMasking, endOfText, chatTemplate == nil else {
            throw WorkflowError.conflict(
                "the model has a head for sequences: records have no prompts, ends of text or chat templates of their own"
            )
        }
        return try Dataset.load(
            paths: paths, tokenizer: tokenizer, labelled: kind, needsLabels: needsLabels, options: self)
    }
}

/// What a pass over a data set measured.
struct Measurement {
    /// The loss.
    var loss: LossResult
    /// What a model with a head for sequences gave; nil for a language model.
    var sequences: SequenceResult?

    /// Measures `model` over `examples`; `progress` is told how many are done, and may throw to stop.
    init(
        _ model: any Model, _ examples: [Example], as kind: LabelKind?, observer: (any PassObserver)?,
        progress: (Int) throws -> Void
    ) throws {
        if let kind {
            let result = try evaluateSequences(model, examples, kind: kind, observer: observer, progress: progress)
            (loss, sequences) = (result.loss, result)
        } else {
            loss = try evaluateLoss(model, examples, observer: observer, progress: progress)
        }
    }

    /// Results over several sets as one over all; there is at least one.
    init(adding all: [Measurement]) {
        loss = LossResult(adding: all.map(\.loss))
        sequences = all.dropFirst().reduce(into: all.first?.sequences) { sum, next in
            if let next = next.sequences { sum?.add(next) }
        }
    }

    /// The measures of the task.
    var measures: [Measure] { sequences?.measures.map { Measure($0.metric, $0.value) } ?? [] }

    /// What evaluations are compared by, more being better: the task's first measure, the least that it can be where it
    /// is not defined; nil for the loss.
    var score: Double? { sequences.map { $0.measures[0].value ?? -1 } }

    /// What belongs into a run's log beside the loss.
    var details: JSONObject {
        guard sequences != nil else { return ["perplexity": .real(loss.perplexity)] }
        var details = JSONObject()
        for measure in measures { details[measure.name] = measure.value.map { .real($0) } ?? .null }
        return details
    }
}

extension ModelConfiguration {
    /// What a model with a head for sequences is asked for; nil for a language model.
    var labelKind: LabelKind? {
        guard let task else { return nil }
        if task.isRegression { return .numbers }
        // Names that do not tell classes apart are as good as none.
        let labels = LabelSet(names: task.labels) ?? LabelSet(names: task.labels.indices.map { String($0) })
        return labels.map { .classes($0) }
    }
}
