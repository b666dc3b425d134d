import CheckpointIO
import TSPEFT

extension EvaluateReport {
    /// The report as JSON.
    var json: JSONValue {
        var object: JSONObject = [
            "records": .integer(records), "truncated": .integer(truncated), "tokens": .integer(loss.tokens),
            "scored_tokens": .integer(loss.scoredTokens), "loss": .real(loss.meanLoss),
        ]
        if measures.isEmpty, loss.scoredTokens > 0 { object["perplexity"] = .real(loss.perplexity) }
        for measure in measures { object[measure.name] = measure.value.map { .real($0) } ?? .null }
        object["seconds"] = .real(seconds)
        object["dtype"] = .string(dtype.rawValue)
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

    /// The report for people.
    ///
    /// - Parameters:
    ///   - mode: how accuracy was measured.
    ///   - listsModules: whether to add a table of the gates.
    func lines(mode: String, listsModules: Bool) -> [String] {
        let cut = truncated > 0 ? ", \(grouped(truncated)) truncated" : ""
        var lines = [
            "records        \(grouped(records)) (\(grouped(loss.tokens)) tokens, \(grouped(loss.scoredTokens)) scored\(cut))"
        ]
        if loss.scoredTokens > 0 { lines.append("loss           \(fixed(loss.meanLoss, 4))") }
        if measures.isEmpty, loss.scoredTokens > 0 { lines.append("perplexity     \(fixed(loss.perplexity, 4))") }
        for measure in measures {
            let title = measure.title.padding(to: 14)
            lines.append("\(title) \(measure.value.map { fixed($0, 4) } ?? Measure.undefinedReason)")
        }
        if let accuracy {
            lines.append("accuracy       \(percent(accuracy, 2)) % (\(correct) of \(answered), \(mode))")
        }
        if let meanSparsity {
            lines.append("mean sparsity  \(percent(meanSparsity)) % over \(sparsities.count { $0 != nil }) modules")
        }
        lines.append("time           \(durationText(seconds)), \(dtype.rawValue)")
        return lines + (listsModules && meanSparsity != nil ? moduleTable : [])
    }

    private var moduleTable: [String] {
        var table = TextTable([.left, .right, .right])
        table.add(["module", "sparsity", "tokens"])
        table.addRule()
        for (module, sparsity) in zip(modules, sparsities) {
            table.add([module.module, sparsity.map { percent($0) + " %" } ?? "-", grouped(module.tokens)])
        }
        return table.lines
    }
}

extension String {
    /// With spaces behind it up to so many characters.
    fileprivate func padding(to count: Int) -> String {
        self + String(repeating: " ", count: Swift.max(0, count - self.count))
    }
}
