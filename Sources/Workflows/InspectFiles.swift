import Adapters
import CheckpointIO
import Models
import TensorCore
import Tokenization
import Training
import Transforms

/// What a path turned out to be.
package enum Inspection: Sendable {
    /// A model's files, or other files of tensors.
    case checkpoint(CheckpointInspection)
    /// An adapter in one GGUF file, as llama.cpp reads them.
    case adapterFile(AdapterFileInspection)
    /// An adapter, finished or of a training run's checkpoint.
    case adapter(AdapterInspection)
    /// A training run that has no finished adapter.
    case run(RunInspection)
}

/// Files of tensors, whatever they mean.
package struct CheckpointFiles: Sendable {
    /// The files and their tensors.
    package let checkpoint: Checkpoint
    /// The bytes of each file.
    package let sizes: [Int]
    /// What each file's header says of its form; nil for a form that has none to tell of.
    package let headers: [TensorFileHeader?]
    /// What the files say of themselves: GGUF's metadata, or safetensors' `__metadata__`.
    package let metadata: [MetadataEntry]
}

/// What can be told of a checkpoint.
package struct CheckpointInspection: Sendable {
    /// Its files.
    package let files: CheckpointFiles
    /// The model in them, known or generic; nil with a reason in `modelProblem`.
    package let model: ModelCheckpoint?
    /// Why the model cannot compute; nil too for a single safetensors file without a configuration, which nobody takes
    /// for one.
    package let modelProblem: Wording?
    /// The tokenizer; nil with a reason in `tokenizerProblem`.
    package let tokenizer: Tokenizer?
    /// Why there is no tokenizer to use; nil too as for `modelProblem`.
    package let tokenizerProblem: Wording?
    /// The adapters that were merged into it, oldest first, as its record has them.
    package let merges: [JSONValue]
    /// The tensors that were asked for; nil where none were.
    package let tensors: TensorTable?
}

/// What can be told of an adapter.
package struct AdapterInspection: Sendable {
    /// The directory's content.
    package let adapter: AdapterDirectory
    /// The step of a training run's checkpoint; nil for a finished adapter.
    package let step: Int?
    /// The bytes of its tensor file.
    package let byteCount: Int
    /// What the tensor file says of itself.
    package let metadata: [MetadataEntry]
    /// The tensors with numbers that are NaN or infinite, thresholds among them, in the file's order.
    package let notFinite: [(tensor: String, figures: ValueStatistics)]
    /// The tensors that were asked for; nil where none were.
    package let tensors: TensorTable?
}

/// What can be told of an adapter in one GGUF file.
package struct AdapterFileInspection: Sendable {
    /// The file.
    package let files: CheckpointFiles
    /// What it holds.
    package let facts: GGUFAdapterFacts
    /// The tensors that were asked for; nil where none were.
    package let tensors: TensorTable?
}

/// What can be told of a training run that has no adapter yet.
package struct RunInspection: Sendable {
    /// The run's directory.
    package let path: String
    /// The last step of its log, as logged; nil for a log without steps.
    package let lastStep: JSONValue?
    /// The last evaluation of its log.
    package let lastEvaluation: JSONValue?
    /// The names of its checkpoints, by rising step.
    package let checkpoints: [String]
}

/// Says what is at `path`: a checkpoint, an adapter (or a pack of one) or an unfinished training run.
///
/// `request` asks for a table of tensors. Throws what opening the files throws, and `WorkflowError.matchesNothing`.
package func inspectFiles(_ path: String, _ request: TensorRequest = TensorRequest()) throws -> Inspection {
    if pathKind(path) == .directory {
        if pathKind(joinedPath(path, PEFTNames.configurationFile)) != .nothing {
            return .adapter(try inspectAdapter(path, request))
        }
        if pathKind(joinedPath(path, TrainingOutput.logFile)) != .nothing {
            if request.wantsTable {
                throw WorkflowError.matchesNothing(
                    path: path, what: request.words, reason: "the training run has no adapter yet", nearest: [])
            }
            return .run(try inspectRun(path))
        }
    }
    if path.hasSuffix(FilePack.suffix) { return .adapter(try inspectAdapter(path, request)) }
    let checkpoint = try Checkpoint.open(path)
    if let adapter = GGUFAdapterFacts(checkpoint) {
        return .adapterFile(
            AdapterFileInspection(
                files: try filesOf(checkpoint), facts: adapter,
                tensors: try TensorTable(request, of: checkpoint)))
    }
    return .checkpoint(try inspectCheckpoint(checkpoint, request))
}

private func filesOf(_ checkpoint: Checkpoint) throws -> CheckpointFiles {
    let mappings = try checkpoint.files.map { try MappedFile.open($0) }
    return CheckpointFiles(
        checkpoint: checkpoint, sizes: mappings.map(\.byteCount),
        headers: mappings.map { TensorFileHeader($0, of: checkpoint) }, metadata: MetadataEntry.all(of: checkpoint))
}

private func inspectCheckpoint(_ checkpoint: Checkpoint, _ request: TensorRequest) throws -> CheckpointInspection {
    let model = attempt { try ModelCheckpoint.open(checkpoint) }
    let tokenizer = attempt { try Tokenizer.load(checkpoint) }
    // A file by itself, such as one of embeddings or an adapter's.
    let isLone =
        pathKind(checkpoint.path) != .directory && checkpoint.layout != .gguf && checkpoint.configuration == nil
    let problem = model.problem ?? model.value?.graphProblem.map { Wording($0) }
    return CheckpointInspection(
        files: try filesOf(checkpoint), model: model.value, modelProblem: isLone ? nil : problem,
        tokenizer: tokenizer.value, tokenizerProblem: isLone ? nil : tokenizer.problem,
        merges: try MergeRecord.read(of: checkpoint).merges,
        tensors: try TensorTable(request, of: checkpoint))
}

private func inspectAdapter(_ path: String, _ request: TensorRequest) throws -> AdapterInspection {
    let adapter = try AdapterDirectory.read(path, takingExtras: true, takingAnyValues: true)
    let file = try AdapterFiles(path).tensors(PEFTNames.tensorFile)
    let statePath = joinedPath(path, TrainingState.recordFile)
    var step: Int?
    if pathKind(statePath) != .nothing {
        step = TrainingOutput.step(ofCheckpoint: lastPathComponent(path))
    }
    return AdapterInspection(
        adapter: adapter, step: step, byteCount: file.byteCount,
        metadata: file.metadata.map(MetadataEntry.init),
        notFinite: zip(file.tensors, try ValueStatistics.measure(file.tensors, of: file)).compactMap {
            record, figures in
            guard let figures, figures.nanCount + figures.infiniteCount > 0 else { return nil }
            return (record.name, figures)
        },
        tensors: try TensorTable(request, file.tensors, of: file, files: [file.path]))
}

private func inspectRun(_ path: String) throws -> RunInspection {
    let log = try RunLog(path: joinedPath(path, TrainingOutput.logFile)).lastEvents(["step", "evaluation"])
    return RunInspection(
        path: path, lastStep: log["step"], lastEvaluation: log["evaluation"],
        checkpoints: try RunDirectory.checkpoints(in: path).map(lastPathComponent))
}

/// The value, or the sentence that says why there is none.
private func attempt<Value>(_ body: () throws -> Value) -> (value: Value?, problem: Wording?) {
    do {
        return (try body(), nil)
    } catch {
        return (nil, Wording(error))
    }
}

extension CheckpointFiles {
    /// Tensors, weights and bytes of one way of storing them.
    package struct EncodingTotal: Sendable, Equatable {
        /// Such as `BF16` or `Q4_0`.
        package let encoding: String
        /// Tensors stored so.
        package internal(set) var tensors = 0
        /// Their elements.
        package internal(set) var elements = 0
        /// Their bytes.
        package internal(set) var bytes = 0
    }

    /// Totals by encoding, the one with most bytes first.
    package var totals: [EncodingTotal] {
        var totals: [String: EncodingTotal] = [:]
        for record in checkpoint.tensors {
            let name = record.encoding.description
            totals[name, default: EncodingTotal(encoding: name)].tensors += 1
            totals[name]?.elements += record.elementCount
            totals[name]?.bytes += record.byteCount
        }
        return totals.values.sorted { ($1.bytes, $0.encoding) < ($0.bytes, $1.encoding) }
    }

    /// Elements of all tensors.
    package var elementCount: Int { checkpoint.tensors.reduce(0) { $0 + $1.elementCount } }
}

extension CheckpointInspection {
    /// Weights of the model: as `elementCount`, without what is no part of it.
    package var parameterCount: Int? {
        model.map { model in
            model.tensorNames.reduce(0) { $0 + (model.shape(of: $1) ?? []).reduce(1, *) }
        }
    }

    /// The architecture that the files name, known or not, such as `GPT2LMHeadModel (gpt2)`; nil where they name none.
    package var namedArchitecture: String? {
        if let architecture = model?.architecture { return architecture.names.modelType }
        let checkpoint = files.checkpoint
        if let metadata = checkpoint.metadata {
            return metadata["general.architecture"]?.stringValue.map { String($0.unicodeScalars.prefix(200)) }
        }
        let type = checkpoint.configuration?["model_type"]?.stringValue
        let classes = (checkpoint.configuration?["architectures"]?.arrayValue ?? []).compactMap(\.stringValue)
        guard let name = classes.first else { return type }
        return name + (type.map { " (\($0))" } ?? "")
    }
}
