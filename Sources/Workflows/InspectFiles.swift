import Adapters
import CheckpointIO
import Glibc
import Models
import Tokenization
import Training
import Transforms

/// What a path turned out to be.
package enum Inspection: Sendable {
    /// A model's files.
    case checkpoint(CheckpointInspection)
    /// An adapter, finished or of a training run's checkpoint.
    case adapter(AdapterInspection)
    /// A training run that has no finished adapter.
    case run(RunInspection)
}

/// One tensor of a table.
package struct InspectedTensor: Sendable, Equatable {
    /// Where it lies and how.
    package let record: TensorRecord
    /// The name of the file that holds it.
    package let file: String
}

/// What can be told of a checkpoint without computing.
package struct CheckpointInspection: Sendable {
    /// The files and their headers.
    package let checkpoint: Checkpoint
    /// The bytes of each file.
    package let fileSizes: [Int]
    /// The model in them; nil with a reason in `modelProblem`.
    package let model: ModelCheckpoint?
    /// Why the tensors cannot be used as a model.
    package let modelProblem: String?
    /// The tokenizer; nil with a reason in `tokenizerProblem`.
    package let tokenizer: Tokenizer?
    /// Why there is no tokenizer to use.
    package let tokenizerProblem: String?
    /// The adapters that were merged into it, oldest first, as its record has them.
    package let merges: [JSONValue]
    /// The tensors that were asked for; nil where none were.
    package let tensors: [InspectedTensor]?
}

/// What can be told of an adapter.
package struct AdapterInspection: Sendable {
    /// The directory's content.
    package let adapter: AdapterDirectory
    /// The step of a training run's checkpoint; nil for a finished adapter.
    package let step: Int?
    /// The bytes of its tensor file.
    package let byteCount: Int
    /// The tensors that were asked for; nil where none were.
    package let tensors: [InspectedTensor]?
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
/// `pattern` asks for a table of the tensors whose names it matches, as a whole; `*` stands for any characters, `?` for
/// one, `[...]` for one of a set. Throws what opening the files throws, and `WorkflowError.matchesNothing`.
package func inspectFiles(_ path: String, tensors pattern: String? = nil) throws -> Inspection {
    if pathKind(path) == .directory {
        if pathKind(joinedPath(path, PEFTNames.configurationFile)) != .nothing {
            return .adapter(try inspectAdapter(path, pattern))
        }
        if pathKind(joinedPath(path, TrainingOutput.logFile)) != .nothing {
            if let pattern {
                throw WorkflowError.matchesNothing(
                    path: path, what: "tensor '\(pattern)'", reason: "the training run has no adapter yet",
                    nearest: [])
            }
            return .run(try inspectRun(path))
        }
    }
    if path.hasSuffix(FilePack.suffix) { return .adapter(try inspectAdapter(path, pattern)) }
    return .checkpoint(try inspectCheckpoint(path, pattern))
}

private func inspectCheckpoint(_ path: String, _ pattern: String?) throws -> CheckpointInspection {
    let checkpoint = try Checkpoint.open(path)
    let model = attempt { try ModelCheckpoint.open(path) }
    let tokenizer = attempt { try Tokenizer.load(checkpoint) }
    return CheckpointInspection(
        checkpoint: checkpoint, fileSizes: try checkpoint.files.map { try MappedFile.open($0).byteCount },
        model: model.value, modelProblem: model.problem, tokenizer: tokenizer.value,
        tokenizerProblem: tokenizer.problem, merges: try MergeRecord.read(of: checkpoint).merges,
        tensors: try pattern.map { try select($0, of: checkpoint.tensors, files: checkpoint.files, path) })
}

private func inspectAdapter(_ path: String, _ pattern: String?) throws -> AdapterInspection {
    let adapter = try AdapterDirectory.read(path)
    let file = try AdapterFiles(path).tensors(PEFTNames.tensorFile)
    let statePath = joinedPath(path, TrainingState.recordFile)
    var step: Int?
    if pathKind(statePath) != .nothing {
        step = TrainingOutput.step(ofCheckpoint: lastPathComponent(path))
    }
    return AdapterInspection(
        adapter: adapter, step: step, byteCount: file.byteCount,
        tensors: try pattern.map { try select($0, of: file.tensors, files: [file.path], path) })
}

private func inspectRun(_ path: String) throws -> RunInspection {
    let log = try RunLog(path: joinedPath(path, TrainingOutput.logFile)).lastEvents(["step", "evaluation"])
    return RunInspection(
        path: path, lastStep: log["step"], lastEvaluation: log["evaluation"],
        checkpoints: RunDirectory.checkpoints(in: path).map(lastPathComponent))
}

private func select(
    _ pattern: String, of records: [TensorRecord], files: [String], _ path: String
) throws(WorkflowError) -> [InspectedTensor] {
    let chosen = records.filter { $0.name == pattern || fnmatch(pattern, $0.name, 0) == 0 }
    guard !chosen.isEmpty else {
        throw .matchesNothing(
            path: path, what: "tensor '\(pattern)'", reason: nil,
            nearest: NearestNames.find(pattern, in: records.map(\.name)))
    }
    return chosen.map { InspectedTensor(record: $0, file: lastPathComponent(files[$0.fileIndex])) }
}

/// The value, or the sentence that says why there is none.
private func attempt<Value>(_ body: () throws -> Value) -> (value: Value?, problem: String?) {
    do {
        return (try body(), nil)
    } catch {
        return (nil, "\(error)")
    }
}

extension CheckpointInspection {
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

    /// Weights of the model: as `elementCount`, without what is no part of it.
    package var parameterCount: Int? {
        model.map { model in
            model.tensorNames.reduce(0) { $0 + (model.shape(of: $1) ?? []).reduce(1, *) }
        }
    }
}
