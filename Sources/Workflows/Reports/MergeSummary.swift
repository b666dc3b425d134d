import Transforms

/// The plain-text report of `merge`.
package enum MergeSummary {
    /// Modules up to which all of them are listed unasked.
    private static let shortListLimit = 10
    /// Modules with the largest expected error that are listed where there are more.
    private static let worstCount = 5

    /// The lines; `listsAll` lists every module.
    package static func lines(_ report: MergeReport, listsAll: Bool) -> [String] {
        var lines = facts(report)
        let merged = report.modules.filter { !$0.plan.neverFires }
        guard report.gates != nil || listsAll else { return lines }
        let isShort = listsAll || merged.count <= shortListLimit
        let shown = isShort ? merged : worst(of: merged)
        lines += ["", heading(report, isShort: isShort, of: merged.count), ""]
        return lines + table(shown, mean: mean(merged), isGated: report.gates != nil)
    }

    private static func facts(_ report: MergeReport) -> [String] {
        var table = TextTable([.left, .left])
        let gates =
            switch report.gates {
            case .scale: ", each gate replaced by its best factor"
            case .drop: ", each gate left open"
            case nil: ""
            }
        table.add(["modules", "\(report.mergedCount) of \(report.modules.count) modules merged\(gates)"])
        table.add([
            "changed",
            "\(percent(report.changedShareOfMerged, 2)) % of their weights, "
                + "\(percent(report.changedShareOfCheckpoint, 2)) % of the checkpoint's",
        ])
        table.add([
            "largest change", "\(scientific(Double(report.largestChange))), stored as \(list(report.dtypes))",
        ])
        if !report.neverFiring.isEmpty {
            let names = report.neverFiring.map(\.plan.module)
            table.add(["left as it was", "\(names.count) whose gates never open: \(list(names))"])
        }
        if !report.lostInRounding.isEmpty {
            let names = report.lostInRounding.map(\.plan.module)
            table.add(["lost in rounding", "\(names.count) whose update is too small: \(list(names))"])
        }
        return table.lines
    }

    private static func heading(_ report: MergeReport, isShort: Bool, of count: Int) -> String {
        guard report.gates != nil else { return "a dense adapter is merged exactly, but for rounding" }
        let which = isShort ? "expected error" : "the \(worstCount) of \(count) modules with the largest expected error"
        return which + (report.source.map { ", over \($0)" } ?? "")
    }

    private static func table(_ modules: [MergeReport.Module], mean: Double, isGated: Bool) -> [String] {
        var table = TextTable([.left, .right, .right, .right, .right])
        table.add(["module", "factor", "error %", "changed %", "largest change"])
        table.addRule()
        for module in modules {
            table.add([
                module.plan.module, fixed(Double(module.plan.factor), 4), percent(module.plan.expectedError, 3),
                percent(Double(module.changedCount) / Double(max(1, module.weightCount))),
                scientific(Double(module.largestChange)),
            ])
        }
        if isGated {
            table.addRule()
            table.add(["mean of all", "", percent(mean, 3)])
        }
        return table.lines
    }

    private static func worst(of modules: [MergeReport.Module]) -> [MergeReport.Module] {
        let order = modules.indices.sorted {
            (-modules[$0].plan.expectedError, $0) < (-modules[$1].plan.expectedError, $1)
        }
        return order.prefix(worstCount).map { modules[$0] }
    }

    private static func mean(_ modules: [MergeReport.Module]) -> Double {
        modules.reduce(0) { $0 + $1.plan.expectedError } / Double(max(1, modules.count))
    }

    /// The words one after another, but not a hundred of them.
    private static func list(_ words: [String]) -> String {
        let shown = words.prefix(shortListLimit).joined(separator: ", ")
        return words.count > shortListLimit ? shown + " and \(words.count - shortListLimit) more" : shown
    }
}
