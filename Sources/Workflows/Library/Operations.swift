import Training

// What the program's commands do, for other programs. Each function reads files, works on the calling thread and on
// threads of its own until it is done, and writes its output whole or not at all. None prints, ends the process, changes
// its environment or takes over signals. Progress is told on the calling thread.

/// Makes an adapter for a base: a new one, initialised as peft does it, so that the model's output is as it was, or one
/// from a directory that peft wrote. Equal requests give equal bytes.
public func inject(_ request: InjectRequest) throws(TSPEFTError) -> InjectReport {
    try reporting { try injectAdapter(request) }
}

/// Trains an adapter and the thresholds of its gates (arXiv 2511.16147, equations 12 to 20): reads everything, runs the
/// steps, leaves checkpoints and a log in the run's directory along the way and the adapter with its statistics there at
/// the end. Equal requests give equal adapters, bit for bit, on one machine with one number of threads.
///
/// - Parameters:
///   - progress: is told what happens, on the calling thread; training waits for it.
///   - shouldStop: is asked after each step, and between parts of an evaluation. Where it says true, the run saves a
///     checkpoint and throws an error of the kind `interrupted`; the same request with `resumes` then ends where an
///     uninterrupted run would have.
public func train(
    _ request: TrainRequest, progress: @escaping (TrainProgress) -> Void = { _ in },
    shouldStop: @escaping () -> Bool = { false }
) throws(TSPEFTError) -> TrainReport {
    try reporting { try trainAdapter(request, progress: progress, shouldStop: shouldStop) }
}

/// Measures a model, with or without an adapter: mean loss and perplexity; accuracy where records have an answer; the
/// sparsity of each gate over the records' tokens (equation 21). Writes nothing.
///
/// - Parameters:
///   - progress: is told the part that is at work, records done and records in all.
///   - shouldStop: is asked as often; true ends the evaluation with an error of the kind `interrupted`.
public func evaluate(
    _ request: EvaluateRequest, progress: (EvaluatePhase, _ done: Int, _ total: Int) -> Void = { _, _, _ in },
    shouldStop: () -> Bool = { false }
) throws(TSPEFTError) -> EvaluateReport {
    try reporting {
        try evaluateModel(request) { phase, done, total in
            progress(phase, done, total)
            if shouldStop() { throw WorkflowError.interrupted("the evaluation was stopped") }
        }
    }
}

/// Continues the request's only prompt, each gate applied at every token. Writes nothing.
///
/// - Parameter receive: is handed each piece of text as soon as its characters are whole; returns false to stop, which
///   is no error. With beams the text comes when the search is done.
public func generate(
    _ request: GenerateRequest, receive: @escaping (String) -> Bool = { _ in true }
) throws(TSPEFTError) -> GenerateReport {
    try reporting { try generateText(request, receive: receive) }
}

/// Continues each of the request's prompts by itself, in order, as `generate` does; the model is opened once, and all
/// prompts are looked at before the first is continued.
///
/// - Parameter receive: is handed the number of a prompt, from 0, and a piece of its text; returns false to stop, after
///   which no further prompt is continued.
public func generateAll(
    _ request: GenerateRequest, receive: @escaping (_ number: Int, String) -> Bool = { _, _ in true }
) throws(TSPEFTError) -> [GenerateReport] {
    try reporting { try generateTexts(request, receive: receive) }
}

/// Ranks a trained adapter's gated modules by a rule over what its statistics hold, and writes the choice among them
/// where one is wanted.
public func rank(_ request: RankRequest) throws(TSPEFTError) -> RankReport {
    try reporting { try rankModules(request) }
}

/// Writes an adapter with only the chosen modules, as they were trained.
public func prune(_ request: PruneRequest) throws(TSPEFTError) -> PruneReport {
    try reporting { try pruneAdapter(request) }
}

/// Writes the base with the adapters in its weights: W0 + sum of weight * c * scaling * B A in F32 for low-rank methods,
/// where c stands for the gate (see `Gates`), stored as `MergeRequest.dtype` and `MergeRequest.type` say.
///
/// - Parameter progress: is told weights written so far, and of all.
public func merge(
    _ request: MergeRequest, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
) throws(TSPEFTError) -> MergeSummary {
    try reporting { MergeSummary(report: try mergeAdapter(request, progress: progress)) }
}

/// Writes an adapter for another program.
public func export(_ request: ExportRequest) throws(TSPEFTError) -> ExportSummary {
    try reporting { ExportSummary(report: try exportAdapter(request)) }
}

/// Writes a checkpoint in another format, type or set of files, or an adapter as one file and back.
///
/// - Parameter progress: is told bytes written so far, and of all.
public func convert(
    _ request: ConvertRequest, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
) throws(TSPEFTError) -> ConvertSummary {
    try reporting {
        ConvertSummary(report: try convertCheckpoint(request, progress: progress), outputPath: request.outputPath)
    }
}

/// Says what is at `path`: a checkpoint, an adapter or an unfinished training run. Reads headers, and of an adapter all
/// numbers, to count those that are none.
///
/// - Parameter tensors: a name, or a pattern that names match as a whole (`*` any characters, `?` one, `[...]` one of a
///   set), which restricts the tensors that are told; an error of the kind `badData` where it selects none.
public func inspect(_ path: String, tensors: String? = nil) throws(TSPEFTError) -> FileSummary {
    try reporting {
        // A run has no tensors to tell of, which is no error where none are asked for by name.
        if tensors == nil, case .run(let run) = try inspectFiles(path) { return FileSummary(.run(run)) }
        return FileSummary(try inspectFiles(path, TensorRequest(pattern: tensors ?? "*")))
    }
}
