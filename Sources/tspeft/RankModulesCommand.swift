import ArgumentParser
import Transforms
import TSPEFT

struct RankModulesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rank-modules",
        abstract: "Rank modules by how many tokens skip them, or by how large their updates are.",
        discussion: """
            tspeft rank-modules tuned
            tspeft rank-modules tuned --by relative-norm --json
            tspeft rank-modules tuned --keep 50% -o kept.json

            The modules in the order of a rule, over the tokens that 'train' measured last: by sparsity, the share of \
            tokens that their gates skip, the least first; by relative-norm, the size of their updates beside the \
            projections' own outputs, the largest first. Then sparsity by layer and projection, with averages and the \
            population standard deviation. The first modules matter most: --keep chooses them, -o writes the choice for \
            'inject --select' (to train them afresh) and 'prune --select'.
            """)

    @Argument(help: "The trained adapter, one with gates.")
    var adapter: String

    @Option(
        help: ArgumentHelp(
            "What to rank by: \(RankingRules.all.map(\.name).joined(separator: ", ")). (default: sparsity)",
            valueName: "rule"))
    var by: String?

    @Option(
        help: "How many of the first modules to choose, none unless given: a share such as 50%, or a number such as 40."
    )
    var keep: String?

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("Write the choice to this file, JSON; it is only shown without.", valueName: "file"))
    var output: String?

    @Flag(help: "Replace an existing output.")
    var force = false

    @OptionGroup
    var rehearsal: DryRunArguments

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup
    var config: ConfigArguments

    func validate() throws {
        if output != nil, keep == nil { throw ValidationError("-o writes a choice of modules: give --keep too") }
        if rehearsal.dryRun, output == nil {
            throw ValidationError("--dry-run is for writing a choice of modules: give -o too")
        }
    }

    func run() throws {
        var request = RankRequest(adapterPath: adapter)
        request.rule = by
        request.keep = keep
        request.selectionPath = output
        request.replaces = force
        if rehearsal.dryRun, let run = try dryRun(of: request) {
            return try rehearsal.show(run, json: json)
        }
        let report = try rank(request)
        if json {
            Terminal.result(report.json.text(indent: 2))
        } else {
            print(report)
        }
        if let output { Terminal.note("selection written to \(output)") }
    }

    private func print(_ report: RankReport) {
        Terminal.result("\(report.adapter): \(report.ranking.entries.count) modules, over \(report.ranking.source)")
        Terminal.result()
        for line in SparsityReport.ranking(report.ranking) { Terminal.result(line) }
        Terminal.result()
        Terminal.result("sparsity in percent by layer and projection")
        Terminal.result()
        for line in SparsityReport.layers(report.ranking.table) { Terminal.result(line) }
        guard let selection = report.selection else { return }
        Terminal.result()
        for line in SparsityReport.selection(selection) { Terminal.result(line) }
    }
}
