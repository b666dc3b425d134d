import Adapters
import CheckpointIO
import Data
import Evaluation
import Models
import Training

/// What a run evaluates on: one or several data sets.
struct ValidationSets {
    /// A data set.
    struct Set {
        /// What it is called.
        let name: String
        /// Its examples.
        let examples: [Example]
    }

    /// The sets in their order; at least one.
    let sets: [Set]
    /// What all of them together are called.
    let name: String
    /// How the run's record names them.
    let record: JSONValue

    /// All examples in order.
    var examples: [Example] { sets.flatMap(\.examples) }

    /// Files of records, each a set of its own, of which `limit` records count.
    init(
        paths: [String], limit: Int?, load: (String) throws -> Dataset
    ) throws {
        let names = paths.map { Dataset.name(of: [$0]) }
        sets = try zip(paths, names).map { path, name in
            let data = try load(path)
            // Files of one name in several folders are told apart by their paths.
            return Set(
                name: names.count { $0 == name } > 1 ? path : name,
                examples: limit.map { data.prefix($0).examples } ?? data.examples)
        }
        name = Dataset.name(of: paths)
        record = Dataset.record(of: paths)
    }

    /// What is held back of the training data.
    init(heldBack examples: [Example], of paths: [String], _ split: ValidationSplit) {
        name = "\(split.text) of \(Dataset.name(of: paths))"
        sets = [Set(name: name, examples: examples)]
        record = .string(name)
    }

    /// One set of examples of files.
    init(_ examples: [Example], of paths: [String]) {
        name = Dataset.name(of: paths)
        sets = [Set(name: name, examples: examples)]
        record = Dataset.record(of: paths)
    }

    /// What each set gives; `progress` is told how many examples of all are done, and may throw to stop.
    ///
    /// - Parameter kind: what a model with a head for sequences is asked for; nil for a language model.
    func measure(
        _ model: any Model, as kind: LabelKind?, observer: (any PassObserver)? = nil,
        progress: (Int) throws -> Void = { _ in }
    ) throws -> [Measurement] {
        var done = 0
        return try sets.map { set in
            let result = try Measurement(model, set.examples, as: kind, observer: observer) { try progress(done + $0) }
            done += set.examples.count
            return result
        }
    }

    /// What the sets gave as a run's evaluation.
    func result(_ measurements: [Measurement]) -> EvaluationResult {
        let all = Measurement(adding: measurements)
        return EvaluationResult(
            loss: all.loss.meanLoss, score: all.score, details: all.details,
            parts: sets.count == 1
                ? []
                : zip(sets, measurements).map {
                    EvaluationResult.Part(data: $0.name, loss: $1.loss.meanLoss, details: $1.details)
                })
    }
}

extension Dataset {
    /// Files of records as a run's record names them: one by its path, several in a list.
    static func record(of paths: [String]) -> JSONValue {
        paths.count == 1 ? .string(paths[0]) : .array(paths.map { .string($0) })
    }
}
