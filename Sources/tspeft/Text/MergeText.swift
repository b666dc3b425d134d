import Adapters
import CheckpointIO
import TensorCore
import Transforms
import TSPEFT

/// What a merge did, in words and as a table.
enum MergeText {
    /// Modules that are named in a line at most; the table has them all.
    private static let nameLimit = 3
    /// Modules up to which the table lists all of them unasked.
    private static let shortTableLimit = 10
    /// Modules with the largest expected error that it lists where there are more.
    private static let worstCount = 5

    /// The closing lines of a merge: modules merged, share of weights changed, largest change, expected error; of
    /// several adapters for each, then for all.
    static func summary(_ report: MergeReport) -> [String] {
        let share = "\(percent(report.changedShareOfCheckpoint)) % of the checkpoint"
        var lines: [String] = []
        if report.parts.count == 1 {
            let part = report.parts[0]
            lines += counts(part, dtypes: report.dtypes)
            lines.append(changes(report.total, of: "the merged tensors, \(share)"))
            lines += expectedErrors(part)
        } else {
            for part in report.parts {
                lines.append("\(part.plan.name) (\(part.plan.method), weight \(part.plan.weight)):")
                let own =
                    counts(part, dtypes: report.dtypes) + [changes(part.total, of: "its tensors")]
                    + expectedErrors(part)
                lines += own.map { "  " + $0 }
            }
            lines.append("all: \(report.mergedCount) of \(report.moduleCount) modules merged")
            lines.append(changes(report.total, of: "the merged tensors, \(share)"))
        }
        lines.append(text(report.account))
        for head in report.heads { lines.append(text(head)) }
        if !report.notFinite.isEmpty { lines.append(text(report.notFinite)) }
        if let advice = report.advice { lines.append(text(advice, of: report.roundings.count)) }
        if !report.droppedTensors.isEmpty {
            let dropped = report.droppedTensors.joined(separator: ", ")
            lines.append("left out, because the model has no such tensors: \(dropped)")
        }
        if let conversion = report.conversion { lines += [""] + text(conversion, after: report) }
        return lines
    }

    /// What the merged checkpoint was written as.
    private static func text(_ conversion: CheckpointConversion, after report: MergeReport) -> [String] {
        let types = NameSet(report.dtypes).sorted()
        let lines = ConversionText.summary(conversion)
        guard conversion.changesMerged else { return lines }
        return lines + ["note: changes are counted in \(types.joined(separator: ", ")), before the change of type"]
    }

    /// Which tensors were used and changed.
    static func text(_ account: MergeAccount) -> String {
        let used = "\(account.adapterTensorCount)"
        return "\(used) of \(used) adapter tensors used, in \(account.changedTensorCount) of the base's "
            + "\(account.baseTensorCount) tensors"
    }

    /// What the merged checkpoint is to be opened as.
    static func text(_ head: MergeReport.Head) -> String {
        let labels = head.task.labelCount.map { ", num_labels=\($0)" } ?? ""
        let remedy = head.task.autoClass.map { "; open it with \($0).from_pretrained(...\(labels))" } ?? ""
        let names = head.baseClass.map { "config.json names \($0) still" } ?? "the base's configuration names no class"
        return "\(head.adapter) is for \(head.task.words) (\(head.task.evidence)), but \(names)\(remedy)"
    }

    /// Numbers that no update made into what they are.
    private static func text(_ tensors: [MergeReport.NotFinite]) -> String {
        let first = tensors.prefix(nameLimit).map { "\(grouped($0.count)) in \($0.tensor)" }.joined(separator: ", ")
        let more = tensors.count > nameLimit ? ", ... (\(tensors.count) tensors)" : ""
        return "NaN or infinite in the base, and so still: \(first)\(more)"
    }

    /// The same as JSON.
    static func json(_ account: MergeAccount) -> JSONValue {
        .object([
            "adapter_tensors_used": .integer(account.adapterTensorCount),
            "changed_tensors": .integer(account.changedTensorCount),
            "base_tensors": .integer(account.baseTensorCount),
        ])
    }

    private static func text(_ advice: RoundingAdvice, of count: Int) -> String {
        let names = advice.tensors.prefix(nameLimit).joined(separator: ", ")
        let which = advice.tensors.count > nameLimit ? "\(names), ..." : names
        let remedy =
            advice.dtype.map { OptionWords.text("\(.mergedType, $0) would keep them") } ?? "no type would keep them"
        return "rounding to \(advice.encodings.joined(separator: ", ")) swallows the updates of "
            + "\(advice.tensors.count) of \(count) tensors (\(which)); \(remedy)"
    }

    /// One line a changed tensor of a GGUF file: the size of its update, the error of rounding it, the share that
    /// arrived, the share of weights that changed. Of many tensors only those of whose updates the least arrived are
    /// listed unless `listsAll`. Nothing for other outputs.
    static func roundings(_ report: MergeReport, listsAll: Bool) -> [String] {
        guard !report.roundings.isEmpty else { return [] }
        let isShort = !listsAll && report.roundings.count > shortTableLimit
        let order = report.roundings.indices.sorted {
            (report.roundings[$0].arrivedShare, $0) < (report.roundings[$1].arrivedShare, $1)
        }
        let shown = isShort ? order.prefix(worstCount).map { report.roundings[$0] } : report.roundings
        var table = TextTable([.left, .left, .right, .right, .right, .right])
        table.add([
            isShort ? "tensor (worst \(worstCount))" : "tensor", "type", "update RMS", "rounding RMS", "arrived %",
            "changed %",
        ])
        table.addRule()
        for tensor in shown {
            table.add([
                tensor.tensor, tensor.encoding, scientific(tensor.updateRMS), scientific(tensor.roundingRMS),
                percent(tensor.arrivedShare, 1), percent(tensor.outcome.changedShare),
            ])
        }
        return [""] + table.lines
    }

    private static func json(_ report: [TensorRounding]) -> JSONValue {
        .array(
            report.map { tensor in
                .object([
                    "tensor": .string(tensor.tensor), "type": .string(tensor.encoding),
                    "update_rms": .real(tensor.updateRMS), "rounding_rms": .real(tensor.roundingRMS),
                    "arrived_share": .real(tensor.arrivedShare), "swallowed": .bool(tensor.isSwallowed),
                    "weights": .integer(tensor.outcome.weightCount),
                    "changed": .integer(tensor.outcome.changedCount),
                    "largest_change": .real(tensor.outcome.largestChange),
                ])
            })
    }

    private static func counts(_ part: MergeReport.Part, dtypes: [String]) -> [String] {
        var lines = ["\(part.mergedCount) of \(part.modules.count) modules merged"]
        if !part.whole.isEmpty { lines.append("taken whole from the adapter: \(names(part.whole))") }
        if !part.neverFiring.isEmpty {
            lines.append("left as the base has them, because their gates never open: \(names(part.neverFiring))")
        }
        if !part.withoutRank.isEmpty {
            lines.append("left as the base has them, because their rank is 0: \(names(part.withoutRank))")
        }
        if !part.lostInRounding.isEmpty {
            lines.append("lost in the rounding to \(dtypes.joined(separator: ", ")): \(names(part.lostInRounding))")
        }
        return lines
    }

    private static func changes(_ outcome: MergeReport.Outcome, of what: String) -> String {
        "weights changed: \(percent(outcome.changedShare)) % of \(what); largest change "
            + scientific(Double(outcome.largestChange))
    }

    private static func expectedErrors(_ part: MergeReport.Part) -> [String] {
        guard let gates = part.plan.gates, let source = part.plan.source,
            let worst = part.modules.max(by: { $0.plan.expectedError < $1.plan.expectedError })
        else { return [] }
        return [
            "expected error of replacing the gates (--gates \(gates.rawValue)), relative to |W0 x| over \(source): mean "
                + "\(percent(part.meanError, 3)) %, largest \(percent(worst.plan.expectedError, 3)) % "
                + "(\(worst.plan.module))"
        ]
    }

    /// The report as JSON, for other programs.
    static func json(_ report: MergeReport) -> JSONValue {
        .object([
            "merged": .integer(report.mergedCount),
            "total": .integer(report.moduleCount),
            "changed_share_of_merged": .real(report.total.changedShare),
            "changed_share_of_checkpoint": .real(report.changedShareOfCheckpoint),
            "largest_change": .real(report.largestChange),
            "dtypes": .array(report.dtypes.map { .string($0) }),
            "files": .array(report.tensorFiles.map { .string($0) }),
            "account": json(report.account),
            "not_finite_in_base": .array(
                report.notFinite.map { .object(["tensor": .string($0.tensor), "count": .integer($0.count)]) }),
            "other_tasks": .array(
                report.heads.map { .object(["adapter": .string($0.adapter), "task": .string($0.task.evidence)]) }),
            "dropped_tensors": .array(report.droppedTensors.map { .string($0) }),
            "adapters": .array(report.parts.map { .object(json($0)) }),
            "tensors": json(report.roundings),
            "conversion": report.conversion.map { .object(ConversionText.json($0)) } ?? .null,
            "dtype_that_keeps": report.advice?.dtype.map { .string($0) } ?? .null,
        ])
    }

    private static func json(_ part: MergeReport.Part) -> JSONObject {
        [
            "path": .string(part.plan.name), "method": .string(part.plan.method), "weight": .real(part.plan.weight),
            "merged": .integer(part.mergedCount),
            "total": .integer(part.modules.count),
            "gates": part.plan.gates.map { .string($0.rawValue) } ?? .null,
            "statistics": part.plan.source.map { .string($0) } ?? .null,
            "changed_share_of_merged": .real(part.total.changedShare),
            "largest_change": .real(part.total.largestChange),
            "modules": .array(
                part.modules.map { module in
                    .object([
                        "module": .string(module.plan.module), "factor": .real(module.plan.factor),
                        "expected_error": .real(module.plan.expectedError),
                        "never_fires": .bool(module.plan.neverFires),
                        "rank_zero": .bool(module.plan.omission == .rankZero),
                        "whole": .bool(module.plan.isWhole), "weights": .integer(module.weightCount),
                        "changed": .integer(module.changedCount), "largest_change": .real(module.largestChange),
                    ])
                }),
        ]
    }

    /// One line a module of an adapter: factor on the update, expected error, share of weights changed, largest change.
    ///
    /// Of many modules only those with the largest expected error are listed unless `listsAll`; the mean is of all.
    /// Modules that were left as they were are left out.
    static func table(_ part: MergeReport.Part, listsAll: Bool) -> [String] {
        let merged = part.modules.filter { $0.plan.omission == nil }
        let isShort = !listsAll && merged.count > shortTableLimit
        var table = TextTable([.left, .right, .right, .right, .right])
        table.add([
            isShort ? "module (worst \(worstCount))" : "module", "factor", "error %", "changed %",
            "largest change",
        ])
        table.addRule()
        for module in isShort ? worst(of: merged) : merged {
            table.add([
                module.plan.module, fixed(module.plan.factor, 4), percent(module.plan.expectedError, 3),
                percent(module.outcome.changedShare), scientific(Double(module.largestChange)),
            ])
        }
        if part.plan.gates != nil {
            table.addRule()
            table.add(["mean of all \(part.modules.count - part.whole.count)", "", percent(part.meanError, 3)])
        }
        return table.lines
    }

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
