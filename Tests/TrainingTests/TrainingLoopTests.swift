import Adapters
import CheckpointIO
import Data
import Evaluation
import ModelTestSupport
import Models
import TensorCore
import Testing

@testable import Training

/// What a step and a run do.
@Suite struct TrainingLoopTests {
    /// The same sums in another order.
    private static let orderTolerance = 1e-5
    /// lambda of equation 15.
    private static let lambda = TrainingBench.configuration.thresholds.lambda

    /// A bench without dropout, whose masks belong to batches, and with gates that decide both ways.
    private func bench(_ change: (inout TrainingConfiguration) -> Void = { _ in }) throws -> TrainingBench {
        var configuration = TrainingBench.configuration
        change(&configuration)
        let bench = try TrainingBench(configuration) { $0.dropout = 0 }
        try bench.adapted.closeGatesHalfway(over: TrainingBench.examples.map(\.tokens))
        return bench
    }

    /// Loss, mu, g, token counts and gradients are those of the whole step: the mean is over all its scored tokens.
    @Test func microBatchesEqualOneBatch() throws {
        let (parts, whole) = (try bench(), try bench())
        let groups = [TrainingBench.examples[0..<1], TrainingBench.examples[1..<3], TrainingBench.examples[3..<7]]
        let batches = groups.map { Batch.packing(Array($0)) }
        #expect(Set(batches.map(\.scoredCount)).count == 3, "micro-batches of different weight")
        let reports = [
            try parts.loop.takeStep(on: batches), try whole.loop.takeStep(on: [Batch.packing(TrainingBench.examples)]),
        ]
        #expect(abs(reports[0].loss / reports[1].loss - 1) < Self.orderTolerance)
        #expect(reports[0].tokens == reports[1].tokens && reports[0].scoredTokens == reports[1].scoredTokens)
        #expect(reports[0].sparsity == reports[1].sparsity)
        #expect(abs(reports[0].gradientNorm / reports[1].gradientNorm - 1) < Self.orderTolerance)
        for (one, other) in zip(parts.adapted.adapter.parameters, whole.adapted.adapter.parameters) {
            #expect(relativeError(one.gradient.toArray(), other.gradient.toArray()) < 1e-4, "\(one.name)")
        }
        let gates = zip(parts.adapted.adapter.projections, whole.adapted.adapter.projections).map {
            ($0.gate!, $1.gate!)
        }
        let largest = gates.reduce(0) { max($0, abs($1.1.step.gradient(lambda: Self.lambda))) }
        for (one, other) in gates {
            #expect(one.step.tokens == other.step.tokens && one.step.activeTokens == other.step.activeTokens)
            #expect(one.step.activeTokens > 0 && one.step.sparsity > 0)
            let difference = one.step.gradient(lambda: Self.lambda) - other.step.gradient(lambda: Self.lambda)
            #expect(abs(difference) < 1e-4 * largest)
            #expect(abs(one.tau - other.tau) < 1e-4 * 0.005)
        }
    }

    @Test func lossIsTheOneThatEvaluationMeasures() throws {
        let bench = try bench()
        let measured = try evaluateLoss(bench.adapted.model, TrainingBench.examples)
        let report = try bench.loop.takeStep(on: [Batch.packing(TrainingBench.examples)])
        #expect(report.loss == measured.meanLoss)
        #expect(report.scoredTokens == measured.scoredTokens && report.tokens == measured.tokens)
        // After the step it is another.
        #expect(try evaluateLoss(bench.adapted.model, TrainingBench.examples).meanLoss != measured.meanLoss)
    }

    @Test func dropoutDiffersByStepAndBatchAndIsOffOutside() throws {
        var configuration = TrainingBench.configuration
        configuration.learningRate = 0
        configuration.thresholds.stepSize = 0
        configuration.optimizer.weightDecay = 0
        let bench = try TrainingBench(configuration) { $0.dropout = 0.5 }
        let batch = Batch.packing(TrainingBench.examples)
        let before = try evaluateLoss(bench.adapted.model, TrainingBench.examples).meanLoss
        // Nothing changes but the mask.
        let losses = try (0..<2).map { _ in try bench.loop.takeStep(on: [batch]).loss }
        let twice = try bench.loop.takeStep(on: [batch, batch]).loss
        #expect(Set(losses + [twice, before]).count == 4)
        #expect(try evaluateLoss(bench.adapted.model, TrainingBench.examples).meanLoss == before)
    }

    @Test func clippingScalesTheGradientToTheLimit() throws {
        let free = try bench { $0.gradientClipping = 0 }
        let report = try free.loop.takeStep()
        let squares = free.adapted.adapter.parameters.flatMap { $0.gradient.toArray() }
            .reduce(0) { $0 + Double($1) * Double($1) }
        #expect(abs(report.gradientNorm / squares.squareRoot() - 1) < 1e-6)

        let clipped = try bench { $0.gradientClipping = report.gradientNorm / 4 }
        #expect(try clipped.loop.takeStep().gradientNorm == report.gradientNorm, "the norm before clipping")
        let loose = try bench { $0.gradientClipping = report.gradientNorm * 4 }
        _ = try loose.loop.takeStep()
        for (index, moment) in free.loop.state.moments.enumerated() {
            // After a first step the mean is (1 - beta1) times the gradient that AdamW was handed.
            let mean = clipped.loop.state.moments[index].mean
            #expect(relativeError(mean.map { 4 * $0 }, moment.mean) < 1e-5)
            #expect(loose.loop.state.moments[index].mean == moment.mean)
        }
    }

    @Test func learningRateFollowsTheScheduleAndThresholdsOnlyIfAsked() throws {
        for follows in [false, true] {
            let bench = try bench {
                $0.thresholdsFollowSchedule = follows
                $0.thresholds.epsilon = 0
            }
            let before = bench.adapted.adapter.projections.map { $0.gate!.tau }
            let report = try bench.loop.takeStep()
            // The warm-up's first factor is 0.
            #expect(report.learningRate == 0)
            for (projection, tau) in zip(bench.adapted.adapter.projections, before) {
                // A first step of equation 20 is s, whatever g is.
                let g = projection.gate!.step.gradient(lambda: Self.lambda)
                let expected = Double(tau) + (follows ? 0 : g > 0 ? 0.005 : -0.005)
                #expect(abs(Double(projection.gate!.tau) - expected) < 1e-7)
            }
            #expect(try bench.loop.takeStep().learningRate == 0.5e-2)
            #expect(try bench.loop.takeStep().learningRate == 1e-2)
        }
    }

    /// Of five examples the second step has one, where its second batch would belong to the next epoch.
    @Test func stepsEndWithTheEpoch() throws {
        let examples = Array(TrainingBench.examples.prefix(5))
        let bench = try TrainingBench(examples: examples)
        let reports = try (0..<6).map { _ in try bench.loop.takeStep() }
        let epochs: [Double] = [4.0 / 5, 1, 1 + 4.0 / 5, 2, 2 + 4.0 / 5, 3]
        #expect(reports.map(\.epoch) == epochs)
        let tokens = examples.reduce(0) { $0 + $1.tokens.count }
        for epoch in 0..<3 { #expect(reports[2 * epoch].tokens + reports[2 * epoch + 1].tokens == tokens) }
        #expect(reports.map(\.step) == [1, 2, 3, 4, 5, 6] && reports.allSatisfy { $0.totalSteps == 6 })
    }

    @Test func runLengthsAreCounted() throws {
        var configuration = TrainingConfiguration()
        configuration.batchSize = 4
        configuration.accumulation = 2
        func steps(_ length: TrainingLength, _ examples: Int) throws -> Int {
            configuration.length = length
            return try configuration.stepCount(exampleCount: examples)
        }
        #expect(try steps(.steps(17), 3) == 17)
        #expect(try steps(.epochs(3), 16) == 6)
        #expect(try steps(.epochs(3), 17) == 9)
        #expect(try steps(.epochs(0.5), 17) == 2)
        #expect(try steps(.epochs(0.01), 17) == 1)
        configuration.batchSize = .max
        #expect(try steps(.epochs(3), 16) == 3)
        for length: TrainingLength in [.epochs(1e300), .epochs(.nan), .epochs(0), .epochs(-1), .steps(0), .steps(.max)]
        {
            #expect(throws: TrainingError.self, "\(length)") { try steps(length, 16) }
        }
    }

    /// What a run tells, shortened.
    private func events(
        _ bench: TrainingBench, stopAfter: Int? = nil, losses: @escaping (Int) -> Double = { _ in 0.5 }
    ) throws -> ([String], error: TrainingError?) {
        var events: [String] = []
        var callbacks = TrainingCallbacks()
        callbacks.report = { event in
            switch event {
            case .step(let report): events.append("step \(report.step)")
            case .evaluation(let step, let loss, _): events.append("evaluation \(step) \(loss)")
            case .checkpoint(let step, let path): events.append("checkpoint \(step) \(path)")
            case .best(let step, let path): events.append("best \(step) \(path)")
            case .stoppedEarly(let step, let evaluations): events.append("early \(step) \(evaluations)")
            case .warning, .partialEvaluation: break
            }
        }
        callbacks.evaluate = { EvaluationResult(loss: losses(bench.loop.step)) }
        callbacks.saveBest = { best in "b\(best.step)" }
        callbacks.save = { state in "c\(state.step)" }
        callbacks.shouldStop = { bench.loop.step == stopAfter }
        do {
            try bench.loop.run(callbacks)
            return (events, nil)
        } catch let error as TrainingError {
            return (events, error)
        }
    }

    @Test func evaluationsAndCheckpointsComeInTime() throws {
        let bench = try bench {
            $0.length = .steps(5)
            $0.evaluationInterval = 2
            $0.checkpointInterval = 3
        }
        let (events, error) = try events(bench)
        #expect(error == nil)
        #expect(
            events == [
                "step 1", "step 2", "evaluation 2 0.5", "best 2 b2", "step 3", "checkpoint 3 c3", "step 4",
                "evaluation 4 0.5", "step 5", "checkpoint 5 c5",
            ])
    }

    @Test func theBestEvaluationIsTheFirstOfTheLowest() throws {
        let bench = try bench {
            $0.length = .steps(6)
            $0.evaluationInterval = 1
        }
        let losses = [1: 0.5, 2: 0.3, 3: 0.3, 4: 0.7, 5: 0.2]
        let (events, _) = try events(bench) { losses[$0]! }
        #expect(events.filter { $0.hasPrefix("best") } == ["best 1 b1", "best 2 b2", "best 5 b5"])
        #expect(bench.loop.validation.best == ValidationWatch.Best(loss: 0.2, step: 5))
    }

    @Test func aScoreTellsTheBestEvaluationInPlaceOfTheLoss() throws {
        var watch = ValidationWatch()
        let looks = [(0.5, -1.0), (0.4, 0.25), (0.9, 0.5), (0.1, 0.5), (0.2, 0.4)].enumerated().map { step, look in
            watch.look(loss: look.0, step: step + 1, score: look.1)
        }
        #expect(looks == [true, true, true, false, false])
        #expect(watch.best == ValidationWatch.Best(loss: 0.9, step: 3, score: 0.5) && watch.worseCount == 2)
        let read = try ValidationWatch(.object(watch.json), step: 5, source: "here")
        #expect(read == watch)
        for score in [JSONValue.string("high"), .bool(true)] {
            var record = watch.json
            record["best_score"] = score
            #expect(throws: TrainingError.self) { try ValidationWatch(.object(record), step: 5, source: "here") }
        }
    }

    @Test func runEndsWhereEvaluationsGetNoBetter() throws {
        let bench = try bench {
            $0.length = .steps(9)
            $0.evaluationInterval = 1
            $0.evaluationsWithoutGain = 2
        }
        let losses = [1: 0.5, 2: 0.6, 3: 0.4, 4: 0.4, 5: 0.9]
        let (events, error) = try events(bench) { losses[$0]! }
        #expect(error == nil && bench.loop.hasStoppedEarly)
        #expect(events.suffix(3) == ["evaluation 5 0.9", "early 5 2", "checkpoint 5 c5"])
        #expect(bench.loop.validation.best?.step == 3)
    }

    /// A run that was stopped during an evaluation makes it when it goes on, and ends where it would have.
    @Test func evaluationThatWasCutShortIsMadeLater() throws {
        let change: (inout TrainingConfiguration) -> Void = {
            $0.length = .steps(9)
            $0.evaluationInterval = 2
            $0.evaluationsWithoutGain = 1
        }
        let stopped = try bench(change)
        var saved: TrainingState?
        var callbacks = TrainingCallbacks()
        callbacks.evaluate = { stopped.loop.step == 4 ? nil : EvaluationResult(loss: 0.5) }
        callbacks.save = { state in
            saved = state
            return "c"
        }
        callbacks.shouldStop = { stopped.loop.step == 4 }
        #expect(throws: TrainingError.interrupted(step: 4, savedAt: "c")) { try stopped.loop.run(callbacks) }
        let state = try #require(saved)
        #expect(state.record["evaluation_due"]?.boolValue == true)

        let resumed = try bench(change)
        let read = try TrainingState(
            record: state.record, tensors: state.tensors, momentTensors: state.momentTensors, source: "here")
        try resumed.loop.restore(read, source: "here")
        let (events, error) = try events(resumed) { $0 == 4 ? 0.7 : 0.1 }
        #expect(error == nil)
        #expect(events == ["evaluation 4 0.7", "early 4 1", "checkpoint 4 c4"])
    }

    @Test(arguments: [
        #"{"best_loss": "low", "best_step": 1, "evaluations_since": 0}"#, #"{"best_loss": 1, "evaluations_since": 0}"#,
        #"{"best_loss": 1, "best_step": -1, "evaluations_since": 0}"#, #"{"best_step": 1}"#,
        #"{"best_loss": 1, "best_step": 99, "evaluations_since": 0}"#, #"{"evaluation_due": 3}"#,
        #"{"best_loss": 1, "best_step": 1, "evaluations_since": 9223372036854775807}"#,
    ])
    func badCountersInAStateAreRefused(_ fields: String) throws {
        let bench = try bench()
        _ = try bench.loop.takeStep()
        let state = bench.loop.state
        var record = try #require(state.record.objectValue)
        for (key, value) in try #require(JSONValue.parse(fields).objectValue).members { record[key] = value }
        #expect(throws: TrainingError.self) {
            try TrainingState(
                record: .object(record), tensors: state.tensors, momentTensors: state.momentTensors, source: "here")
        }
    }

    @Test func warmUpMayBeAShare() throws {
        var configuration = TrainingConfiguration()
        configuration.length = .steps(101)
        configuration.warmupShare = 0.03
        #expect(try configuration.stepCount(exampleCount: 4) == 101)
        #expect(configuration.warmupStepCount(of: 101) == 4)
        #expect(configuration.json["warmup_share"]?.doubleValue == 0.03)
        configuration.warmupShare = 1.5
        #expect(throws: TrainingError.self) { try configuration.stepCount(exampleCount: 4) }
    }

    @Test func splitIsDisjointAndFollowsTheSeed() throws {
        let all = Array(0..<40)
        for split in [ValidationSplit.share(0.1), .count(4), .share(0.001)] {
            let parts = try split.parted(all, seed: 3)
            #expect(parts.validation.count == (split == .share(0.001) ? 1 : 4))
            #expect(Set(parts.training).isDisjoint(with: parts.validation))
            #expect((parts.training + parts.validation).sorted() == all)
            #expect(parts.training == parts.training.sorted() && parts.validation == parts.validation.sorted())
            #expect(try split.parted(all, seed: 3).validation == parts.validation)
        }
        let others = try (0..<8).map { try ValidationSplit.count(4).parted(all, seed: $0).validation }
        #expect(Set(others).count > 1)
        for split in [ValidationSplit.share(0.999), .count(40), .count(0), .count(-1)] {
            #expect(throws: TrainingError.self) { try split.parted(all, seed: 0) }
        }
        #expect(ValidationSplit.share(0.05).text == "5.0%" && ValidationSplit.share(0.033).text == "3.3%")
    }

    @Test func stoppedRunSavesAndSaysWhere() throws {
        let stopped = try events(bench(), stopAfter: 2)
        #expect(stopped.0 == ["step 1", "step 2", "checkpoint 2 c2"])
        #expect(stopped.error == .interrupted(step: 2, savedAt: "c2"))
        #expect(stopped.error?.exitStatus == .interrupted)
        // Asked after the last step there is nothing to stop.
        let done = try events(bench(), stopAfter: 6)
        #expect(done.error == nil && done.0.last == "checkpoint 6 c6")
    }

    @Test func settingsThatCannotBeAreRefused() throws {
        let model = try AdaptedModel()
        func error(_ examples: [Example], _ change: (inout TrainingConfiguration) -> Void) -> TrainingError? {
            var configuration = TrainingConfiguration()
            change(&configuration)
            do {
                _ = try TrainingLoop(model.model, model.adapter, examples: examples, source: "file", configuration)
                return nil
            } catch { return error as? TrainingError }
        }
        let examples = TrainingBench.examples
        #expect(
            error(examples) { $0.batchSize = 0 }
                == .badSetting(.batchSize, expected: "at least 1", found: "0"))
        #expect(
            error(examples) { $0.accumulation = -1 }
                == .badSetting(.accumulation, expected: "at least 1", found: "-1"))
        #expect(error([]) { _ in } == .noExamples("file"))
        #expect(error(examples) { _ in } == nil)
    }
}
