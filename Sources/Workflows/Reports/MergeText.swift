import Adapters
import CheckpointIO
import Transforms

/// What a merge did, in words and as a table.
package enum MergeText {
    /// Modules that are named in a line at most; the table has them all.
    private static let nameLimit = 3
    /// Modules up to which the table lists all of them unasked.
    private static let shortTableLimit = 10
    /// Modules with the largest expected error that it lists where there are more.
    private static let worstCount = 5

    /// The closing lines of a merge: modules merged, share of weights changed, largest change, expected error.
    package static func summary(_ report: MergeReport) -> [String] {
        var lines = ["\(report.mergedCount) of \(report.modules.count) modules merged"]
        let whole = report.modules.filter(\.plan.isWhole)
        if !whole.isEmpty { lines.append("taken whole from the adapter: \(names(whole))") }
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
                + "\(percent(report.changedShareOfCheckpoint)) % of the checkpoint; largest change "
                + scientific(Double(report.largestChange))
        )
        if let gates = report.gates, let source = report.source {
            let worst = report.modules.max { $0.plan.expectedError < $1.plan.expectedError }
            lines.append(
                "expected error of replacing the gates (--gates \(gates.rawValue)), relative to |W0 x| over \(source): "
                    + "mean \(percent(meanError(report), 3)) %, largest \(percent(worst?.plan.expectedError ?? 0, 3)) %"
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
                        "never_fires": .bool(module.plan.neverFires), "whole": .bool(module.plan.isWhole),
                        "weights": .integer(module.weightCount),
                        "changed": .integer(module.changedCount), "largest_change": .real(module.largestChange),
                    ])
                }),
        ])
    }

    /// One line a module: factor on the update, expected error, share of weights changed, largest change.
    ///
    /// Of many modules only those with the largest expected error are listed unless `listsAll`; the mean is of all.
    /// Modules whose gates never open are left out.
    package static func table(_ report: MergeReport, listsAll: Bool) -> [String] {
        let merged = report.modules.filter { !$0.plan.neverFires }
        let isGated = report.gates != nil
        let isShort = !listsAll && merged.count > shortTableLimit
        var table = TextTable([.left, .right, .right, .right, .right])
        table.add([
            isShort ? "module (worst \(worstCount))" : "module", "factor", "error %", "changed %",
            "largest change",
        ])
        table.addRule()
        for module in isShort ? worst(of: merged) : merged {
            let share = module.weightCount == 0 ? 0 : Double(module.changedCount) / Double(module.weightCount)
            table.add([
                module.plan.module, fixed(Double(module.plan.factor), 4), percent(module.plan.expectedError, 3),
                percent(share), scientific(Double(module.largestChange)),
            ])
        }
        if isGated {
            table.addRule()
            table.add(["mean of all \(gatedCount(report))", "", percent(meanError(report), 3)])
        }
        return table.lines
    }

    /// Over all gated modules; those that are left as they were, and so merged exactly, count as 0.
    private static func meanError(_ report: MergeReport) -> Double {
        report.modules.reduce(0) { $0 + $1.plan.expectedError } / Double(max(1, gatedCount(report)))
    }

    private static func gatedCount(_ report: MergeReport) -> Int { report.modules.count { !$0.plan.isWhole } }

    private static func worst(of modules: [MergeReport.Module]) -> [MergeReport.Module] {
        let order = modules.indices.sorted {
            (-modules[$0].plan.expectedError, $0) < (-modules[$1].plan.expectedError, $1)
        }
        return order.prefix(worstCount).map { modules[$0] }
    }

    private static func names(_ modules: [MergeReport.Module]) -> String {
        let first = modules.prefix(nameLimit).map(\.plan.module).joined(separator: ", ")
        return modules.count > nameLimit ? "\(modules.count) modules (\(first), ...)" : first
    }
}
