import Adapters
import CheckpointIO
import Compute
import Data
import Models
import TensorCore
import Tokenization
import Training
import Transforms

/// How many numbers an adapter's tensor file holds, by its header.
struct AdapterNumbers {
    let count: Int

    init(of path: String) throws {
        count = try AdapterFiles(path).tensors(PEFTNames.tensorFile).tensors.reduce(0) { $0 + $1.elementCount }
    }
}

/// Notes what packing or unpacking an adapter would write: its files exactly, a pack at the size of what it holds, as
/// how well numbers pack shows when they are packed. Returns how many numbers the adapter has, which are read to check
/// it.
func rehearsePacking(
    _ request: ConvertRequest, to output: OutputTarget, _ rehearsal: OutputRehearsal, threadCount: Int
) throws -> Int {
    let adapter = try AdapterDirectory.read(request.inputPath)
    let files = try AdapterFiles(request.inputPath)
    try checkOutput(output.path, keeps: [request.inputPath])
    if let pack = files.pack {
        let directory = try AtomicDirectory(output)
        for entry in pack.entries {
            rehearsal.add(joinedPath(directory.path, entry.name), byteCount: entry.byteCount)
        }
        rehearsal.addMemory("buffers that are unpacked", byteCount: pack.unpackingByteCount(threadCount: threadCount))
        directory.abandon()
        return adapter.parameterCount
    }
    let names = AdapterFiles.names.filter {
        files.has($0) && ($0 != PEFTNames.statisticsFile || adapter.statistics != nil)
    }
    let writer = try AtomicFileWriter(output)
    writer.abandon()
    rehearsal.add(
        writer.path, byteCount: names.reduce(0) { $0 + (fileSize(joinedPath(request.inputPath, $1)) ?? 0) })
    rehearsal.estimates(writer.path)
    rehearsal.addMemory(
        "buffers that are packed", byteCount: SeekableZstdWriter.bufferByteCount(threadCount: threadCount))
    return adapter.parameterCount
}

/// What `train` would do, its log left out. Throws what `trainAdapter` throws before it loads the weights; the records
/// are read and checked.
///
/// A checkpoint's numbers take exactly the bytes told; what is written about them as text depends on the run. The disk
/// must hold the checkpoints that are kept and the one that is being saved.
package func dryRun(of request: TrainRequest) throws -> DryRun {
    _ = try TrainingOutput.plan(request)
    try request.check()
    let request = try request.namingClasses()
    let source = try request.adapter
    let inputs = request.dataPaths + request.evaluationPaths
    let records = RunRecordSet(request)
    try request.checkOutputs(records, source)
    let base = try AdapterSource.openBase(request.basePath, for: source)
    let configuration = try base.configuration
    let adapter = try source.directory(for: base, basePath: request.basePath)
    try request.check(method: adapter.configuration)
    let tokenizer = try Tokenizer.load(modelPath: request.basePath, chatTemplate: request.loading.chatTemplate)
    var loading = request.loading
    loading.limit = configuration.positionLimit
    loading.vocabularySize = configuration.vocabularySize
    let generation = try GenerationDefaults(beside: base.checkpoint)
    loading.endTokens = ModelSession.endTokens(configuration, generation, tokenizer)
    loading.images = base.textPart?.imageFacts.map {
        ImageOptions($0, modelPath: request.basePath, folder: loading.imageFolder)
    }
    let data = try RunData(request) { try loading.dataset($0, tokenizer, as: configuration.labelKind) }
    let steps = try request.training.stepCount(exampleCount: data.training.count)

    let rehearsal = OutputRehearsal()
    // A run's directory is looked at by its own rules, which were followed above.
    let place = joinedPath(parentDirectory(of: request.outputPath), ".tspeft-dry-run")
    let trained = request.training.trainsThresholdsOnly ? [] : adapter.tensors + adapter.savedModules
    let logPath = request.outputPath + "/" + TrainingOutput.logFile
    // About what an event takes, with what else a log has.
    rehearsal.add(logPath, byteCount: 1024 + 512 * steps)
    rehearsal.estimates(logPath)
    if let text = request.settingsText {
        rehearsal.add(request.outputPath + "/" + TrainingOutput.settingsFile, byteCount: text.utf8.count)
    }
    // About what a step takes in each.
    for path in records.paths {
        rehearsal.add(path, byteCount: 512 * steps)
        rehearsal.estimates(path)
    }
    let hasBest = data.validation != nil && request.training.evaluationInterval.map { $0 < steps } ?? false
    let saved = request.training.savedSteps(of: steps, last: request.keptCheckpoints.addingSaturated(1))
    let settings = adapter.configuration.settings
    // What moves ranks leaves sizes that nobody knows before.
    let finished = request.training.trainsThresholdsOnly ? nil : try settings.expected(adapter, after: steps)
    let checkpoints = saved.map { (name: "/" + TrainingOutput.checkpointName($0), step: Int?.some($0)) }
    let best = hasBest ? [(name: "/" + TrainingOutput.bestName, step: Int?.none)] : []
    for (name, step) in [(name: "", step: nil)] + best + checkpoints {
        let files = OutputRehearsal()
        let isResult = name.isEmpty
        var written = isResult ? finished ?? adapter : adapter
        written.statistics = isResult ? written.statisticsOfARun : nil
        try written.write(to: OutputTarget(place, rehearsal: files))
        for file in files.files {
            let path = request.outputPath + name + "/" + lastPathComponent(file.path)
            rehearsal.add(path, byteCount: file.byteCount)
            if !path.hasSuffix(".safetensors") || isResult && finished != nil { rehearsal.estimates(path) }
        }
        guard let step else { continue }
        var moments = trained.flatMap { tensor in
            TrainingState.momentNames(of: tensor.name).map {
                SafetensorsEntry(name: $0, dtype: .f32, shape: tensor.shape)
            }
        }
        if !request.training.trainsThresholdsOnly {
            moments += settings.scheduleTensors(of: adapter, afterStep: step, of: steps).map {
                SafetensorsEntry(name: $0.name, dtype: .f32, shape: $0.shape)
            }
        }
        let path = request.outputPath + name + "/" + TrainingState.tensorFile
        rehearsal.add(path, byteCount: try SafetensorsWriter.layout(moments, file: path).byteCount)
        let recordPath = request.outputPath + name + "/" + TrainingState.recordFile
        rehearsal.add(recordPath, byteCount: 4096 + 256 * adapter.thresholds.count)
        rehearsal.estimates(recordPath)
    }
    let context = try request.compute.makeContext()
    let weights = base.linearModules.reduce(0) { $0 + $1.outputSize * $1.inputSize }
    let head = configuration.tiedEmbeddings ? configuration.vocabularySize * configuration.hiddenSize : 0
    rehearsal.addMemory(
        "the base's weights in \(context.dtype.rawValue)", byteCount: (weights + head) * context.dtype.byteCount)
    let trainedCount = trained.reduce(0) { $0 + $1.values.count }
    rehearsal.addMemory(
        "gradients and AdamW's two moments", byteCount: 3 * trainedCount * MemoryLayout<Float>.stride)
    var run = DryRun(
        rehearsal, outputPath: request.outputPath, whole: inputs + source.paths + base.checkpoint.files,
        numbers: adapter.parameterCount,
        memoryOmission: "activations, which depend on the longest batch, come on top")
    let vocabularyNote = ModelSession.vocabularyNote(tokenizer, rows: configuration.vocabularySize)
    run.warnings =
        [vocabularyNote.map { Wording("\(request.basePath): \($0)") }].compactMap { $0 } + data.whole.endWarnings
    return run
}

extension AdapterDirectory {
    /// Statistics of the size that a run's have; nil for a dense adapter, whose gates nothing is told of.
    fileprivate var statisticsOfARun: AdapterStatistics? {
        guard configuration.isGated else { return nil }
        return AdapterStatistics(
            source: "records",
            modules: modules.map { ModuleStatistics(module: $0, rank: configuration.rank(for: $0)) })
    }
}

extension Int {
    fileprivate func addingSaturated(_ other: Int) -> Int {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
