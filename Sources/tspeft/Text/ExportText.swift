import CheckpointIO
import Transforms
import TSPEFT

/// What an export wrote and lost, in words and as a table.
enum ExportText {
    /// Modules that are named in a line at most; the JSON has them all.
    private static let nameLimit = 3

    /// The closing lines of an export.
    static func summary(_ report: ExportReport) -> [String] {
        var lines = [
            "\(report.writtenCount) of \(report.modules.count) modules of \(report.method) written for "
                + report.format.program
        ]
        for note in report.notes { lines.append(note) }
        var omitted: [(reason: String, modules: [String])] = []
        for module in report.modules {
            guard let reason = module.omission else { continue }
            if let place = omitted.firstIndex(where: { $0.reason == reason }) {
                omitted[place].modules.append(module.module)
            } else {
                omitted.append((reason, [module.module]))
            }
        }
        for (reason, modules) in omitted {
            let names = modules.prefix(nameLimit).joined(separator: ", ") + (modules.count > nameLimit ? ", ..." : "")
            lines.append("left out, because \(reason): \(modules.count) (\(names))")
        }
        if let gates = report.gates, let source = report.source {
            let errors = report.modules.compactMap { $0.replacement?.expectedError }
            let mean = errors.reduce(0, +) / Double(max(1, errors.count))
            lines.append(
                "lost with the gates (--gates \(gates.rawValue)): sparsity, and an expected error relative to |W0 x| over "
                    + "\(source) of \(percent(mean, 3)) % on average")
        }
        return lines
    }

    /// One line a module of a gated adapter: the sparsity that is lost, the factor on its update, the expected error.
    static func table(_ report: ExportReport) -> [String] {
        var table = TextTable([.left, .right, .right, .right])
        table.add(["module", "sparsity %", "factor", "error %"])
        table.addRule()
        for module in report.modules {
            guard let replacement = module.replacement else { continue }
            table.add([
                module.module, replacement.sparsity.map { percent($0) } ?? "-", fixed(replacement.factor, 4),
                percent(replacement.expectedError, 3),
            ])
        }
        return table.lines
    }

    /// The report as JSON, for other programs.
    static func json(_ report: ExportReport) -> JSONValue {
        .object([
            "format": .string(report.format.rawValue), "method": .string(report.method),
            "written": .integer(report.writtenCount), "total": .integer(report.modules.count),
            "gates": report.gates.map { .string($0.rawValue) } ?? .null,
            "statistics": report.source.map { .string($0) } ?? .null,
            "notes": .array(report.notes.map { .string($0) }),
            "modules": .array(
                report.modules.map { module in
                    .object([
                        "module": .string(module.module),
                        "omitted": module.omission.map { .string($0) } ?? .null,
                        "factor": module.replacement.map { .real($0.factor) } ?? .null,
                        "sparsity": module.replacement?.sparsity.map { .real($0) } ?? .null,
                        "expected_error": module.replacement.map { .real($0.expectedError) } ?? .null,
                    ])
                }),
        ])
    }
}
