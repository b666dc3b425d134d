import CheckpointIO
import TensorCore

/// What one optimizer step did.
package struct StepReport: Sendable {
    /// The step, from 1.
    package var step: Int
    /// Steps of the whole run.
    package var totalSteps: Int
    /// Passes over the data so far, in parts.
    package var epoch: Double
    /// Mean loss of the step's scored tokens.
    package var loss: Double
    /// What the kind of adapter adds to the loss (AdaLoRA's orthogonality penalty); 0 for most.
    package var penalty: Double
    /// Mean rank of the modules where ranks move between them (AdaLoRA); nil elsewhere.
    package var meanRank: Double?
    /// The learning rate used.
    package var learningRate: Double
    /// Norm of all adapter gradients before clipping.
    package var gradientNorm: Double
    /// Tokens passed forward and backward.
    package var tokens: Int
    /// Tokens scored.
    package var scoredTokens: Int
    /// Seconds that the step took.
    package var seconds: Double
    /// Mean over the gates of the step's sparsity; nil for a dense adapter.
    package var sparsity: Double?
    /// Smallest and largest tau after the update; nil for a dense adapter.
    package var tauRange: ClosedRange<Float>?
    /// What the user should know of the thresholds after this step, as sentences.
    package var warnings: [Wording]

    /// The step as a line of the log, without warnings, which are events of their own; seconds are left to the caller,
    /// who knows of pauses.
    package var json: JSONObject {
        var object: JSONObject = [
            "step": .integer(step), "epoch": .real(epoch), "loss": .real(loss), "learning_rate": .real(learningRate),
            "gradient_norm": .real(gradientNorm), "tokens": .integer(tokens), "scored_tokens": .integer(scoredTokens),
            "seconds": .real(seconds), "tokens_per_second": .real(Double(tokens) / max(seconds, 1e-9)),
        ]
        if penalty != 0 { object["penalty"] = .real(penalty) }
        if let meanRank { object["mean_rank"] = .real(meanRank) }
        if let sparsity { object["sparsity"] = .real(sparsity) }
        if let tauRange {
            object["tau_min"] = .real(tauRange.lowerBound)
            object["tau_max"] = .real(tauRange.upperBound)
        }
        return object
    }
}

/// What an evaluation gave.
package struct EvaluationResult: Sendable {
    /// One of several data sets.
    package struct Part: Sendable {
        /// What the data is called.
        package let data: String
        /// Mean loss over its scored tokens.
        package let loss: Double
        /// What else belongs into the log.
        package let details: JSONObject

        /// A part as given.
        package init(data: String, loss: Double, details: JSONObject) {
            (self.data, self.loss, self.details) = (data, loss, details)
        }
    }

    /// Mean loss over all scored tokens.
    package let loss: Double
    /// What the evaluation is compared by in place of the loss, more being better and finite; nil for the loss.
    package let score: Double?
    /// What else belongs into the log.
    package let details: JSONObject
    /// The data sets, where there are several; empty otherwise.
    package let parts: [Part]

    /// A result as given.
    package init(loss: Double, score: Double? = nil, details: JSONObject = [:], parts: [Part] = []) {
        (self.loss, self.score, self.details, self.parts) = (loss, score, details, parts)
    }

    /// The events that tell of it; `isBest` where it is the best so far.
    package func events(step: Int, isBest: Bool) -> [TrainingEvent] {
        var details = details
        if isBest { details["best"] = .bool(true) }
        return parts.map { .partialEvaluation(data: $0.data, step: step, loss: $0.loss, details: $0.details) }
            + [.evaluation(step: step, loss: loss, details: details)]
    }
}

/// What a training run tells its caller as it goes.
package enum TrainingEvent: Sendable {
    /// A step is done.
    case step(StepReport)
    /// An evaluation is done: the step, mean loss over the scored tokens and what else it measured, for the log.
    case evaluation(step: Int, loss: Double, details: JSONObject)
    /// One of several data sets was evaluated: as `evaluation`, which follows for all of them together.
    case partialEvaluation(data: String, step: Int, loss: Double, details: JSONObject)
    /// The adapter of the best evaluation so far stands at `path`.
    case best(step: Int, path: String)
    /// The run ends after this step, as so many evaluations in a row were no better.
    case stoppedEarly(step: Int, evaluations: Int)
    /// A checkpoint stands at `path`.
    case checkpoint(step: Int, path: String)
    /// Something that the user should know of, as a sentence.
    case warning(Wording)
}
