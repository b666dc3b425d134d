import CheckpointIO
import TensorCore
import Training

extension TrainingEvent {
    /// The event as a line of the run's log; nil for what the log does not tell.
    var logLine: JSONObject? {
        switch self {
        case .step(let report):
            var line: JSONObject = ["event": .string("step")]
            for (key, value) in report.json.members { line[key] = value }
            return line
        case .evaluation(let step, let loss, let details): return Self.line(step, loss, details)
        case .partialEvaluation(let data, let step, let loss, let details):
            return Self.line(step, loss, details, data: data)
        case .best: return nil
        case .stoppedEarly(let step, let evaluations):
            return [
                "event": .string("early stop"), "step": .integer(step), "evaluations": .integer(evaluations),
            ]
        case .checkpoint(let step, let path):
            return [
                "event": .string("checkpoint"), "step": .integer(step), "path": .string(lastPathComponent(path)),
            ]
        case .warning(let text): return ["event": .string("warning"), "text": .string(text.description)]
        }
    }

    private static func line(
        _ step: Int, _ loss: Double, _ details: JSONObject, data: String? = nil
    ) -> JSONObject {
        var line: JSONObject = ["event": .string("evaluation"), "step": .integer(step)]
        if let data { line["data"] = .string(data) }
        line["loss"] = .real(loss)
        for (key, value) in details.members { line[key] = value }
        return line
    }
}

/// What a run that goes on has told before.
struct RunPast {
    /// The step after which it goes on.
    let step: Int
    /// The lines of its log up to there, those of steps that were made twice as they were made last; nil without a log.
    let lines: [JSONObject]?

    /// The lines behind its last step: of evaluations and checkpoints after it, and of the end.
    var tail: ArraySlice<JSONObject> {
        let lines = lines ?? []
        let last = lines.lastIndex { $0["event"]?.stringValue == "step" }
        return lines[(last.map { $0 + 1 } ?? 0)...]
    }

    /// The losses of its last steps, `count` at most, the oldest first.
    func losses(_ count: Int) -> [Double] {
        (lines ?? []).filter { $0["event"]?.stringValue == "step" }.suffix(count).compactMap { $0["loss"]?.doubleValue }
    }

    /// What the whole run took: as its end tells it, or else the sums over its steps.
    var times: JSONObject {
        if let end = tail.last(where: { $0["event"]?.stringValue == "end" }) { return end }
        let steps = (lines ?? []).filter { $0["event"]?.stringValue == "step" }
        let seconds = steps.reduce(0) { $0 + ($1["seconds"]?.doubleValue ?? 0) }
        let tokens = steps.reduce(0) { $0 + ($1["tokens"]?.doubleValue ?? 0) }
        return ["seconds": .real(seconds), "tokens_per_second": .real(tokens / max(seconds, 1e-9))]
    }
}
