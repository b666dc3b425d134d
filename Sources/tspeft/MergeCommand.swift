import ArgumentParser
import CheckpointIO
import Transforms
import TSPEFT

struct MergeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge",
        abstract: "Put adapters into the base's weights.",
        discussion: """
            Writes a checkpoint that needs no adapter: the base's shards, types and other files with W0 + scaling c B A in \
            place of W0. A GGUF base becomes a Hugging Face directory in BF16, or, where the output's name ends in .gguf, a \
            GGUF file with the base's types and metadata: weights are decoded, added to and encoded again, and a block \
            that no update touches keeps its bytes, as all other tensors do. Coarse types may round an update away; the \
            report says of which tensors, and which --dtype would keep it. A gate depends on the token and a weight \
            cannot, so c is the factor nearest to the gate over the tokens that 'train' measured (--gates scale), or \
            1 (--gates drop, which merges the update as if the gate were always open). What that costs is printed per \
            module: the error of the projection's output, in percent of it. Modules whose gates never open, or whose rank \
            is 0, keep the base's weights.

            Several adapters are added up, each with its weight: merge BASE --adapter a --adapter b:0.5. DoRA, which \
            rescales the rows of the weight (W0 + c ((m / n) (W0 + scaling B A) - W0), n the norms of the sum's rows), is \
            merged alone, and so is IA3, which scales its rows or columns; a parallel adapter, which no weight can hold, is \
            refused.
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @Option(
        help: ArgumentHelp(
            "A trained adapter, and with :WEIGHT the factor on its updates; one option for each adapter.",
            valueName: "adapter[:weight]"))
    var adapter: [String]

    @Option(
        name: .shortAndLong, help: "Where the merged checkpoint goes: a directory, or a .gguf file for a GGUF base.")
    var output: String

    @Option(
        help: ArgumentHelp(
            "What changed weights are stored as, such as q8_0, f16 or f32; the base's types unless given. Where a GGUF "
                + "base becomes a directory, all its tensors, bf16 unless given. Directories take f32, f16 and bf16.",
            valueName: "type"))
    var dtype: String?

    @Option(help: "What becomes of the gates: scale or drop.")
    var gates = Gates.scale

    @Flag(help: "Print every module and tensor, not just the five with the largest error.")
    var modules = false

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Replace an existing output.")
    var force = false

    @OptionGroup
    var rehearsal: DryRunArguments

    @Option(help: "Threads; one a processor unless given.")
    var threads: Int?

    func run() throws {
        var request = MergeRequest(
            basePath: base, adapters: try adapter.map { try MergeRequest.Adapter(argument: $0) }, outputPath: output)
        request.gates = gates
        request.dtype = dtype
        request.replaces = force
        request.compute.threadCount = threads
        if rehearsal.dryRun { return try rehearsal.show(dryRun(of: request), json: json) }
        let start = ContinuousClock.now
        let summary = try merge(request) { done, total in
            Terminal.progress("merging: \(percent(Double(done) / Double(max(1, total)), 0)) %")
        }
        Terminal.endProgress()
        let report = summary.report
        if json {
            Terminal.result(MergeText.json(report).text(indent: 2))
        } else {
            for line in MergeText.summary(report) { Terminal.result(line) }
            for part in report.parts where part.plan.gates != nil || modules {
                Terminal.result()
                if report.parts.count > 1 { Terminal.result(part.plan.name) }
                for line in MergeText.table(part, listsAll: modules) { Terminal.result(line) }
            }
            for line in MergeText.roundings(report, listsAll: modules) { Terminal.result(line) }
        }
        let elapsed = (ContinuousClock.now - start) / .seconds(1)
        Terminal.note("written to \(output) in \(durationText(elapsed))")
    }
}

extension Gates: ExpressibleByArgument {}

extension MergeRequest.Adapter {
    /// Reads `PATH` or `PATH:WEIGHT`: what follows the last colon is a weight where it is a number, unless there is
    /// something of the whole name.
    ///
    /// Throws `WorkflowError.conflict` for a weight of 0, infinity or NaN.
    init(argument: String) throws(WorkflowError) {
        self.init(argument)
        guard pathKind(argument) == .nothing, let colon = argument.lastIndex(of: ":"), colon > argument.startIndex,
            let weight = Double(argument[argument.index(after: colon)...])
        else { return }
        guard weight.isFinite, weight != 0 else {
            throw .conflict(
                "the weight in \(.adapter, argument) must be a finite number other than 0, not \(weight)")
        }
        self.init(String(argument[..<colon]), weight: weight)
    }

    /// As `init(argument:)` reads it.
    var argument: String { self == (try? Self(argument: path)) ? path : "\(path):\(weight)" }
}
