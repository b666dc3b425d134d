import Compute
import Data
import Models
import TensorCore

/// What choosing among possible answers by their likelihood gave.
package struct ChoiceResult: Sendable {
    /// Log-likelihood of each choice (summed over its tokens, not normalised by length), a list an item.
    package var scores: [[Double]] = []
    /// Index of the likeliest choice of each item; of equal ones the first.
    package var predictions: [Int] = []
    /// Items whose likeliest choice is the right one.
    package var correct = 0
    /// Tokens passed through the model; an item's prompt passes once.
    package var tokens = 0
    /// The loss of the right choices: what `evaluateLoss` gives for each prompt with its right choice behind it, the
    /// choice scored.
    package var loss = LossResult()

    /// The share of items answered rightly; NaN for none.
    package var accuracy: Double { Double(correct) / Double(predictions.count) }

    /// Nothing yet.
    package init() {}
}

/// Scores the choices of each item: sum over a choice's tokens of log p(token | prompt, tokens before).
///
/// The prompt of an item passes through the model once; each choice is a run of its own that sees the prompt and
/// itself, which gives the same numbers as prompt and choice laid end to end for each choice.
///
/// - Parameters:
///   - observer: is told of each pass, in which the tokens of prompts and right choices count: those that `loss` is over.
///   - progress: is told how many items are done; may throw to stop.
package func scoreChoices(
    _ model: any Model, _ items: [ChoiceItem], observer: (any PassObserver)? = nil,
    progress: (Int) throws -> Void = { _ in }
) throws -> ChoiceResult {
    var result = ChoiceResult()
    let size = { (item: ChoiceItem) in item.prompt.count + item.choices.reduce(0) { $0 + $1.count } }
    for group in grouped(items, budget: evaluationTokenBudget, size: size) {
        let layout = ChoiceLayout(group)
        var pass = Pass(
            Tape(model.context, isRecording: false), observer: observer, rows: .each(layout.isRight))
        pass.images = try group.flatMap(\.images).values()
        let losses = try NextToken().losses(
            layout.tokens, layout.layout, Labels(rows: layout.rows, .ids(layout.targets)), model, in: pass)
        try model.context.throwFailure()
        guard losses.sum.isFinite else {
            let done = result.predictions.count
            throw EvaluationError.lossNotFinite(
                records: done + 1...done + group.count,
                module: try model.firstProjectionNotFinite(
                    layout.tokens, layout.layout, images: pass.images))
        }
        result.tokens += layout.tokens.count
        var next = 0
        for item in group {
            let scores = item.choices.map { choice in
                defer { next += choice.count }
                return losses.values[next..<next + choice.count].reduce(0) { $0 - Double($1) }
            }
            let best = scores.indices.max { scores[$0] < scores[$1] || (scores[$0] == scores[$1] && $0 > $1) } ?? 0
            result.scores.append(scores)
            result.predictions.append(best)
            result.correct += best == item.correct ? 1 : 0
            result.loss.lossSum -= scores[item.correct]
            result.loss.scoredTokens += item.choices[item.correct].count
            result.loss.tokens += item.prompt.count + item.choices[item.correct].count
        }
        try progress(result.predictions.count)
    }
    return result
}

/// Items laid end to end: each prompt, then its choices, each seeing the prompt.
private struct ChoiceLayout {
    var tokens: [Int32] = []
    /// For each choice token in order, the row that predicts it.
    var rows: [Int32] = []
    /// The choice tokens.
    var targets: [Int32] = []
    /// For each token whether it is one of a prompt or of a right choice.
    var isRight: [Bool] = []
    let layout: TokenLayout

    init(_ items: [ChoiceItem]) {
        var positions: [Int32] = []
        var segments: [TokenLayout.Segment] = []
        for item in items {
            let promptStart = tokens.count
            let promptCount = item.prompt.count
            tokens += item.prompt
            isRight += repeatElement(true, count: promptCount)
            positions += 0..<Int32(promptCount)
            segments.append(.init(queryStart: promptStart, count: promptCount))
            for (number, choice) in item.choices.enumerated() {
                let start = tokens.count
                for (index, token) in choice.enumerated() {
                    rows.append(Int32(index == 0 ? promptStart + promptCount - 1 : start + index - 1))
                    targets.append(token)
                }
                tokens += choice
                isRight += repeatElement(number == item.correct, count: choice.count)
                positions += Int32(promptCount)..<Int32(promptCount + choice.count)
                segments.append(
                    .init(
                        queryStart: start, count: choice.count, prefixStart: promptStart, prefixCount: promptCount))
            }
        }
        layout = TokenLayout(positions: positions, segments: segments)
    }
}
