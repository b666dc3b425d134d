import Adapters
import CheckpointIO
import Transforms

/// What a merge did, in words and as a table.
package enum MergeText {
    /// Modules that are named in a line at most; the table has them all.
    private static let nameLimit = 3

    /// The closing lines of a merge: modules merged, share of weights changed, largest change, expected error.
    package static func summary(_ report: MergeReport) -> [String] {
        var lines = ["\(report.mergedCount) of \(report.modules.count) modules merged"]
        if !report.neverFiring.isEmpty {
            lines.append(
                "left as the base has them, because their gates never open: \(names(report.neverFiring))")
        }
        if !report.lostInRounding.isEmpty {
            lines.append(
                "lost in the rounding to \(report.dtypes.joined(separator: ", ")): \(names(report.lostInRounding))")
        }
        lines.append(
            "weights changed: \(percent(report.changedShareOfMerged)) % of the merged tensors, "
                + "\(percent(report.changedShareOfCheckpoint)) % of the checkpoint; largest change \(report.largestChange)"
        )
        if let gates = report.gates, let source = report.source {
            let errors = report.modules.map(\.plan.expectedError)
            let worst = report.modules.max { $0.plan.expectedError < $1.plan.expectedError }
            let mean = errors.isEmpty ? 0 : errors.reduce(0, +) / Double(errors.count)
            lines.append(
                "expected error of replacing the gates (--gates \(gates.rawValue)), relative to |W0 x| over \(source): "
                    + "mean \(percent(mean, 3)) %, largest \(percent(worst?.plan.expectedError ?? 0, 3)) %"
                    + (worst.map { " (\($0.plan.module))" } ?? ""))
        }
        if !report.droppedTensors.isEmpty {
            lines.append("left out, because no Llama model has them: \(report.droppedTensors.joined(separator: ", "))")
        }
        return lines
    }

    /// The report as JSON, for other programs.
    package static func json(_ report: MergeReport) -> JSONValue {
        .object([
            "merged": .integer(report.mergedCount),
            "total": .integer(report.modules.count),
            "gates": report.gates.map { .string($0.rawValue) } ?? .null,
            "statistics": report.source.map { .string($0) } ?? .null,
            "changed_share_of_merged": .real(report.changedShareOfMerged),
            "changed_share_of_checkpoint": .real(report.changedShareOfCheckpoint),
            "largest_change": .real(report.largestChange),
            "dtypes": .array(report.dtypes.map { .string($0) }),
            "files": .array(report.tensorFiles.map { .string($0) }),
            "dropped_tensors": .array(report.droppedTensors.map { .string($0) }),
            "modules": .array(
                report.modules.map { module in
                    .object([
                        "module": .string(module.plan.module), "factor": .real(module.plan.factor),
                        "expected_error": .real(module.plan.expectedError),
                        "never_fires": .bool(module.plan.neverFires), "weights": .integer(module.weightCount),
                        "changed": .integer(module.changedCount), "largest_change": .real(module.largestChange),
                    ])
                }),
        ])
    }

    /// One line a module: factor on the update, expected error, share of weights changed, largest change.
    package static func table(_ report: MergeReport) -> [String] {
        var table = TextTable([.left, .right, .right, .right, .right])
        table.add(["module", "factor", "error %", "changed %", "largest"])
        table.addRule()
        for module in report.modules {
            let share = module.weightCount == 0 ? 0 : Double(module.changedCount) / Double(module.weightCount)
            table.add([
                module.plan.module, fixed(Double(module.plan.factor), 4), percent(module.plan.expectedError, 3),
                percent(share), "\(module.largestChange)",
            ])
        }
        return table.lines
    }

    private static func names(_ modules: [MergeReport.Module]) -> String {
        let first = modules.prefix(nameLimit).map(\.plan.module).joined(separator: ", ")
        return modules.count > nameLimit ? "\(modules.count) modules (\(first), ...)" : first
    }
}
