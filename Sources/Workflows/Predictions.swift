import CheckpointIO
import Data
import Evaluation

/// What a model said of each record, one line of JSON each.
struct Predictions {
    /// What was asked.
    let kind: LabelKind
    /// Where the records stand, and their labels as the model takes them.
    let places: [RecordPlace]
    let examples: [Example]
    /// What the model gave for each.
    let scores: [[Float]]

    /// Writes a line for each record: its file and line, the class that the model chose and the probability of each
    /// class, or the number; and the record's own label where it has one.
    ///
    /// Throws `CheckpointError` for a file that cannot be written.
    func write(to output: OutputTarget) throws {
        let file = try AtomicFileWriter(output)
        for index in scores.indices {
            try file.write(Array((line(index).text() + "\n").utf8))
        }
        try file.commit()
    }

    private func line(_ index: Int) -> JSONValue {
        let (place, scores) = (places[index], scores[index])
        var object: JSONObject = ["file": .string(place.file), "line": .integer(place.line)]
        switch kind {
        case .classes(let labels):
            object["predicted"] = .string(labels.names[SequenceResult.choice(of: scores)])
            var probabilities = JSONObject()
            for (name, value) in zip(labels.names, SequenceResult.probabilities(of: scores)) {
                probabilities[name] = .real(value)
            }
            object["probabilities"] = .object(probabilities)
            if case .index(let label)? = examples[index].label { object["label"] = .string(labels.names[Int(label)]) }
        case .numbers:
            object["predicted"] = .real(scores[0])
            if case .value(let number)? = examples[index].label { object["label"] = .real(number) }
        }
        return .object(object)
    }
}
