import ArgumentParser
import TSPEFT

struct InjectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inject",
        abstract: "Make a new adapter for a base checkpoint.",
        discussion: """
            The new adapter leaves the model's output as it was; train it with 'tspeft train', which also makes one \
            itself where it is given none. Targets match as in peft: a name matches whole paths and their ends, \
            anything that is not a comma list of names is a regular expression over the whole path, all-linear means \
            every linear layer but the output head.

            tspeft inject BASE -o adapter
            tspeft inject BASE --method lora --rank 16 --alpha 32 --targets q_proj,v_proj -o adapter
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @OptionGroup
    var place: OutputArguments

    @OptionGroup
    var adapter: NewAdapterArguments

    @OptionGroup(title: "Adapter, further")
    var head: TaskArguments

    @OptionGroup(title: "Run")
    var course: InjectRunArguments

    func run() throws {
        var request = InjectRequest(basePath: base, outputPath: place.output)
        try adapter.apply(to: &request)
        request.task = try head.task()
        request.seed = course.seed
        request.replaces = course.force
        if course.rehearsal.dryRun { return try course.rehearsal.show(dryRun(of: request)) }
        let report = try TSPEFT.inject(request)
        for note in report.notes { Terminal.note(OptionWords.text(note)) }
        for line in SparsityReport.targets(report.match) { Terminal.result(line) }
        Terminal.result(
            "\(report.method) on \(report.match.modules.count) modules: \(grouped(report.parameterCount)) trainable "
                + "numbers, \(percent(Double(report.parameterCount) / Double(report.baseParameterCount), 2)) % of the "
                + "base's \(grouped(report.baseParameterCount)); written to \(place.output)")
        if let problem = report.graphProblem {
            Terminal.result("other programs can train it; tspeft has no graph of this base: \(problem)")
        }
    }
}

/// Where a new adapter goes.
struct OutputArguments: ParsableArguments {
    @Option(name: .shortAndLong, help: "Where the adapter goes, a directory.", completion: .directory)
    var output: String
}

/// How `inject` goes about it.
struct InjectRunArguments: ParsableArguments {
    @Option(help: "Seed of the initial values.")
    var seed: UInt64 = 0

    @Flag(help: "Replace an existing output.")
    var force = false

    @OptionGroup
    var rehearsal: DryRunArguments

    @OptionGroup
    var config: ConfigArguments
}
