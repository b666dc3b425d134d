import Adapters
import CheckpointIO
import Data
import Training
import Transforms
import TSPEFT

/// A command line that does what a request asks for, to be shown and pasted into a shell: options at their defaults are
/// left out, and words are quoted where a shell needs it.
struct CommandText {
    private(set) var text: String

    init(_ command: String, _ arguments: String...) {
        text = "tspeft " + command
        for argument in arguments { text += " " + Self.quoted(argument) }
    }

    /// Adds an option with its value; nil is none.
    mutating func add(_ name: String, _ value: String?) {
        if let value { text += " \(name) " + Self.quoted(value) }
    }

    /// Adds an option whose value is not the default one.
    mutating func add<Value: Equatable>(_ name: String, _ value: Value, default standard: Value) {
        if value != standard { add(name, "\(value)") }
    }

    /// Adds a flag that is set.
    mutating func add(_ name: String, if isSet: Bool) {
        if isSet { text += " " + name }
    }

    mutating func add(_ options: ComputeOptions) {
        add("--compute-type", options.precision, default: ComputeOptions().precision)
        add("--threads", options.threadCount.map(String.init))
    }

    mutating func add(_ options: LoadingOptions) {
        add("--max-length", options.maxLength.map(String.init))
        add("--train-on-prompt", if: !options.promptMasking)
        add("--no-end-of-text", if: !options.endOfText)
        add("--chat-template", options.chatTemplate)
        add("--images", options.imageFolder)
        add("--columns", options.columns?.joined(separator: ","))
    }

    /// Adds those of a method's options that were given and for which `isWanted` holds.
    mutating func add(_ options: MethodOptions, where isWanted: (MethodOption) -> Bool) {
        for option in options.given where isWanted(option) {
            let name = OptionWords.option(ofMethodKey: option.key)
            switch options[option.key] {
            case .bool(let isSet)?: add(name, if: isSet)
            case .object(let entries)?: for (key, value) in entries.members { add(name, "\(key)=\(value.text())") }
            case let value?: add(name, value.stringValue ?? value.text())
            case nil: break
            }
        }
    }

    /// `word` as a POSIX shell reads it back.
    static func quoted(_ word: String) -> String {
        let isPlain =
            !word.isEmpty
            && word.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                default: "-_./,:=+@%".utf8.contains(byte)
                }
            }
        guard !isPlain else { return word }
        return "'" + word.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}

extension CommandText {
    /// What a new adapter is.
    fileprivate mutating func add(_ request: InjectRequest) {
        add("--from-peft", request.adapterPath)
        add("--method", request.method)
        add("--preset", request.preset?.name)
        add(request.options) { !$0.isByPattern }
        add("--targets", request.targets)
        add("--exclude", request.excluded)
        add(request.options, where: \.isByPattern)
        add(
            "--target-parameters",
            request.targetParameters.isEmpty ? nil : request.targetParameters.joined(separator: ","))
        add("--modules-to-save", request.modulesToSave.isEmpty ? nil : request.modulesToSave.joined(separator: ","))
        add("--layers", request.layers.map { $0.map(String.init).joined(separator: ",") })
        add("--select", request.selectionPath)
        guard let task = request.task else { return }
        add("--task", task.isRegression ? "regress" : "classify")
        add("--labels", task.isRegression ? nil : task.labels.joined(separator: ","))
    }
}

extension InjectRequest {
    /// The command line of this request.
    var command: String {
        let standard = InjectRequest(basePath: basePath, outputPath: outputPath)
        var line = CommandText("inject", basePath)
        line.add(self)
        line.add("--seed", seed, default: standard.seed)
        line.add("-o", outputPath)
        line.add("--force", if: replaces)
        return line.text
    }
}

extension TrainRequest {
    /// The command line of this request.
    var command: String {
        let standard = TrainingConfiguration()
        var line = CommandText("train", basePath)
        line.add("--adapter", adapterPath)
        if let newAdapter { line.add(newAdapter) }
        for path in dataPaths { line.add("--data", path) }
        for path in evaluationPaths { line.add("--eval-data", path) }
        line.add("--val-split", training.validationSplit?.text)
        line.add("--eval-limit", evaluationLimit.map(String.init))
        if training.length != standard.length {
            switch training.length {
            case .epochs(let epochs): line.add("--epochs", "\(epochs)")
            case .steps(let steps): line.add("--steps", "\(steps)")
            }
        }
        line.add("--batch-size", training.batchSize, default: standard.batchSize)
        line.add("--accumulation", training.accumulation, default: standard.accumulation)
        line.add("--learning-rate", training.learningRate, default: standard.learningRate)
        line.add("--schedule", training.schedule.rawValue, default: standard.schedule.rawValue)
        line.add("--warmup", training.warmupSteps, default: standard.warmupSteps)
        line.add("--warmup", training.warmupShare.map { Amount.share($0).description })
        line.add("--weight-decay", training.optimizer.weightDecay, default: standard.optimizer.weightDecay)
        line.add("--clip", training.gradientClipping, default: standard.gradientClipping)
        line.add("--s", training.thresholds.stepSize, default: standard.thresholds.stepSize)
        line.add("--lambda", training.thresholds.lambda, default: standard.thresholds.lambda)
        line.add("--tau-beta1", training.thresholds.beta1, default: standard.thresholds.beta1)
        line.add("--tau-beta2", training.thresholds.beta2, default: standard.thresholds.beta2)
        line.add("--tau-update", training.thresholds.update.rawValue, default: standard.thresholds.update.rawValue)
        if training.thresholdsFollowSchedule { line.add("--tau-schedule", "follow") }
        if training.trainsThresholdsOnly { line.add("--only", "tau") }
        line.add("--seed", training.seed, default: standard.seed)
        line.add("--no-shuffle", if: !training.shuffles)
        line.add("--eval-every", training.evaluationInterval.map(String.init))
        line.add("--early-stop", training.evaluationsWithoutGain.map(String.init))
        line.add("--tensorboard", eventFolder)
        line.add("--csv", tablePath)
        line.add("--save-every", training.checkpointInterval.map(String.init))
        line.add("--log-every", training.logInterval, default: standard.logInterval)
        line.add("--keep-checkpoints", keptCheckpoints, default: 3)
        line.add(loading)
        line.add(compute)
        line.add("-o", outputPath)
        line.add("--continue", continuedPath)
        line.add("--resume", if: resumes)
        line.add("--force", if: replaces)
        return line.text
    }
}

extension EvaluateRequest {
    /// The command line of this request.
    var command: String {
        let standard = EvaluateRequest(basePath: basePath, dataPath: dataPath)
        var line = CommandText("eval", basePath)
        line.add("--adapter", adapterPath)
        for path in dataPaths { line.add("--data", path) }
        line.add("--mode", mode.rawValue, default: standard.mode.rawValue)
        line.add("--limit", limit.map(String.init))
        line.add("--max-new-tokens", newTokenLimit.map(String.init))
        line.add("--beams", beams.map(String.init))
        line.add(loading)
        line.add(compute)
        return line.text
    }
}

extension RankRequest {
    /// The command line of this request.
    var command: String {
        var line = CommandText("rank-modules", adapterPath)
        line.add("--by", rule)
        line.add("--keep", keep)
        line.add("-o", selectionPath)
        line.add("--force", if: replaces)
        return line.text
    }
}

extension PruneRequest {
    /// The command line of this request.
    var command: String {
        var line = CommandText("prune", adapterPath)
        switch choice {
        case .keep(let text):
            line.add("--by", rule)
            line.add("--keep", text)
        case .selection(let path): line.add("--select", path)
        }
        line.add("-o", outputPath)
        line.add("--force", if: replaces)
        return line.text
    }
}

extension MergeRequest {
    /// The command line of this request.
    var command: String {
        var line = CommandText("merge", basePath)
        for adapter in adapters { line.add("--adapter", adapter.argument) }
        line.add("--gates", gates.rawValue, default: MergeGates.scale.rawValue)
        line.add("--type", type)
        line.add("--changed-type", dtype)
        line.add(compute)
        line.add("-o", outputPath)
        line.add("--force", if: replaces)
        return line.text
    }
}

extension MethodOption {
    /// Whether its value is a list of values by module pattern.
    var isByPattern: Bool { form == .integers || form == .numbers }
}
