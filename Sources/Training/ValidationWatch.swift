import CheckpointIO

/// The evaluations of a run: the best so far, and how long ago it was.
package struct ValidationWatch: Sendable, Equatable {
    /// An evaluation.
    package struct Best: Sendable, Equatable {
        /// Its mean loss.
        package let loss: Double
        /// The step after which it was made.
        package let step: Int
        /// What evaluations are told by in place of the loss, more being better; nil where that is the loss.
        package let score: Double?

        /// An evaluation as given.
        package init(loss: Double, step: Int, score: Double? = nil) {
            (self.loss, self.step, self.score) = (loss, step, score)
        }

        /// Whether an evaluation is better than an earlier one: by its score where it has one, else by its loss.
        fileprivate func isBetter(than other: Best) -> Bool {
            guard let score else { return loss < other.loss }
            return other.score.map { score > $0 } ?? true
        }
    }

    /// The evaluation with the highest score, or the lowest loss, of equal ones the earliest; nil before the first.
    package private(set) var best: Best?
    /// Evaluations since then.
    package private(set) var worseCount = 0
    /// Whether the evaluation after the last step is still to be made, because the run was stopped during it.
    package internal(set) var isDue = false

    /// No evaluation yet.
    package init() {}

    /// Takes an evaluation; whether it is the best so far.
    package mutating func look(loss: Double, step: Int, score: Double? = nil) -> Bool {
        let new = Best(loss: loss, step: step, score: score)
        if let best, !new.isBetter(than: best) {
            worseCount += 1
            return false
        }
        best = new
        worseCount = 0
        return true
    }
}

extension ValidationWatch {
    /// What a state's record has of it: nothing before the first evaluation.
    var json: JSONObject {
        var object = JSONObject()
        if let best {
            object["best_loss"] = .real(best.loss)
            object["best_step"] = .integer(best.step)
            if let score = best.score { object["best_score"] = .real(score) }
            object["evaluations_since"] = .integer(worseCount)
        }
        if isDue { object["evaluation_due"] = .bool(true) }
        return object
    }

    /// Reads it from the record of a state after `step`; throws `badState`.
    init(_ record: JSONValue, step: Int, source: String) throws(TrainingError) {
        func bad(_ name: String) -> TrainingError {
            .badState(path: source, problem: "'\(name)' is missing or has the wrong type or size")
        }
        if let due = record["evaluation_due"] {
            guard let isDue = due.boolValue else { throw bad("evaluation_due") }
            self.isDue = isDue
        }
        guard let lossField = record["best_loss"] else {
            for name in ["best_step", "evaluations_since", "best_score"] where record[name] != nil {
                throw bad("best_loss")
            }
            return
        }
        guard let loss = lossField.doubleValue, loss.isFinite else { throw bad("best_loss") }
        guard let bestStep = record["best_step"]?.integer(in: 0...step) else { throw bad("best_step") }
        guard let count = record["evaluations_since"]?.integer(in: 0...step) else { throw bad("evaluations_since") }
        var score: Double?
        if let field = record["best_score"] {
            guard let value = field.doubleValue, value.isFinite else { throw bad("best_score") }
            score = value
        }
        best = Best(loss: loss, step: bestStep, score: score)
        worseCount = count
    }
}
