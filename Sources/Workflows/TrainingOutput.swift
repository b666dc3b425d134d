import Adapters
import CheckpointIO
import Glibc
import Training

/// The directory of a training run:
///
///     OUT/log.jsonl             one line an event, appended as they come
///     OUT/config.yaml           the run's settings, where the caller gave them
///     OUT/checkpoint-000100/    adapter and optimizer state after step 100; complete or not there
///     OUT/best/                 the adapter of the best evaluation, where there are several
///     OUT/adapter_config.json ... the adapter, once the run is done
///
/// An adapter is only seen once its configuration file stands, and that comes last.
struct TrainingOutput {
    private let path: String
    private let resumes: Bool
    private let movesAside: Bool

    static let logFile = "log.jsonl"
    static let settingsFile = "config.yaml"
    static let bestName = "best"
    private static let checkpointPrefix = "checkpoint-"
    /// Digits of the step in a checkpoint's name.
    private static let stepDigits = 6
    private static let asideSuffix = ".replaced"
    /// Files that a run leaves beside its checkpoints.
    private static let ownFiles: Set = [
        logFile, settingsFile, bestName, PEFTNames.configurationFile, PEFTNames.tensorFile, PEFTNames.modelCardFile,
        PEFTNames.recordFile, PEFTNames.statisticsFile, TrainingState.recordFile, TrainingState.tensorFile,
    ]

    /// Looks at what stands at the output before anything costly is done. Throws `outputExists`,
    /// `missing`, or `cannotCreate` where there is no place for it.
    static func plan(_ request: TrainRequest) throws(WorkflowError) -> TrainingOutput {
        guard request.keptCheckpoints >= 1 else {
            throw .badValue(.keptCheckpoints, expected: "at least 1", found: String(request.keptCheckpoints))
        }
        var path = request.outputPath
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        let exists = access(path, F_OK) == 0
        if request.resumes {
            guard exists else {
                throw .missing(path: path, what: "no run to resume; start one without \(.resumes, true)")
            }
            return TrainingOutput(path: path, resumes: true, movesAside: false)
        }
        if exists {
            guard request.replaces else {
                throw .outputExists(
                    path, remedy: "use \(.replaces, true) to replace it, or \(.resumes, true) to go on with it")
            }
            guard holdsRunOrAdapter(path) else {
                throw .outputExists(
                    path, remedy: "it is no training run or adapter, so \(.replaces, true) does not replace it")
            }
            guard access(path + asideSuffix, F_OK) != 0 else {
                throw .outputExists(
                    path + asideSuffix,
                    remedy: "it holds what an earlier \(.replaces, true) put aside; move it back or remove it")
            }
        }
        let folder = parentDirectory(of: path)
        if !exists, access(folder, W_OK | X_OK) != 0 || pathKind(folder) != .directory {
            let code = pathKind(folder) == .directory || pathKind(folder) == .nothing ? errno : ENOTDIR
            throw .cannotCreate(path, reason: systemMessage(code))
        }
        return TrainingOutput(path: path, resumes: false, movesAside: exists)
    }

    /// Whether there is a directory that training or `inject` has made.
    private static func holdsRunOrAdapter(_ path: String) -> Bool {
        [logFile, PEFTNames.configurationFile].contains { access(joinedPath(path, $0), F_OK) == 0 }
    }

    /// Makes the directory, or finds the checkpoint to go on from. Throws `cannotCreate`, `missing`.
    func begin() throws -> RunDirectory {
        if resumes {
            guard let newest = try RunDirectory.checkpoints(in: path).last else {
                throw WorkflowError.missing(path: path, what: "no checkpoint to resume from")
            }
            // A forced run that was stopped has put the old one aside, which goes once the new one is done.
            let aside = path + Self.asideSuffix
            return RunDirectory(
                path: path, checkpointToResume: newest, asidePath: Self.holdsRunOrAdapter(aside) ? aside : nil)
        }
        if movesAside, rename(path, path + Self.asideSuffix) != 0 { throw creationFailure(path, errno) }
        guard mkdir(path, 0o777) == 0 else {
            let code = errno
            if movesAside { rename(path + Self.asideSuffix, path) }
            throw creationFailure(path, code)
        }
        let aside = movesAside ? path + Self.asideSuffix : nil
        // A run is worth nothing before its first checkpoint.
        TemporaryOutputs.add(path, aside: aside)
        return RunDirectory(path: path, checkpointToResume: nil, asidePath: aside)
    }

    /// The name of the checkpoint after `step`.
    static func checkpointName(_ step: Int) -> String {
        let digits = String(step)
        return checkpointPrefix + String(repeating: "0", count: max(0, stepDigits - digits.count)) + digits
    }

    /// Whether a run in `output` writes at `path` by itself: its directory, a file of its own, or what lies in a
    /// checkpoint or in the best adapter. Both paths are absolute ones.
    static func isOwn(_ path: String, in output: String) -> Bool {
        if path.hasSameBytes(as: output) { return true }
        let folder = Array((output + "/").utf8)
        guard path.utf8.starts(with: folder) else { return false }
        let name = path.utf8.dropFirst(folder.count).prefix { $0 != UInt8(ascii: "/") }
        return name.starts(with: checkpointPrefix.utf8) || ownFiles.contains(String(Substring(name)))
    }

    /// The step of a checkpoint's name; nil for another name.
    static func step(ofCheckpoint name: String) -> Int? {
        name.hasPrefix(checkpointPrefix) ? Int(name.dropFirst(checkpointPrefix.count)) : nil
    }
}

/// A run's directory while the run goes on. Owns the log, which stays open.
final class RunDirectory {
    /// The newest checkpoint, where the run goes on from one.
    let checkpointToResume: String?
    private let path: String
    private let asidePath: String?
    private var logDescriptor: Int32 = -1
    /// What the log of a run that goes on has behind its last step.
    private var told: Set<String> = []

    fileprivate init(path: String, checkpointToResume: String?, asidePath: String?) {
        self.path = path
        self.checkpointToResume = checkpointToResume
        self.asidePath = asidePath
    }

    deinit {
        if logDescriptor >= 0 { close(logDescriptor) }
    }

    /// The checkpoints in a run's directory, by rising step. Throws `unreadable`.
    static func checkpoints(in path: String) throws(CheckpointError) -> [String] {
        try readDirectory(path).compactMap { name in TrainingOutput.step(ofCheckpoint: name).map { ($0, name) } }
            .sorted { $0.0 < $1.0 }.map { joinedPath(path, $0.1) }
    }

    /// The checkpoint of the latest step; nil before the first.
    var newestCheckpoint: String? { try? Self.checkpoints(in: path).last }

    /// Saves the run's settings. Throws `CheckpointError.writeFailed`.
    func write(settings text: String) throws(CheckpointError) {
        let file = try AtomicFileWriter(OutputTarget(joinedPath(path, TrainingOutput.settingsFile), replacing: true))
        try file.write(Array(text.utf8))
        try file.commit()
    }

    /// Appends a line to the log, unless a run that goes on says again what it has said. Throws
    /// `CheckpointError.writeFailed`.
    func log(_ line: JSONObject) throws {
        if line["event"]?.stringValue == "step" { told = [] }
        let text = JSONValue.object(line).text()
        if !told.contains(text) { try append(text + "\n") }
    }

    /// Appends the closing line with figures of the whole run and sees the log onto the disk.
    func logEnd(_ figures: JSONObject) throws {
        var line: JSONObject = ["event": .string("end")]
        for (key, value) in figures.members { line[key] = value }
        try log(line)
        guard logDescriptor >= 0 else { return }
        let synced = retryingOnInterrupt { fsync(logDescriptor) }
        var code = synced == 0 ? 0 : errno
        if close(logDescriptor) != 0, code == 0, errno != EINTR { code = errno }
        logDescriptor = -1
        guard code == 0 else {
            throw CheckpointError.writeFailed(path: joinedPath(path, TrainingOutput.logFile), code: code)
        }
    }

    private func append(_ text: String) throws {
        let logPath = joinedPath(path, TrainingOutput.logFile)
        if logDescriptor < 0 {
            logDescriptor = retryingOnInterrupt { open(logPath, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o666) }
            guard logDescriptor >= 0 else {
                throw CheckpointError.writeFailed(path: logPath, code: errno)
            }
            // A program that was killed may have left half a line, which must not swallow the next one.
            var last = UInt8(ascii: "\n")
            let size = lseek(logDescriptor, 0, SEEK_END)
            if size > 0, pread(logDescriptor, &last, 1, size - 1) == 1, last != UInt8(ascii: "\n") {
                try write("\n", toLog: logPath)
            }
        }
        try write(text, toLog: logPath)
    }

    private func write(_ text: String, toLog logPath: String) throws {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Glibc.write(logDescriptor, $0.baseAddress, $0.count) }
            if written < 0 {
                if errno == EINTR { continue }
                throw CheckpointError.writeFailed(path: logPath, code: errno)
            }
            rest = rest.dropFirst(written)
        }
    }

    /// Writes the checkpoint of a state, whole or not at all, and removes the oldest beyond `keeping`. The path.
    func saveCheckpoint(
        _ state: TrainingState, _ directory: AdapterDirectory, _ adapter: InjectedAdapter, _ inputs: RunInputs,
        keeping: Int
    ) throws -> String {
        let target = joinedPath(path, TrainingOutput.checkpointName(state.step))
        let current = try AdapterDirectory(
            configuration: directory.configuration, modules: directory.modules, tensors: adapter.tensors,
            thresholds: adapter.thresholds,
            origin: AdapterOrigin(base: directory.base, history: directory.history, task: directory.origin.task))
        let output = try AtomicDirectory(OutputTarget(target, replacing: true))
        try current.write(into: output)
        try SafetensorsWriter.write(
            state.momentTensors.map { ($0.name, $0.shape, $0.values) },
            to: try output.writer(TrainingState.tensorFile))
        guard case .object(var record) = state.record else { preconditionFailure("a state's record is an object") }
        record["inputs"] = .object(inputs.facts)
        try output.write(TrainingState.recordFile, text: JSONValue.object(record).text(indent: 2) + "\n")
        TemporaryOutputs.remove(path)
        try output.commit()
        for old in try Self.checkpoints(in: path).dropLast(keeping) { removeTree(old) }
        return target
    }

    /// Where the adapter of the best evaluation is; nil where there is none.
    var bestPath: String? {
        let target = joinedPath(path, TrainingOutput.bestName)
        return pathKind(target) == .directory ? target : nil
    }

    /// Writes the adapter of the best evaluation so far, whole or not at all, in place of an earlier one. The path.
    func saveBest(
        _ best: ValidationWatch.Best, _ directory: AdapterDirectory, _ adapter: InjectedAdapter
    ) throws -> String {
        let target = joinedPath(path, TrainingOutput.bestName)
        let current = try AdapterDirectory(
            configuration: adapter.configuration, modules: directory.modules, tensors: adapter.tensors,
            thresholds: adapter.thresholds,
            origin: AdapterOrigin(
                base: directory.base,
                training: .object(best.record), history: directory.history, task: directory.origin.task))
        try current.write(to: OutputTarget(target, replacing: true))
        return target
    }

    /// Reads the state of a checkpoint. Throws `resumeMismatch` where the inputs have changed.
    func readState(_ checkpoint: String, inputs: RunInputs) throws -> TrainingState {
        let (state, saved) = try Self.state(in: checkpoint)
        for (key, value) in inputs.facts.members where saved[key] != value {
            throw WorkflowError.resumeMismatch(
                path: checkpoint, what: key, saved: saved[key]?.text() ?? "not there", given: value.text())
        }
        return state
    }

    /// Reads the state of a directory, and what it tells of its run's inputs.
    static func state(in directory: String) throws -> (state: TrainingState, inputs: JSONObject) {
        let recordPath = joinedPath(directory, TrainingState.recordFile)
        let record: JSONValue
        do {
            record = try JSONValue.parse(readSmallFile(recordPath, limit: 64 << 20))
        } catch let error as JSONError {
            throw TrainingError.badState(path: recordPath, problem: error.description)
        }
        let values = try AdapterDirectory.read(directory)
        let file = try SafetensorsFile.open(joinedPath(directory, TrainingState.tensorFile))
        let moments = try file.tensors.map {
            AdapterTensor(name: $0.name, shape: $0.shape, values: try file.floats(of: $0))
        }
        let state = try TrainingState(
            record: record, tensors: values.tensors + values.savedModules, momentTensors: moments, source: directory)
        return (state, record["inputs"]?.objectValue ?? [:])
    }

    /// What the run that goes on after `step` has told. Throws `CheckpointError` for a log that cannot be read.
    func past(upTo step: Int) throws -> RunPast {
        let log = RunLog(path: joinedPath(path, TrainingOutput.logFile))
        let past = RunPast(step: step, lines: pathKind(log.path) == .nothing ? nil : try log.lines(upTo: step))
        told = Set(past.tail.map { JSONValue.object($0).text() })
        return past
    }

    /// Ends a run that failed: one that saved no checkpoint leaves nothing behind, and what it put aside comes back.
    /// Where that stays aside instead, since there are checkpoints to go on from, its path.
    func giveUp() -> String? {
        TemporaryOutputs.remove(path)
        // What cannot be looked into may hold checkpoints.
        guard checkpointToResume == nil, (try? Self.checkpoints(in: path).isEmpty) == true, removeTree(path) else {
            return asidePath
        }
        guard let asidePath, rename(asidePath, path) != 0 else { return nil }
        return asidePath
    }

    /// Puts the finished adapter into the run's directory, its configuration last, and lets go of what a forced run put
    /// aside. Of a finished run that was resumed the old configuration goes first.
    func finish(_ directory: AdapterDirectory) throws {
        let staging = try AtomicDirectory.staging(in: path)
        defer { staging.abandon() }
        try directory.write(into: staging)
        let configuration = joinedPath(path, PEFTNames.configurationFile)
        guard unlink(configuration) == 0 || errno == ENOENT else {
            throw CheckpointError.writeFailed(path: configuration, code: errno)
        }
        for name in try readDirectory(staging.temporaryPath) where name != PEFTNames.configurationFile {
            try move(name, outOf: staging)
        }
        try syncDirectory(path)
        try move(PEFTNames.configurationFile, outOf: staging)
        try syncDirectory(path)
        TemporaryOutputs.remove(path)
        if let asidePath { removeTree(asidePath) }
    }

    private func move(_ name: String, outOf staging: AtomicDirectory) throws {
        let target = joinedPath(path, name)
        guard rename(staging.temporaryPath(of: name), target) == 0 else {
            throw CheckpointError.writeFailed(path: target, code: errno)
        }
    }
}

extension ValidationWatch.Best {
    /// What the adapter's own record says of the evaluation.
    fileprivate var record: JSONObject {
        var record: JSONObject = ["optimizer_steps": .integer(step), "evaluation_loss": .real(loss)]
        if let score { record["evaluation_score"] = .real(score) }
        return record
    }
}
