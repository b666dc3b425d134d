import Adapters
import CheckpointIO
import Compute
import Data
import Models
import TensorCore

/// What a run does besides computing; given by the caller, so that the loop knows neither files of results nor
/// evaluation.
package struct TrainingCallbacks {
    /// Is told of steps, evaluations, checkpoints and warnings.
    package var report: (TrainingEvent) throws -> Void
    /// Measures the model with the adapter as it stands: mean loss, and what else belongs into the log; nil where it
    /// was cut short because `shouldStop` says so.
    package var evaluate: (() throws -> EvaluationResult?)?
    /// Saves the adapter as the best so far and gives its path.
    package var saveBest: ((ValidationWatch.Best) throws -> String)?
    /// Saves a checkpoint of the state and gives its path.
    package var save: ((TrainingState) throws -> String)?
    /// Whether a signal asked for an end.
    package var shouldStop: () -> Bool

    /// Callbacks; all may be left out.
    package init(
        report: @escaping (TrainingEvent) throws -> Void = { _ in },
        evaluate: (() throws -> EvaluationResult?)? = nil,
        saveBest: ((ValidationWatch.Best) throws -> String)? = nil,
        save: ((TrainingState) throws -> String)? = nil, shouldStop: @escaping () -> Bool = { false }
    ) {
        self.report = report
        self.evaluate = evaluate
        self.saveBest = saveBest
        self.save = save
        self.shouldStop = shouldStop
    }
}

/// Trains an injected adapter and its thresholds.
///
/// Every random number is a function of the seed, the step and the module, and every sum has a fixed order, so a run
/// gives the same bits each time on the same kind of processor and thread count, stopped and resumed or not.
package final class TrainingLoop {
    private let model: any Model
    private let adapter: InjectedAdapter
    private let configuration: TrainingConfiguration
    private let context: ComputeContext
    private let optimizer: AdamW
    private let schedule: LearningRateSchedule
    private let examples: [Example]
    private let objective: any Objective
    private let group: any ProcessGroup
    private var order: DataOrder
    private var watch: ThresholdWatch
    private var divergence: DivergenceWatch
    /// The evaluations so far.
    package private(set) var validation = ValidationWatch()

    /// Steps of the whole run.
    package let totalSteps: Int
    /// Steps done.
    package private(set) var step = 0

    /// A run over `examples`, at its beginning. Throws `TrainingError.badSetting`, `.noExamples`, and
    /// `AdapterError.badSetting` for settings of the adapter that a run of this length cannot keep.
    ///
    /// - Parameters:
    ///   - source: what to call the examples in errors.
    ///   - objective: what is minimised.
    ///   - group: the processes that take the steps; all have the same model, adapter and configuration.
    package init(
        _ model: any Model, _ adapter: InjectedAdapter, examples: [Example], source: String,
        _ configuration: TrainingConfiguration, objective: any Objective = NextToken(),
        group: any ProcessGroup = SingleProcess()
    ) throws {
        guard configuration.logInterval >= 1 else {
            throw TrainingError.badSetting(
                .logInterval, expected: "at least 1", found: String(configuration.logInterval))
        }
        guard
            let order = DataOrder(
                count: max(1, examples.count), seed: configuration.shuffles ? configuration.seed : nil),
            !examples.isEmpty
        else { throw TrainingError.noExamples(source) }
        guard !configuration.trainsThresholdsOnly || adapter.configuration.isGated else {
            throw TrainingError.noThresholds(method: adapter.configuration.methodName)
        }
        self.model = model
        self.adapter = adapter
        self.configuration = configuration
        self.examples = examples
        self.objective = objective
        self.group = group
        self.order = order
        context = model.context
        totalSteps = try configuration.stepCount(exampleCount: examples.count)
        optimizer = AdamW(
            configuration.trainsThresholdsOnly ? [] : adapter.parameters, configuration.optimizer, model.context)
        adapter.trainsParameters = !configuration.trainsThresholdsOnly
        if !configuration.trainsThresholdsOnly { try adapter.beginRun(totalSteps: totalSteps) }
        schedule = LearningRateSchedule(
            shape: configuration.schedule, warmupSteps: configuration.warmupStepCount(of: totalSteps),
            totalSteps: totalSteps)
        let rates =
            configuration.thresholdsFollowSchedule
            ? (0..<totalSteps).reduce(0) { [schedule] in $0 + schedule.factor(at: $1) } : Double(totalSteps)
        watch = ThresholdWatch(
            configuration.thresholds, totalSteps: totalSteps, rateSum: rates, moduleCount: adapter.projections.count)
        divergence = DivergenceWatch(
            learningRate: configuration.trainsThresholdsOnly ? 0 : configuration.learningRate,
            vocabularySize: model.configuration.vocabularySize)
    }

    /// Whether the run is over before its last step, because evaluations got no better.
    package var hasStoppedEarly: Bool {
        configuration.evaluationsWithoutGain.map { validation.worseCount >= $0 } ?? false
    }

    /// Runs to the end, or until evaluations get no better. Throws `interrupted` where `shouldStop` says so, after saving, and `notFinite`.
    package func run(_ callbacks: TrainingCallbacks) throws {
        if validation.isDue {
            try evaluate(callbacks)
            if hasStoppedEarly { try save(callbacks) }
        }
        while step < totalSteps, !hasStoppedEarly {
            let report: StepReport
            do {
                report = try takeStep()
            } catch let error as TrainingError {
                if case .notFinite = error, let warning = divergence.warning(ofNotFiniteAfter: step) {
                    try callbacks.report(.warning(warning))
                }
                throw error
            }
            try callbacks.report(.step(report))
            for warning in report.warnings { try callbacks.report(.warning(warning)) }
            if callbacks.evaluate != nil, step < totalSteps, Self.isDue(configuration.evaluationInterval, step) {
                validation.isDue = true
                try evaluate(callbacks)
            }
            let isLast = step == totalSteps || hasStoppedEarly
            let stops = callbacks.shouldStop()
            var saved: String?
            if stops || isLast || Self.isDue(configuration.checkpointInterval, step) { saved = try save(callbacks) }
            if stops, !isLast { throw TrainingError.interrupted(step: step, savedAt: saved) }
        }
    }

    /// Saves a checkpoint, where there is a place for it; its path.
    @discardableResult
    private func save(_ callbacks: TrainingCallbacks) throws -> String? {
        guard let save = callbacks.save else { return nil }
        let path = try save(state)
        try callbacks.report(.checkpoint(step: step, path: path))
        return path
    }

    /// Makes the evaluation that is due; it stays due where it is cut short.
    private func evaluate(_ callbacks: TrainingCallbacks) throws {
        guard let evaluate = callbacks.evaluate, let result = try evaluate() else { return }
        validation.isDue = false
        try take(result, callbacks)
        if hasStoppedEarly {
            try callbacks.report(.stoppedEarly(step: step, evaluations: validation.worseCount))
        }
    }

    /// Takes an evaluation of the adapter as it stands: tells of it, and has it saved where it is the best so far.
    package func take(_ result: EvaluationResult, _ callbacks: TrainingCallbacks) throws {
        let isBest = validation.look(loss: result.loss, step: step, score: result.score)
        // Of a single evaluation there is nothing to tell.
        let isCompared = configuration.evaluationInterval != nil && callbacks.saveBest != nil
        for event in result.events(step: step, isBest: isBest && isCompared) { try callbacks.report(event) }
        guard isBest, isCompared, let best = validation.best, let path = try callbacks.saveBest?(best) else { return }
        try callbacks.report(.best(step: step, path: path))
    }

    private static func isDue(_ interval: Int?, _ step: Int) -> Bool {
        interval.map { $0 > 0 && step % $0 == 0 } ?? false
    }

    /// One optimizer step over the next examples.
    package func takeStep() throws -> StepReport {
        let perEpoch = order.count
        var batches: [Batch] = []
        // An epoch's end ends the step: no step mixes two epochs.
        while batches.isEmpty || batches.count < configuration.accumulation && order.position.index > 0 {
            let indices = order.nextInEpoch(atMost: configuration.batchSize)
            batches.append(Batch.packing(indices.map { examples[$0] }))
        }
        let position = order.position
        let epoch = Double(position.epoch) + Double(position.index) / Double(perEpoch)
        return try takeStep(on: batches, epoch: epoch)
    }

    /// One optimizer step over the given batches of this process; loss, mu, g and the gradients are those of all batches
    /// of all processes together. `observer` is told of each pass.
    package func takeStep(
        on batches: [Batch], epoch: Double = 0, observer: (any PassObserver)? = nil
    ) throws -> StepReport {
        let start = ContinuousClock.now
        let masks = RandomStream(seed: configuration.seed).forked("dropout").forked(UInt64(step))
        adapter.beginStep()
        let sums = try passBatches(batches, masks, observer)
        guard sums.loss.isFinite else {
            throw try notFinite("the loss", batches, masks)
        }
        if adapter.trainsParameters { try group.sumGradients(adapter.parameters) }
        let penalty = adapter.addPenalty()
        let norm = optimizer.gradientNorm()
        guard norm.isFinite else {
            throw try notFinite("the gradient", batches, masks)
        }
        let factor = schedule.factor(at: step)
        let clipping = configuration.gradientClipping
        // PyTorch's clip_grad_norm_ adds 1e-6 to the norm.
        let gradientScale = clipping > 0 ? min(1, clipping / (norm + 1e-6)) : 1
        optimizer.step(rate: configuration.learningRate * factor, gradientScale: gradientScale)
        adapter.schedule?.afterStep(step, gradientScale: gradientScale)
        try updateThresholds(rate: configuration.thresholdsFollowSchedule ? factor : 1)
        adapter.prepare()
        try context.throwFailure()
        step += 1
        let elapsed = ContinuousClock.now - start
        let taus = adapter.projections.compactMap { $0.gate?.tau }
        let ranks = adapter.ranks
        return StepReport(
            step: step, totalSteps: totalSteps, epoch: epoch, loss: sums.meanLoss, penalty: penalty,
            meanRank: adapter.schedule.map { _ in Double(ranks.reduce(0, +)) / Double(max(1, ranks.count)) },
            learningRate: configuration.learningRate * factor, gradientNorm: norm, tokens: sums.tokens,
            scoredTokens: sums.scored, seconds: elapsed.inSeconds, sparsity: meanStepSparsity(ranks),
            tauRange: taus.isEmpty ? nil : taus.min()!...taus.max()!,
            warnings: warnings(loss: sums.meanLoss, ranks))
    }

    /// What the user should know after a step. Advice for thresholds is of no use to a run that diverges.
    private func warnings(loss: Double, _ ranks: [Int]) -> [Wording] {
        let isFirstLook = !watch.hasComparedRatios
        var watched = watch
        let advice = watched.look(at: adapter.projections, ranks: ranks, step: step)
        let ratio = isFirstLook && watched.hasComparedRatios ? watched.medianRatio : nil
        watch = watched
        let warning = divergence.look(loss: loss, medianRatio: ratio)
        return divergence.hasDiverged ? [warning].compactMap { $0 } : advice
    }

    /// Passes the batches forward and backward, and gives the sums of all processes; the gates get theirs. The loss is
    /// that of the step's mean: its scale comes from all that is scored anywhere. After a loss that is not finite
    /// nothing more is passed.
    private func passBatches(
        _ batches: [Batch], _ masks: RandomStream, _ observer: (any PassObserver)?
    ) throws -> StepSums {
        var scored = [Double(batches.reduce(0) { $0 + $1.scoredCount })]
        try group.sum(&scored)
        let scale = Float(1 / max(1, scored[0]))
        var own = StepSums()
        for (index, batch) in batches.enumerated() where own.loss.isFinite {
            var pass = Pass(
                Tape(context, isRecording: true), dropout: masks.forked(UInt64(index)), observer: observer)
            pass.images = try batch.images.values()
            own.tokens += batch.tokens.count
            own.scored += batch.scoredCount
            own.loss += try objective.losses(
                batch.tokens, batch.layout, batch.labels, model, in: pass, scale: scale
            ).sum
            if own.loss.isFinite { pass.tape.runBackward() }
            try context.throwFailure()
        }
        let gates = adapter.projections.compactMap(\.gate)
        own.gates = gates.map(\.step)
        let sums = try own.summed(over: group)
        for (gate, sum) in zip(gates, sums.gates) { gate.step = sum }
        return sums
    }

    private func updateThresholds(rate: Double) throws {
        for projection in adapter.projections {
            guard let gate = projection.gate else { continue }
            gate.updateThreshold(configuration.thresholds, rate: rate)
            guard gate.tau.isFinite else {
                throw TrainingError.thresholdNotFinite(
                    step: step + 1, module: projection.path,
                    gradient: gate.step.gradient(lambda: configuration.thresholds.lambda))
            }
        }
    }

    /// Mean over the gates whose modules have a rank; nil without gates.
    private func meanStepSparsity(_ ranks: [Int]) -> Double? {
        guard adapter.configuration.isGated else { return nil }
        let sparsities = zip(adapter.projections, ranks).filter { $0.1 > 0 }.compactMap { $0.0.gate?.step.sparsity }
        return sparsities.reduce(0, +) / Double(max(1, sparsities.count))
    }

    /// The error for `what`, which is not finite in the step that has begun.
    private func notFinite(_ what: String, _ batches: [Batch], _ masks: RandomStream) throws -> TrainingError {
        .notFinite(
            what: what, step: step + 1, module: try firstModuleNotFinite(batches, masks), dtype: model.context.dtype)
    }

    /// The first projection, in the order of computation, whose output has a NaN or infinity on one of the batches,
    /// dropout masks as in the step.
    private func firstModuleNotFinite(_ batches: [Batch], _ masks: RandomStream) throws -> String? {
        for (index, batch) in batches.enumerated() {
            let path = try model.firstProjectionNotFinite(
                batch.tokens, batch.layout, dropout: masks.forked(UInt64(index)), images: try batch.images.values())
            if let path { return path }
        }
        return nil
    }

    /// All that a resumed run needs besides its inputs.
    package var state: TrainingState {
        TrainingState(
            step: step, position: order.position, configuration: configuration.json,
            TrainingState.Numbers(
                tensors: optimizer.slots.map {
                    AdapterTensor($0.parameter.name, $0.parameter.value.shape, $0.parameter.value.toArray())
                },
                moments: optimizer.slots.map { ($0.mean.toArray(), $0.meanSquare.toArray()) },
                scheduleTensors: adapter.schedule?.state ?? []),
            thresholds: zip(adapter.projections, watch.gates).compactMap { projection, watched in
                projection.gate.map { gate in
                    .init(
                        module: projection.path, tau: gate.tau, optimizer: gate.optimizer,
                        silentSteps: watched.silentSteps, isReported: watched.isReported)
                }
            }, hasComparedRatios: watch.hasComparedRatios, validation: validation)
    }

    /// Goes to where `state` was saved. Throws `stateMismatch` where settings, data or modules are others.
    package func restore(_ state: TrainingState, source: String) throws(TrainingError) {
        for (key, value) in configuration.json.members where state.configuration[key] != value {
            throw .stateMismatch(
                path: source, what: key, saved: state.configuration[key]?.text() ?? "not there", given: value.text())
        }
        if let key = state.configuration.keys.first(where: { configuration.json[$0] == nil }) {
            throw .stateMismatch(
                path: source, what: key, saved: state.configuration[key]!.text(), given: "not there")
        }
        let seed = configuration.shuffles ? configuration.seed : nil
        guard let order = DataOrder(count: examples.count, seed: seed, position: state.position) else {
            throw .badState(path: source, problem: "its place in the data lies beyond the data's end")
        }
        try takeUp(state, order, source: source)
        watch.hasComparedRatios = state.hasComparedRatios
        validation = state.validation
    }

    /// Goes on from `state`, which a run with other settings, data or another program may have saved: its adapter,
    /// moments, thresholds, scores and step count. The order of data is this run's; where the state's place lies beyond
    /// its end, a new epoch begins, and evaluations begin anew. Throws `badState` for another adapter's.
    ///
    /// - Returns: what of the saved run's settings is another now, a phrase each.
    package func take(_ state: TrainingState, source: String) throws(TrainingError) -> [String] {
        let gated = adapter.projections.filter { $0.gate != nil }
        guard let state = state.ordered(optimizer.slots.map { $0.parameter.name }, modules: gated.map(\.path)) else {
            throw .badState(path: source, problem: "its tensors and thresholds are not those of the adapter")
        }
        var differences: [String] = []
        let own = configuration.json
        for (key, saved) in state.configuration.members where own[key] != saved {
            // Other programs write the same number in other digits.
            if let number = saved.doubleValue, own[key]?.doubleValue == number { continue }
            differences.append("\(key) was \(saved.text()) and is now \(own[key]?.text() ?? "not there")")
        }
        let seed = configuration.shuffles ? configuration.seed : nil
        var order = DataOrder(count: examples.count, seed: seed, position: state.position)
        if order == nil {
            differences.append(
                "its place in the data, behind example \(state.position.index), lies beyond the \(examples.count) "
                    + "examples: a new epoch begins")
            order = DataOrder(count: examples.count, seed: seed, position: .init(epoch: state.position.epoch + 1))
        }
        guard let order else { throw .badState(path: source, problem: "its place in the data is none") }
        try takeUp(state, order, source: source)
        return differences
    }

    private func takeUp(_ state: TrainingState, _ order: DataOrder, source: String) throws(TrainingError) {
        guard state.step <= totalSteps else {
            throw .badState(
                path: source, problem: "it was saved after step \(state.step), and the run has \(totalSteps) steps")
        }
        // A step takes at least one example, so that no more epochs than steps have passed.
        guard state.position.epoch <= state.step else {
            throw .badState(
                path: source, problem: "it was saved in epoch \(state.position.epoch) after step \(state.step)")
        }
        guard state.tensors.map({ ByteName($0.name) }) == optimizer.slots.map({ ByteName($0.parameter.name) }),
            state.moments.count == optimizer.slots.count,
            zip(state.tensors, optimizer.slots).allSatisfy({ $0.shape == $1.parameter.value.shape })
        else { throw .badState(path: source, problem: "its tensors are not those of the adapter") }
        let gated = adapter.projections.indices.filter { adapter.projections[$0].gate != nil }
        guard state.thresholds.map({ ByteName($0.module) }) == gated.map({ ByteName(adapter.projections[$0].path) })
        else {
            throw .badState(path: source, problem: "its thresholds are not those of the adapter")
        }
        guard adapter.schedule?.restore(state.scheduleTensors) ?? true else {
            throw .badState(path: source, problem: "its importance scores are not those of the adapter")
        }
        for (index, slot) in optimizer.slots.enumerated() {
            slot.parameter.value.copy(from: state.tensors[index].values)
            slot.mean.copy(from: state.moments[index].mean)
            slot.meanSquare.copy(from: state.moments[index].meanSquare)
        }
        for (index, saved) in zip(gated, state.thresholds) {
            let gate = adapter.projections[index].gate!
            gate.tau = saved.tau
            gate.optimizer = saved.optimizer
            watch.gates[index] = .init(silentSteps: saved.silentSteps, isReported: saved.isReported)
        }
        self.order = order
        step = state.step
        optimizer.resume(atStep: state.step)
        adapter.prepare()
    }
}
