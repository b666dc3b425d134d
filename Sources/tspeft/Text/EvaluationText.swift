import CheckpointIO
import TSPEFT

extension EvaluateReport {
    /// The report as JSON.
    var json: JSONValue {
        var object: JSONObject = [
            "records": .integer(records), "truncated": .integer(truncated), "tokens": .integer(loss.tokens),
            "scored_tokens": .integer(loss.scoredTokens), "loss": .real(loss.meanLoss),
            "perplexity": .real(loss.perplexity), "seconds": .real(seconds), "dtype": .string(dtype.rawValue),
        ]
        if let accuracy {
            object["answered"] = .integer(answered)
            object["correct"] = .integer(correct)
            object["accuracy"] = .real(accuracy)
        }
        if let meanSparsity {
            object["mean_sparsity"] = .real(meanSparsity)
            object["modules"] = .array(
                zip(modules, sparsities).map { module, sparsity in
                    .object([
                        "module": .string(module.module), "sparsity": sparsity.map { .real($0) } ?? .null,
                        "tokens": .integer(module.tokens), "active": .integer(module.active),
                    ])
                })
        }
        return .object(object)
    }
}
