import Adapters
import Compute
import Data
import Evaluation
import Foundation
import ModelTestSupport
import Models
import TensorCore
import Testing

/// Loss and choices over whole models.
@Suite struct ModelEvaluationTests {
    /// Sums in another order, in F32.
    private static let tolerance = 1e-5

    /// log p of each token after the first, from the logits of the sequence by itself, in double precision.
    private func logProbabilities(_ model: AdaptedModel, _ tokens: [Int32]) throws -> [Double] {
        let logits = try model.logits([tokens]).map(Double.init)
        let vocabulary = logits.count / tokens.count
        return (1..<tokens.count).map { index in
            let row = logits[(index - 1) * vocabulary..<index * vocabulary]
            let largest = row.max()!
            let sum = row.reduce(0) { $0 + exp($1 - largest) }
            return row[row.startIndex + Int(tokens[index])] - largest - log(sum)
        }
    }

    private func gatedModel() throws -> AdaptedModel {
        let model = try AdaptedModel { $0.storage = .copied }
        try model.closeGatesHalfway(over: [AdaptedModel.tokens(60, seed: 1)])
        return model
    }

    @Test func lossIsMinusTheLogProbabilityOfScoredTokens() throws {
        let model = try gatedModel()
        let examples = (0..<3).map { index -> Example in
            let tokens = AdaptedModel.tokens(5 + 4 * index, seed: UInt64(10 + index))
            return Example(tokens: tokens, scored: tokens.indices.map { $0 % 3 != 0 })
        }
        let result = try evaluateLoss(model.model, examples)
        var expected = 0.0
        var scored = 0
        for example in examples {
            for (index, logProbability) in try logProbabilities(model, example.tokens).enumerated()
            where example.scored[index + 1] {
                expected -= logProbability
                scored += 1
            }
        }
        #expect(result.scoredTokens == scored && result.tokens == 5 + 9 + 13)
        #expect(abs(result.lossSum / expected - 1) < Self.tolerance)
        #expect(result.meanLoss == result.lossSum / Double(scored))
        #expect(abs(result.perplexity / exp(expected / Double(scored)) - 1) < 1e-3)
    }

    /// More tokens than go through the model at a time: the groups add up, and progress counts examples.
    @Test func lossDoesNotDependOnTheGroups() throws {
        let model = try gatedModel()
        let examples = (0..<30).map { index -> Example in
            let tokens = AdaptedModel.tokens(index == 7 ? 128 : 60 + index, seed: UInt64(index))
            return Example(tokens: tokens, scored: tokens.map { _ in true })
        }
        #expect(examples.reduce(0) { $0 + $1.tokens.count } > evaluationTokenBudget)
        var progress: [Int] = []
        let together = try evaluateLoss(model.model, examples) { progress.append($0) }
        #expect(progress.count == 2 && progress.last == 30)
        let alone = try examples.map { try evaluateLoss(model.model, [$0]) }
        #expect(together.scoredTokens == alone.reduce(0) { $0 + $1.scoredTokens })
        #expect(together.tokens == alone.reduce(0) { $0 + $1.tokens })
        let sum = alone.reduce(0) { $0 + $1.lossSum }
        #expect(abs(together.lossSum / sum - 1) < Self.tolerance)
    }

    @Test func brokenWeightIsAnErrorThatNamesTheModule() throws {
        let model = try gatedModel()
        let broken = model.model.projections[9]
        let weight = broken.frozen.copiedWeight
        weight.copy(from: [Float](repeating: .nan, count: weight.count))
        let example = Example(tokens: [1, 2, 3], scored: [true, true, true])
        let expected = EvaluationError.lossNotFinite(records: 1...1, module: broken.path)
        #expect(throws: expected) { try evaluateLoss(model.model, [example]) }
        #expect(expected.exitStatus == .failedSelfCheck)
        #expect(throws: EvaluationError.lossNotFinite(records: 1...4, module: broken.path)) {
            try scoreChoices(model.model, Self.items)
        }
    }

    @Test func progressMayStopTheEvaluation() throws {
        struct Stop: Error {}
        let model = try gatedModel()
        let example = Example(tokens: [1, 2, 3], scored: [true, true, true])
        #expect(throws: Stop.self) { try evaluateLoss(model.model, [example]) { _ in throw Stop() } }
    }

    /// Items of several lengths: choices of one token and of several, one that begins like another.
    private static let items: [ChoiceItem] = (0..<4).map { index in
        let seed = UInt64(20 + 10 * index)
        let first = AdaptedModel.tokens(3, seed: seed)
        return ChoiceItem(
            prompt: AdaptedModel.tokens(1 + 6 * index, seed: seed + 1),
            choices: [first, Array(first.prefix(2)), AdaptedModel.tokens(1, seed: seed + 2)],
            names: ["a", "b", "c"], correct: index % 3, line: index + 1)
    }

    @Test func choiceScoresAreThoseOfPromptAndChoiceLaidEndToEnd() throws {
        let model = try gatedModel()
        let result = try scoreChoices(model.model, Self.items)
        var tokens = 0
        var correct = 0
        for (index, item) in Self.items.enumerated() {
            let expected = try item.choices.map { choice in
                try logProbabilities(model, item.prompt + choice).suffix(choice.count).reduce(0, +)
            }
            for (found, expected) in zip(result.scores[index], expected) {
                #expect(abs(found / expected - 1) < Self.tolerance, "item \(index)")
            }
            let best = expected.indices.max { expected[$0] < expected[$1] }!
            #expect(result.predictions[index] == best)
            correct += best == item.correct ? 1 : 0
            tokens += item.prompt.count + item.choices.reduce(0) { $0 + $1.count }
        }
        #expect(result.correct == correct && result.accuracy == Double(correct) / 4)
        #expect(result.tokens == tokens, "each prompt passes once")
    }

    /// So that one pass over the choices also gives what a pass over the right answers would: the loss, and what the
    /// gates do over those answers and their prompts.
    @Test(arguments: [true, false]) func rightChoicesGiveLossAndStatisticsOfALossPass(isGated: Bool) throws {
        let model = try AdaptedModel { $0.isGated = isGated }
        if isGated { try model.closeGatesHalfway(over: [AdaptedModel.tokens(60, seed: 1)]) }
        let items = Self.items
        let examples = items.map { item in
            let answer = item.choices[item.correct]
            return Example(
                tokens: item.prompt + answer, scored: item.prompt.map { _ in false } + answer.map { _ in true })
        }
        #expect(zip(items, examples).allSatisfy { $0.isAnswered(by: $1) })

        let right = StatisticsCollector(collectingInnerSums: true)
        let choices = try scoreChoices(model.model, items, observer: right)
        let expected = StatisticsCollector(collectingInnerSums: true)
        let loss = try evaluateLoss(model.model, examples, observer: expected)

        #expect(choices.loss.scoredTokens == loss.scoredTokens && choices.loss.tokens == loss.tokens)
        #expect(choices.tokens > loss.tokens)
        #expect(abs(choices.loss.lossSum / loss.lossSum - 1) < Self.tolerance)
        #expect(right.statistics.count == expected.statistics.count && right.statistics.count == 15)
        for (found, expected) in zip(right.statistics, expected.statistics) {
            #expect(found.module == expected.module && found.tokens == expected.tokens)
            #expect(found.active == expected.active, "\(found.module)")
            #expect(isGated == (found.active < found.tokens))
            #expect(found.ratioHistogram.reduce(0, +) == found.tokens)
            for sum in [
                \ModuleStatistics.sumUpdateSquared, \.sumActiveUpdateSquared, \.sumBaseSquared, \.sumRatio,
                \.sumUpdateNorm,
            ] {
                #expect(abs(found[keyPath: sum] / expected[keyPath: sum] - 1) < Self.tolerance)
            }
            for sums in [\ModuleStatistics.innerSums, \.activeInnerSums] {
                let one = try #require(found[keyPath: sums]).map(Float.init)
                let other = try #require(expected[keyPath: sums]).map(Float.init)
                #expect(relativeError(one, other) < Self.tolerance)
            }
        }
    }

    @Test func itemIsAnsweredByItsPromptAndRightChoiceAlone() {
        let item = ChoiceItem(prompt: [1, 2], choices: [[3, 4], [5]], names: ["a", "b"], correct: 0, line: 1)
        func isAnswered(_ tokens: [Int32], _ scored: [Bool]) -> Bool {
            item.isAnswered(by: Example(tokens: tokens, scored: scored))
        }
        #expect(isAnswered([1, 2, 3, 4], [false, false, true, true]))
        #expect(!isAnswered([1, 2, 3, 4], [true, true, true, true]), "a scored prompt")
        #expect(!isAnswered([1, 2, 3, 4], [false, true, false, true]), "a part of the answer")
        #expect(!isAnswered([1, 2, 5], [false, false, true]), "a wrong answer")
        #expect(!isAnswered([1, 2, 3, 5], [false, false, true, true]), "another answer")
        #expect(!isAnswered([2, 3, 4], [false, true, true]), "a shorter prompt")
        #expect(!isAnswered([9, 2, 3, 4], [false, false, true, true]), "another prompt")
        #expect(!isAnswered([0, 1, 2, 3, 4], [false, false, false, true, true]), "a longer prompt")
    }

    @Test func ofEqualChoicesTheFirstIsTaken() throws {
        let item = ChoiceItem(
            prompt: [5, 6], choices: [[9], [9], [9]], names: ["a", "b", "c"], correct: 0, line: 1)
        let result = try scoreChoices(gatedModel().model, [item])
        #expect(result.scores[0][0] == result.scores[0][1] && result.predictions == [0] && result.correct == 1)
    }

    @Test func manyItemsAreScoredInGroups() throws {
        let model = try gatedModel()
        let items = (0..<25).map { index in
            ChoiceItem(
                prompt: AdaptedModel.tokens(100, seed: UInt64(index)), choices: [[1, 2], [3]], names: ["a", "b"],
                correct: 0, line: index + 1)
        }
        var progress: [Int] = []
        let result = try scoreChoices(model.model, items) { progress.append($0) }
        #expect(progress.count == 2 && progress.last == 25)
        for index in [0, 18, 19, 20, 24] {
            let alone = try scoreChoices(model.model, [items[index]])
            for (one, other) in zip(result.scores[index], alone.scores[0]) {
                #expect(abs(one / other - 1) < Self.tolerance)
            }
        }
    }
}
