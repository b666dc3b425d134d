import ArgumentParser
import TSPEFT

struct EvalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval",
        abstract: "Measure loss, accuracy and sparsity.",
        discussion: """
            tspeft eval BASE --adapter tuned --data test.json
            tspeft eval BASE --data test.json --mode generate --beams 4 --json

            Mean loss and perplexity over the scored tokens; where records have an 'answer', accuracy: by the \
            likelihood of the possible answers (--mode choice), or by the answer found in generated text (--mode \
            generate), which is greedy unless --beams is given. LLM-Adapters' scripts, which made the paper's tables \
            of commonsense reasoning, decode with 4 beams.

            A model with a head for sequences (inject --task) is measured on labelled records, which may be a table: \
            accuracy, F1 and Matthews' correlation of classes, Pearson's and Spearman's of numbers.

            tspeft eval BASE --adapter tuned --data dev.tsv --predictions said.jsonl
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @OptionGroup(title: "What to measure")
    var measured: MeasuredArguments

    @OptionGroup(title: "Generated answers")
    var answers: GeneratedAnswerArguments

    @OptionGroup(title: "Output")
    var output: EvaluationOutputArguments

    @OptionGroup(title: "Records")
    var loading: LoadingArguments

    @OptionGroup(title: "Computation")
    var compute: ComputeArguments

    @OptionGroup
    var config: ConfigArguments

    func run() throws {
        var request = EvaluateRequest(basePath: base, adapterPath: measured.adapter, dataPath: "")
        request.dataPaths = measured.data
        request.mode = measured.mode
        request.limit = measured.limit
        request.predictionsPath = output.predictions
        request.replaces = output.force
        request.newTokenLimit = answers.maxNewTokens
        request.beams = answers.beams
        request.loading = loading.options
        request.compute = compute.options
        let report = try evaluate(request) { phase, done, total in
            Terminal.progress("\(phase.rawValue): \(done) of \(total) records")
        }
        Terminal.endProgress()
        if output.json {
            Terminal.result(report.json.text(indent: 2))
            return
        }
        Terminal.result(report.lines(mode: modeText, listsModules: output.modules))
    }

    private var modeText: String {
        let beams = answers.beams ?? 1
        return measured.mode.rawValue + (beams > 1 ? " with \(beams) beams" : "")
    }
}

/// What is measured on what.
struct MeasuredArguments: ParsableArguments {
    @Option(
        parsing: .singleValue,
        help: ArgumentHelp("Records to evaluate on; may be repeated, - for standard input.", valueName: "file"))
    var data: [String]

    @Option(help: "The adapter. (default: the bare base)")
    var adapter: String?

    @Option(help: "How accuracy is measured: choice or generate.")
    var mode = EvaluationMode.choice

    @Option(help: ArgumentHelp("Use only the first records. (default: all)", valueName: "count"))
    var limit: Int?

    func validate() throws {
        try checkCounts([("--limit", limit)])
    }
}

/// How answers are generated.
struct GeneratedAnswerArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Most tokens generated for a record, with --mode generate. (default: 32)", valueName: "tokens"))
    var maxNewTokens: Int?

    @Option(
        help: ArgumentHelp(
            "With --mode generate, search for the likeliest text with so many beams, as transformers' num_beams. "
                + "(default: 1, greedy)",
            valueName: "count"))
    var beams: Int?

    func validate() throws {
        try checkCounts([("--max-new-tokens", maxNewTokens), ("--beams", beams)])
    }
}

/// What is printed of an evaluation.
struct EvaluationOutputArguments: ParsableArguments {
    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Print each module's sparsity.")
    var modules = false

    @Option(
        help: ArgumentHelp(
            "Of a model with a head for sequences, write what it says of each record: the class and the probability of "
                + "each, or the number. Records need no labels then. (default: measures alone)", valueName: "file"))
    var predictions: String?

    @Flag(help: "Replace an existing file of predictions.")
    var force = false
}

extension EvaluationMode: ExpressibleByArgument {}
