import ArgumentParser
import TSPEFT

struct EvalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval",
        abstract: "Measure loss, accuracy and sparsity.",
        discussion: """
            Mean loss and perplexity over the scored tokens; where records have an 'answer', accuracy: by the \
            likelihood of the possible answers (--mode choice), or by the answer found in greedily generated text \
            (--mode generate; the scripts behind the paper's tables do that with 4 beams).
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @Option(help: "The adapter; the bare base without.")
    var adapter: String?

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp("Records to evaluate on; may be repeated, - for standard input.", valueName: "file"))
    var data: [String]

    @Option(help: "How accuracy is measured: choice or generate.")
    var mode = EvaluationMode.choice

    @Option(help: ArgumentHelp("Use only the first records.", valueName: "count"))
    var limit: Int?

    @Option(
        help: ArgumentHelp(
            "Most tokens generated for a record, with --mode generate. (default: 32)", valueName: "tokens"))
    var maxNewTokens: Int?

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Print each module's sparsity.")
    var modules = false

    @OptionGroup(title: "Records")
    var loading: LoadingArguments

    @OptionGroup(title: "Computation")
    var compute: ComputeArguments

    @OptionGroup
    var config: ConfigArguments

    func validate() throws {
        try checkCounts([("--limit", limit), ("--max-new-tokens", maxNewTokens)])
    }

    func run() throws {
        var request = EvaluateRequest(basePath: base, adapterPath: adapter, dataPath: "")
        request.dataPaths = data
        request.mode = mode
        request.limit = limit
        request.newTokenLimit = maxNewTokens
        request.loading = loading.options
        request.compute = compute.options
        let report = try evaluate(request) { phase, done, total in
            Terminal.progress("\(phase.rawValue): \(done) of \(total) records")
        }
        Terminal.endProgress()
        if json {
            Terminal.result(report.json.text(indent: 2))
            return
        }
        let cut = report.truncated > 0 ? ", \(grouped(report.truncated)) truncated" : ""
        Terminal.result(
            "records        \(grouped(report.records)) (\(grouped(report.loss.tokens)) tokens, "
                + "\(grouped(report.loss.scoredTokens)) scored\(cut))")
        Terminal.result("loss           \(fixed(report.loss.meanLoss, 4))")
        Terminal.result("perplexity     \(fixed(report.loss.perplexity, 4))")
        if let accuracy = report.accuracy {
            Terminal.result(
                "accuracy       \(percent(accuracy, 2)) % (\(report.correct) of \(report.answered), \(mode.rawValue))")
        }
        if let sparsity = report.meanSparsity {
            Terminal.result(
                "mean sparsity  \(percent(sparsity)) % over \(report.sparsities.count { $0 != nil }) modules")
        }
        Terminal.result("time           \(durationText(report.seconds)), \(report.dtype.rawValue)")
        if modules, report.meanSparsity != nil {
            var table = TextTable([.left, .right, .right])
            table.add(["module", "sparsity", "tokens"])
            table.addRule()
            for (module, sparsity) in zip(report.modules, report.sparsities) {
                table.add([module.module, sparsity.map { percent($0) + " %" } ?? "-", grouped(module.tokens)])
            }
            for line in table.lines { Terminal.result(line) }
        }
    }
}

extension EvaluationMode: ExpressibleByArgument {}
