import ArgumentParser
import CheckpointIO
import Transforms
import TSPEFT

struct MergeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge",
        abstract: "Put adapters into the base's weights.",
        discussion: """
            tspeft merge BASE --adapter tuned -o merged
            tspeft merge BASE --adapter tuned -o model.gguf --type q4_k_m
            tspeft merge base.gguf --adapter tuned -o merged.gguf
            tspeft merge BASE --adapter a --adapter b:0.5 -o merged --dry-run

            Writes a checkpoint that needs no adapter: W0 + scaling c B A in place of W0. A directory has the base's \
            shards, types and other files. An output whose name ends in .gguf is a GGUF file: of a Hugging Face base what \
            'convert' would make of the merged directory, tokenizer and chat template included; of a GGUF base its own \
            types and metadata, where weights are decoded, added to and encoded again, and a block that no update touches \
            keeps its bytes. A GGUF base and another name give a Hugging Face directory in BF16.

            --type writes all of it in that type, to the byte as 'convert' would after the merge, in one pass and without \
            a copy on the disk. --changed-type is for the weights that change alone, before. Coarse types may round an \
            update away; the report says of which tensors of a GGUF base, and which --changed-type would keep it.

            A gate depends on the token and a weight cannot, so c is the factor nearest to the gate over the tokens that \
            'train' measured (--gates scale), or 1 (--gates drop, which merges the update as if the gate were always \
            open). What that costs is printed per module: the error of the projection's output, in percent of it. \
            Modules whose gates never open, or whose rank is 0, keep the base's weights.

            Several adapters are added up, each with its weight. DoRA, which rescales the rows of the weight (W0 + c ((m / \
            n) (W0 + scaling B A) - W0), n the norms of the sum's rows), is merged alone, and so is IA3, which scales its \
            rows or columns; a parallel adapter, which no weight can hold, is refused.
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @Option(
        help: ArgumentHelp(
            "A trained adapter, and with :WEIGHT the factor on its updates (1 without); one option for each adapter.",
            valueName: "adapter[:weight]"))
    var adapter: [String]

    @Option(
        name: .shortAndLong,
        help: "Where the merged checkpoint goes: a GGUF file if it ends in .gguf, else a directory.")
    var output: String

    @Option(
        help: ArgumentHelp(
            "The type of the whole output, such as q4_k_m or bf16, as 'convert' has it; types stay unless given. "
                + "Directories take f32, f16 and bf16.",
            valueName: "type"))
    var type: String?

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

    @OptionGroup(title: "Rarely needed")
    var rare: RareArguments

    struct RareArguments: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "What changed weights are stored as before --type, such as q8_0, f16 or f32; the base's types unless "
                    + "given. Of a mix such as q4_k_m it is what most matrices have.",
                valueName: "type"))
        var changedType: String?

        /// The older name.
        @Option(help: .hidden)
        var dtype: String?

        @Option(help: "Threads; one a processor unless given.")
        var threads: Int?

        func validate() throws {
            if changedType != nil, dtype != nil {
                throw ValidationError("--dtype is another name of --changed-type; give one of them")
            }
        }
    }

    @OptionGroup
    var config: ConfigArguments

    func run() throws {
        var request = MergeRequest(
            basePath: base, adapters: try adapter.map { try MergeRequest.Adapter(argument: $0) }, outputPath: output)
        request.gates = gates
        request.type = type
        request.dtype = rare.changedType ?? rare.dtype
        request.replaces = force
        request.compute.threadCount = rare.threads
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
