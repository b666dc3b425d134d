import Compute
import Data
import Glibc
import Models
import TensorCore

/// The loss of a model over a set of examples.
package struct LossResult: Sendable {
    /// Sum of -log p over the scored tokens.
    package var lossSum = 0.0
    /// Tokens scored.
    package var scoredTokens = 0
    /// Tokens of the measured sequences, prompts included.
    package var tokens = 0

    /// Mean loss of a scored token, in nats; NaN for none.
    package var meanLoss: Double { lossSum / Double(scoredTokens) }
    /// exp of the mean loss.
    package var perplexity: Double { exp(meanLoss) }

    /// Nothing yet.
    package init() {}

    /// Results over several sets as one over all.
    package init(adding results: [LossResult]) {
        for result in results {
            lossSum += result.lossSum
            scoredTokens += result.scoredTokens
            tokens += result.tokens
        }
    }
}

/// Groups things in order so that each group's sizes sum to at most `budget`; one that is larger by itself is a group
/// of its own.
func grouped<Element>(_ elements: [Element], budget: Int, size: (Element) -> Int) -> [[Element]] {
    var groups: [[Element]] = []
    var current: [Element] = []
    var used = 0
    for element in elements {
        let needed = size(element)
        if !current.isEmpty, used + needed > budget {
            groups.append(current)
            current = []
            used = 0
        }
        current.append(element)
        used += needed
    }
    if !current.isEmpty { groups.append(current) }
    return groups
}

/// Tokens of one pass in evaluation: large enough for the products to run at full speed, small enough to need little
/// memory.
package let evaluationTokenBudget = 2048

/// The loss of `model`, adapter and gates as they are, over `examples`; dropout off, nothing recorded.
///
/// - Parameters:
///   - observer: is told of each pass.
///   - objective: what is measured.
///   - progress: is told how many examples are done; may throw to stop.
package func evaluateLoss(
    _ model: any Model, _ examples: [Example], observer: (any PassObserver)? = nil,
    objective: any Objective = NextToken(), progress: (Int) throws -> Void = { _ in }
) throws -> LossResult {
    var result = LossResult()
    var done = 0
    for group in grouped(examples, budget: evaluationTokenBudget, size: \.tokens.count) {
        let batch = Batch.packing(group)
        var pass = Pass(Tape(model.context, isRecording: false), observer: observer)
        pass.images = try batch.images.values()
        let losses = try objective.losses(batch.tokens, batch.layout, batch.labels, model, in: pass)
        try model.context.throwFailure()
        guard losses.sum.isFinite else {
            throw EvaluationError.lossNotFinite(
                records: done + 1...done + group.count,
                module: try model.firstProjectionNotFinite(
                    batch.tokens, batch.layout, images: pass.images))
        }
        result.lossSum += losses.sum
        result.scoredTokens += batch.scoredCount
        result.tokens += batch.tokens.count
        done += group.count
        try progress(done)
    }
    return result
}
