import CheckpointIO
import Transforms
import TSPEFT

extension FileComparison {
    /// The comparison as JSON, for other programs.
    var json: JSONValue {
        .object([
            "kind": .string("comparison"), "a": .string(paths.before), "b": .string(paths.after),
            "identical": .bool(isIdentical), "translated_names": .bool(isTranslated),
            "tensors_a": .integer(counts.before), "tensors_b": .integer(counts.after),
            "compared": .integer(entries.count),
            "added": .array(added.map { .string($0) }), "removed": .array(removed.map { .string($0) }),
            "reshaped": .array(
                reshaped.map {
                    .object([
                        "name": .string($0.name), "shape_a": .array($0.before.map { .integer($0) }),
                        "shape_b": .array($0.after.map { .integer($0) }),
                    ])
                }),
            "retyped": .array(retyped.map { .object($0.json) }), "changed": .array(changed.map { .object($0.json) }),
        ])
    }

    /// The comparison as lines of text; the last one sums up.
    var lines: [String] {
        var lines = ["A  \(paths.before)", "B  \(paths.after)"]
        if isTranslated { lines.append("by Hugging Face's names and order of rows") }
        if !changed.isEmpty { lines += [""] + changes }
        for (label, names) in [
            ("only in B (added)", added), ("only in A (removed)", removed),
            ("other shape", reshaped.map { "\($0.name)  \($0.before) -> \($0.after)" }),
            ("other type, same values", retyped.map { "\($0.name)  \($0.before) -> \($0.after)" }),
        ] where !names.isEmpty {
            lines += ["", label + ":"] + names.map { "  " + $0 }
        }
        return lines + ["", summary]
    }

    private var changes: [String] {
        var table = TextTable([.left, .left, .right, .right, .right, .right])
        table.add(["changed", "type", "values", "differ", "largest |B - A|", "|B - A| / |A|"])
        table.addRule()
        for entry in changed {
            let type = entry.isRetyped ? "\(entry.before) -> \(entry.after)" : entry.before.description
            let start = [entry.name, type, grouped(entry.elementCount)]
            guard case .compared(let comparison) = entry.outcome else {
                table.add(start + ["not read"])
                continue
            }
            table.add(
                start + [
                    grouped(comparison.differing), significant(comparison.largest), significant(comparison.relative),
                ])
        }
        let strange = changed.filter { entry in
            if case .compared(let comparison) = entry.outcome { comparison.incomparable > 0 } else { false }
        }
        guard !strange.isEmpty else { return table.lines }
        return table.lines + [
            "",
            "\(strange.count) of them have values that are NaN or infinite in A or B, which the last two columns leave out",
        ]
    }

    /// One line on the whole.
    var summary: String {
        if isIdentical {
            return "identical: \(entries.count) tensors" + (isTranslated ? "" : ", byte for byte")
        }
        let same = entries.count - changed.count - retyped.count
        let parts = [
            "\(same) identical", "\(changed.count) changed",
            retyped.isEmpty ? nil : "\(retyped.count) of another type with the same values",
            reshaped.isEmpty ? nil : "\(reshaped.count) of another shape", added.isEmpty ? nil : "\(added.count) added",
            removed.isEmpty ? nil : "\(removed.count) removed",
        ].compactMap { $0 }
        return "\(counts.before) tensors in A, \(counts.after) in B: \(parts.joined(separator: ", "))"
    }
}

extension FileComparison.Entry {
    /// Without figures for types that are not read. A relative change from nothing but zeros is null.
    fileprivate var json: JSONObject {
        var object: JSONObject = [
            "name": .string(name), "shape": .array(shape.map { .integer($0) }),
            "type_a": .string(before.description), "type_b": .string(after.description),
            "elements": .integer(elementCount),
        ]
        if case .compared(let comparison) = outcome {
            object["differing"] = .integer(comparison.differing)
            object["not_finite"] = .integer(comparison.incomparable)
            object["largest_change"] = .real(comparison.largest)
            object["relative_change"] = .real(comparison.relative)
        }
        return object
    }
}
