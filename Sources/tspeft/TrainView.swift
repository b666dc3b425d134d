import TSPEFT

/// Shows a training run: one line that is rewritten on a terminal, plain lines elsewhere.
final class TrainView {
    private let logInterval: Int
    private let showsLearningRate: Bool
    private var recent: [TrainStep] = []
    private var firstStep: Int?
    private var seconds = 0.0

    init(logInterval: Int, showsLearningRate: Bool = true) {
        self.logInterval = logInterval
        self.showsLearningRate = showsLearningRate
    }

    func show(_ progress: TrainProgress) {
        switch progress {
        case .loaded(let examples, let tokens, let scored, let truncated, let steps):
            let cut = truncated > 0 ? ", \(grouped(truncated)) truncated" : ""
            Terminal.note(
                "\(grouped(examples)) examples, \(grouped(tokens)) tokens (\(grouped(scored)) scored\(cut)); "
                    + "\(grouped(steps)) steps")
        case .ready(let parameters, let modules, let precision, let threads):
            Terminal.note(
                "training \(grouped(parameters)) numbers in \(modules) modules, \(precision.rawValue.uppercased()), "
                    + counted(threads, "thread"))
        case .prepared(let texts, let parts, let heldBack):
            if texts > 0 { Terminal.note("\(counted(texts, "long text")) cut into \(grouped(parts)) parts") }
            if heldBack > 0 { Terminal.note("\(counted(heldBack, "example")) held back for validation") }
        case .resumed(let step): Terminal.note("resumed after step \(step)")
        case .measuring(let source, let examples, let countsGates):
            let what = countsGates ? "loss and gates" : "the loss"
            Terminal.note("measuring \(what) over \(counted(examples, "record")) of \(source)")
        case .step(let step): show(step)
        case .evaluation(let step, let loss, let perplexity):
            Terminal.note("step \(step)  evaluation loss \(fixed(loss, 4))  perplexity \(fixed(perplexity, 2))")
        case .partialEvaluation(let data, let step, let loss, _):
            Terminal.note("step \(step)  evaluation loss \(fixed(loss, 4)) of \(data)")
        case .measured(let step, let data, let loss, let measures):
            let values = measures.map { "  \($0.title) \($0.value.map { fixed($0, 4) } ?? "not defined")" }.joined()
            Terminal.note(
                "step \(step)  evaluation loss \(fixed(loss, 4))\(values)" + (data.map { " of \($0)" } ?? ""))
        case .best(let step, let path): Terminal.note("step \(step)  the best so far, saved \(path)")
        case .stoppedEarly(let step, let evaluations):
            Terminal.note("step \(step)  ends here: none better in \(counted(evaluations, "evaluation"))")
        case .checkpoint(let step, let path): Terminal.note("step \(step)  saved \(path)")
        case .warning(let warning): Terminal.sentence(OptionWords.text(warning.wording), mark: "warning")
        }
    }

    private func show(_ report: TrainStep) {
        firstStep = firstStep ?? report.step - 1
        seconds += report.seconds
        recent.append(report)
        if recent.count > logInterval { recent.removeFirst() }
        if Terminal.isInteractive {
            let line = line(report)
            Terminal.progress { line.text(columns: $0) }
        } else if report.step % logInterval == 0 || report.step == report.totalSteps || report.step == 1 {
            Terminal.note(text(report))
        }
    }

    /// Mean loss of the last steps.
    private var loss: Double { recent.reduce(0) { $0 + $1.loss } / Double(recent.count) }
    /// Tokens a second over the last steps.
    private var speed: Double {
        Double(recent.reduce(0) { $0 + $1.tokens }) / max(1e-9, recent.reduce(0) { $0 + $1.seconds })
    }

    private func secondsLeft(_ report: TrainStep) -> Double {
        seconds / Double(max(1, report.step - (firstStep ?? 0))) * Double(report.totalSteps - report.step)
    }

    /// The line for a terminal: what matters most comes first and stays where there is no room for more.
    private func line(_ report: TrainStep) -> ProgressLine {
        let steps = "\(report.step)/\(report.totalSteps)"
        let left = secondsLeft(report)
        var fields: [ProgressLine.Field] = [
            .init("step \(steps)", short: steps),
            .init("left \(durationText(left))", short: "left \(shortDurationText(left))"),
            .init("loss \(fixed(loss, 4))"),
        ]
        if let sparsity = report.sparsity { fields.append(.init("skipped \(percent(sparsity)) %")) }
        fields.append(.init("\(fixed(speed, 0)) tokens/s", short: "\(fixed(speed, 0)) tok/s"))
        var extras: [ProgressLine.Field] = [.init("epoch \(fixed(report.epoch, 2))")]
        if let rank = report.meanRank { extras.append(.init("rank \(fixed(rank, 1))")) }
        if showsLearningRate { extras.append(.init("lr \(scientific(report.learningRate))")) }
        if let taus = report.tauRange {
            extras.append(
                .init(
                    "tau \(scientific(Double(taus.lowerBound)))..\(scientific(Double(taus.upperBound)))"))
        }
        if report.penalty != 0 { extras.append(.init("penalty \(fixed(report.penalty, 4))")) }
        return ProgressLine(fields, extras: extras)
    }

    /// The line for a log.
    private func text(_ report: TrainStep) -> String {
        var text =
            "step \(report.step)/\(report.totalSteps)  epoch \(fixed(report.epoch, 2))  loss \(fixed(loss, 4))  "
            + (report.penalty == 0 ? "" : "penalty \(fixed(report.penalty, 4))  ")
            + (report.meanRank.map { "rank \(fixed($0, 1))  " } ?? "")
            + (showsLearningRate ? "lr \(scientific(report.learningRate))  " : "") + "\(fixed(speed, 0)) tokens/s"
        if let sparsity = report.sparsity, let taus = report.tauRange {
            text +=
                "  sparsity \(percent(sparsity)) %  tau \(scientific(Double(taus.lowerBound)))"
                + "..\(scientific(Double(taus.upperBound)))"
        }
        return text + "  left \(durationText(secondsLeft(report)))"
    }

    func finish() {
        Terminal.endProgress()
    }
}

/// `1 example`, `2 examples`.
private func counted(_ count: Int, _ word: String) -> String { "\(grouped(count)) \(word)\(count == 1 ? "" : "s")" }
