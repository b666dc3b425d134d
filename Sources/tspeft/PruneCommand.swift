import ArgumentParser
import TSPEFT
import Transforms

struct PruneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Keep only some modules of an adapter.",
        discussion: """
            tspeft prune tuned --keep 50% -o pruned
            tspeft prune tuned --keep 40 --by relative-norm -o pruned
            tspeft prune tuned --select kept.json -o pruned

            Writes an adapter with the first modules of the ranking (--keep): those that fewest tokens skip, or as --by \
            ranks them; or with those of a selection (--select). What is kept stays as it was trained; to train the kept \
            modules afresh, give the selection of 'rank-modules' to 'inject --select'.
            """)

    @Argument(help: "The adapter; --keep needs a trained one with gates.")
    var adapter: String

    @Option(
        help: "How many of the first modules to keep, a share such as 50% or a number such as 40; in place of --select."
    )
    var keep: String?

    @Option(
        help: ArgumentHelp(
            "What to rank by, with --keep: \(RankingRules.all.map(\.name).joined(separator: ", ")). (default: sparsity)",
            valueName: "rule"))
    var by: String?

    @Option(
        help: ArgumentHelp(
            "Keep the modules of this selection of rank-modules (JSON with a list 'modules'), in place of --keep.",
            valueName: "file"))
    var select: String?

    @Option(name: .shortAndLong, help: "Where the pruned adapter goes, a directory.")
    var output: String

    @Flag(help: "Replace an existing output.")
    var force = false

    @OptionGroup
    var rehearsal: DryRunArguments

    @OptionGroup
    var config: ConfigArguments

    func validate() throws {
        if (keep == nil) == (select == nil) { throw ValidationError("give either --keep or --select") }
        if by != nil, keep == nil { throw ValidationError("--by is for --keep; a selection has its modules already") }
    }

    func run() throws {
        let choice = keep.map { PruneRequest.Choice.keep($0) } ?? .selection(path: select ?? "")
        var request = PruneRequest(adapterPath: adapter, choice: choice, outputPath: output)
        request.rule = by
        request.replaces = force
        if rehearsal.dryRun { return try rehearsal.show(dryRun(of: request)) }
        let report = try prune(request)
        Terminal.result("kept           \(report.selection.modules.count) of \(report.moduleCount) modules")
        Terminal.result(
            "numbers        \(grouped(report.keptParameterCount)) of \(grouped(report.parameterCount)), "
                + "\(percent(Double(report.keptParameterCount) / Double(max(1, report.parameterCount)))) %")
        if let sparsity = report.sparsity {
            Terminal.result(
                "mean sparsity  \(percent(sparsity.kept)) % of the kept modules, \(percent(sparsity.before)) % of all")
        }
        Terminal.result("written to     \(output)")
    }
}
