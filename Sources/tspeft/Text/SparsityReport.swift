import Adapters
import CheckpointIO
import Transforms
import TSPEFT

/// The plain-text tables of `rank-modules` and of the target matching.
enum SparsityReport {
    /// The modules in the ranking's order, one line each under a heading: place, module, tau, sparsity in percent, tokens,
    /// and the rule's score where that is another number.
    static func ranking(_ ranking: ModuleRanking) -> [String] {
        let heading = ranking.rule.heading
        var table = TextTable([.right, .left, .right, .right, .right, .right] + (heading == nil ? [] : [.right]))
        table.add(["#", "module", "tau", "sparsity %", "active", "tokens"] + [heading].compactMap { $0 })
        table.addRule()
        for (place, entry) in ranking.entries.enumerated() {
            table.add(
                [
                    "\(place + 1)", entry.module, tau(entry.tau),
                    entry.rank == 0 ? "rank 0" : percent(entry.sparsity), "\(entry.active)", "\(entry.tokens)",
                ] + (heading == nil ? [] : [scientific(entry.score, 3)]))
        }
        return table.lines
    }

    /// A ranking and its table as JSON, for other programs.
    static func json(_ ranking: ModuleRanking) -> JSONObject {
        [
            "source": .string(ranking.source), "by": .string(ranking.rule.name),
            "modules": .array(
                ranking.entries.map { entry in
                    .object([
                        "module": .string(entry.module), "tau": .real(entry.tau), "sparsity": .real(entry.sparsity),
                        "active": .integer(entry.active), "tokens": .integer(entry.tokens),
                        "score": .real(entry.score), "rank": entry.rank.map { .integer($0) } ?? .null,
                    ])
                }), "table": json(ranking.table),
        ]
    }

    private static func json(_ table: SparsityTable) -> JSONValue {
        func numbers(_ values: [Double?]) -> JSONValue { .array(values.map(number)) }
        func number(_ value: Double?) -> JSONValue { value.map { .real($0) } ?? .null }
        let columns = table.projections.indices
        return .object([
            "layers": .array(table.layers.map { .string($0) }),
            "projections": .array(table.projections.map { .string($0) }),
            "sparsity": .array(table.cells.map(numbers)),
            "layer_averages": numbers(table.layers.indices.map { table.average(ofLayer: $0) }),
            "projection_averages": numbers(columns.map { table.average(ofProjection: $0) }),
            "projection_standard_deviations": numbers(columns.map { table.standardDeviation(ofProjection: $0) }),
            "average": number(table.average), "standard_deviation": number(table.standardDeviation),
        ])
    }

    /// The modules of a selection, one a line, under a line that says how they were chosen.
    static func selection(_ selection: ModuleSelection) -> [String] {
        let considered = selection.consideredCount.map { " of \($0)" } ?? ""
        let rule = selection.keep.map { " (--keep \($0))" } ?? ""
        return ["kept: \(selection.modules.count)\(considered) modules\(rule)"] + selection.modules.map { "  " + $0 }
    }

    /// Sparsity in percent by layer and projection, with averages, and the population standard deviation over all
    /// cells.
    static func layers(_ sparsity: SparsityTable) -> [String] {
        let columns = sparsity.projections.count
        var table = TextTable([.left] + Array(repeating: .right, count: columns + 1))
        table.add(["layer"] + sparsity.projections + ["avg"])
        table.addRule()
        for (row, layer) in sparsity.layers.enumerated() {
            table.add([layer] + sparsity.cells[row].map(cell) + [cell(sparsity.average(ofLayer: row))])
        }
        table.addRule()
        table.add(
            ["avg"] + (0..<columns).map { cell(sparsity.average(ofProjection: $0)) } + [cell(sparsity.average)])
        table.add(
            ["std"] + (0..<columns).map { cell(sparsity.standardDeviation(ofProjection: $0)) }
                + [cell(sparsity.standardDeviation)])
        return table.lines
    }

    /// What each target matched: modules and their weights' shapes.
    static func targets(_ match: TargetMatch) -> [String] {
        var table = TextTable([.left, .right, .left])
        table.add(["target", "modules", "weight shapes"])
        table.addRule()
        for row in match.rows {
            let shapes = row.shapes.map { "\($0.count) x [\($0.outputSize), \($0.inputSize)]" }
            table.add([row.target, "\(row.moduleCount)", shapes.joined(separator: ", ")])
        }
        table.addRule()
        table.add(["together", "\(match.modules.count)"])
        return table.lines
    }

    private static func cell(_ value: Double?) -> String { value.map { percent($0) } ?? "-" }

    /// Four or so significant digits, with an exponent where the number is small.
    private static func tau(_ value: Float) -> String {
        let value = Double(value)
        return abs(value) >= 0.01 || value == 0 ? fixed(value, 4) : scientific(value, 3)
    }
}

extension RankReport {
    /// The report as JSON.
    var json: JSONValue {
        var object: JSONObject = ["adapter": .string(adapter)]
        for (key, value) in SparsityReport.json(ranking).members { object[key] = value }
        if let selection { object["selection"] = selection.json }
        return .object(object)
    }
}
