import ArgumentParser
import Transforms
import Workflows

struct MergeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge",
        abstract: "Put an adapter into the base's weights.",
        discussion: """
            Writes a checkpoint that needs no adapter: the base's shards, types and other files with W0 + scaling c B A in \
            place of W0; from a GGUF file a Hugging Face directory in BF16. A gate depends on the token and a weight \
            cannot, so c is the factor nearest to the gate over the tokens that 'train' measured (--gates scale), or \
            1 (--gates drop, which merges the update as if the gate were always open). What that costs is printed per \
            module: the error of the projection's output, in percent of it. Modules whose gates never open keep the \
            base's weights.
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @Option(help: "The trained adapter.")
    var adapter: String

    @Option(name: .shortAndLong, help: "Where the merged checkpoint goes, a directory.")
    var output: String

    @Option(help: "What becomes of the gates: scale or drop.")
    var gates = MergeGates.scale

    @Flag(help: "Print every module, not just the five with the largest error.")
    var modules = false

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Replace an existing output.")
    var force = false

    @Option(help: "Threads; one a processor unless given.")
    var threads: Int?

    func run() throws {
        var request = MergeRequest(basePath: base, adapterPath: adapter, outputPath: output)
        request.gates = gates
        request.replaces = force
        request.compute.threadCount = threads
        let start = ContinuousClock.now
        let report = try mergeAdapter(request) { done, total in
            Terminal.progress("merging: \(percent(Double(done) / Double(max(1, total)), 0)) %")
        }
        Terminal.endProgress()
        if json {
            Terminal.result(MergeText.json(report).text(indent: 2))
        } else {
            for line in MergeText.summary(report) { Terminal.result(line) }
            if report.gates != nil || modules {
                Terminal.result()
                for line in MergeText.table(report, listsAll: modules) { Terminal.result(line) }
            }
        }
        let elapsed = (ContinuousClock.now - start) / .seconds(1)
        Terminal.note("written to \(output) in \(durationText(elapsed))")
    }
}

extension MergeGates: ExpressibleByArgument {}
