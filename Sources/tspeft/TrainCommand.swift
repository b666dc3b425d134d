import ArgumentParser
import TSPEFT

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train an adapter and its thresholds.",
        discussion: """
            Records are a JSON array or JSON lines, also as .zst or .gz: {"text"}, {"prompt", "completion"}, alpaca \
            {"instruction", "input", "output"}, {"messages"} or {"conversations"}. Only what the model is to say is \
            scored, unless --train-on-prompt is given. A model with a head for sequences (inject --task) takes \
            labelled records: a table (.tsv, .csv, GLUE's files), or JSON with "text" or two texts, and "label".

            Without --adapter a new adapter is made first, of the options that inject has; the result is, bit for bit, \
            that of inject and train with the same --seed. OUTPUT holds log.jsonl, checkpoints, and at the end the \
            adapter. After an interruption (Ctrl-C saves a checkpoint) the same command with --resume goes on, and \
            ends bit for bit where an uninterrupted run would have. --continue starts a new run from another's state, \
            also one that PyTorch saved, whatever its settings and data were, and says what differs.

            tau moves by about s a step: over few steps the paper's s = 4e-5 hardly closes a gate.

            tspeft train BASE --method ts-lora --rank 8 --data chat.jsonl -o run
            tspeft train BASE --preset nlu-cola --task classify --data train.tsv --eval-data dev.tsv -o run
            tspeft train BASE --adapter adapter --data train.json --eval-data dev.json --steps 500 --s 1e-3 -o run
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @OptionGroup
    var inputs: TrainInputArguments

    @OptionGroup
    var newAdapter: NewAdapterArguments

    @OptionGroup(title: "Adapter, further")
    var head: TaskArguments

    @OptionGroup(title: "Training")
    var course: CourseArguments

    @OptionGroup(title: "Validation")
    var validation: ValidationArguments

    @OptionGroup(title: "Run")
    var place: RunArguments

    @OptionGroup(title: "Records")
    var loading: LoadingArguments

    @OptionGroup(title: "Thresholds")
    var thresholds: ThresholdArguments

    @OptionGroup(title: "Computation")
    var compute: ComputeArguments

    func validate() throws {
        let source = inputs.adapter == nil ? inputs.continued.map { _ in "--continue" } : "--adapter"
        if let source, let given = (newAdapter.given + head.given).first {
            throw ValidationError(
                "\(source) takes the adapter as it is, so \(given) cannot be given with it; leave "
                    + "\(source) out to make a new one")
        }
        if inputs.continued != nil, inputs.adapter != nil {
            throw ValidationError("give --adapter or --continue, not both")
        }
    }

    func run() throws {
        if place.rehearsal.dryRun { return try place.rehearsal.show(dryRun(of: try request())) }
        Signals.stopInOrder()
        let view = TrainView(logInterval: place.logEvery, showsLearningRate: thresholds.only != .tau)
        let report = try train(
            try request(), progress: { view.show($0) }, shouldStop: { Signals.stopRequested })
        view.finish()
        printResult(report)
    }

    private func request() throws -> TrainRequest {
        var request = TrainRequest(
            basePath: base, newAdapter: InjectRequest(basePath: base, outputPath: inputs.output), dataPath: "",
            outputPath: inputs.output)
        request.adapterPath = inputs.adapter
        request.continuedPath = inputs.continued
        request.newAdapter = inputs.adapter == nil && inputs.continued == nil ? try newRequest() : nil
        request.dataPaths = inputs.data
        request.findsClasses = head.findsClasses
        if let settings = try newAdapter.adapter.preset.settings { try request.apply(settings) }
        course.apply(to: &request.training)
        thresholds.apply(to: &request)
        validation.apply(to: &request)
        request.eventFolder = place.tensorboard
        request.tablePath = place.csv
        request.training.checkpointInterval = place.saveEvery
        request.training.logInterval = place.logEvery
        request.loading = loading.options
        request.compute = compute.options
        request.resumes = place.resume
        request.replaces = place.force
        request.keptCheckpoints = place.keepCheckpoints
        request.settingsText = request.settings(preset: newAdapter.adapter.preset.preset)
        return request
    }

    /// The adapter that is made. One of peft's has its numbers already: seed and preset are the training's alone.
    private func newRequest() throws -> InjectRequest {
        var request = InjectRequest(basePath: base, outputPath: inputs.output)
        try newAdapter.apply(to: &request)
        if !head.findsClasses { request.task = try head.task() }
        if request.adapterPath == nil { request.seed = course.seed } else { request.preset = nil }
        return request
    }

    private func printResult(_ report: TrainReport) {
        Terminal.result("steps              \(report.steps)")
        Terminal.result("final loss         \(fixed(report.finalLoss, 4))  (mean of the last steps)")
        if let best = report.best {
            let isLast = best.step == report.steps ? "  (the last step's)" : ""
            Terminal.result("best evaluation    \(fixed(best.loss, 4))  after step \(best.step)\(isLast)")
        }
        Terminal.result("measured loss      \(fixed(report.measured.meanLoss, 4))  over \(report.statistics.source)")
        for measure in report.measures {
            let space = String(repeating: " ", count: max(1, 19 - measure.title.count))
            Terminal.result(measure.title + space + (measure.value.map { fixed($0, 4) } ?? Measure.undefinedReason))
        }
        if let gates = report.gates {
            Terminal.result("mean sparsity      \(percent(gates.meanSparsity)) %  over the same")
            Terminal.result(
                "tau                \(scientific(Double(gates.tauRange.lowerBound))) to "
                    + "\(scientific(Double(gates.tauRange.upperBound)))")
        }
        Terminal.result(
            "time               \(durationText(report.trainingSeconds)), \(fixed(report.tokensPerSecond, 0)) tokens/s"
                + (report.productShare > 0 ? ", \(percent(report.productShare, 0)) % of it in matrix products" : ""))
        Terminal.result("memory of tensors  \(byteText(report.peakTensorBytes))")
        Terminal.result("written to         \(inputs.output)")
        if let best = report.best, best.step != report.steps {
            Terminal.result("best adapter       \(best.path); use it with --adapter \(CommandText.quoted(best.path))")
        }
    }
}
