import CheckpointIO
import Compute
import TensorCore
import TSPEFT

/// Options with their values as a file of settings, which `--config` takes.
struct SettingsText {
    /// The lines.
    private(set) var text: String

    /// Nothing but a note on top.
    init(note: String) { text = "# " + note.split(separator: "\n").joined(separator: "\n# ") + "\n" }

    /// Adds a text, where there is one.
    mutating func add(_ key: String, _ value: String?) {
        guard let value else { return }
        text += "\(key): \(Self.scalar(value))\n"
    }

    /// Adds a number, where there is one.
    mutating func add<Number: Numeric>(_ key: String, _ value: Number?) {
        if let value { text += "\(key): \(value)\n" }
    }

    /// Adds a list, where it holds anything.
    mutating func add(_ key: String, _ values: [String]) {
        if values.isEmpty { return }
        text += "\(key):\n" + values.map { "  - \(Self.scalar($0))\n" }.joined()
    }

    /// Adds a flag, where it is set.
    mutating func add(_ key: String, if isSet: Bool) {
        if isSet { text += "\(key): true\n" }
    }

    /// A text as YAML has it: plain where nothing in it can be taken for something else, else quoted as in JSON.
    private static func scalar(_ text: String) -> String {
        let isPlain =
            text.utf8.first.map { isLetter($0) || isDigit($0) || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: ".") }
            ?? false
        let isSimple = text.utf8.allSatisfy { isLetter($0) || isDigit($0) || "-_./,=+".utf8.contains($0) }
        let isWord = ["true", "false", "null", "yes", "no", "on", "off"].contains(text.lowercased())
        return isPlain && isSimple && !isWord ? text : JSONValue.string(text).text()
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
}

extension TrainRequest {
    /// The run's settings as the file that goes beside its log: what was given and what that came to, with the type
    /// and the threads that this machine computes with. How the run was started (going on, replacing) is none.
    func settings(preset: String?) -> String {
        var text = SettingsText(
            note: """
                The settings of this run, by tspeft \(ToolVersion.current). Another run with them gives the same adapter:
                tspeft train --config config.yaml -o OTHER
                Relative paths count from the directory where the program is started.
                """)
        text.add("base", basePath)
        text.add("adapter", adapterPath)
        text.add("continue", continuedPath)
        if let newAdapter { text.add(newAdapter) }
        if findsClasses { text.add("task", "classify") }
        text.add("preset", preset)
        text.add("data", dataPaths)
        text.add("output", outputPath)
        addTraining(to: &text)
        addThresholds(to: &text)
        text.add("eval-data", evaluationPaths)
        text.add("val-split", training.validationSplit?.text)
        text.add("eval-limit", evaluationLimit)
        text.add("eval-every", training.evaluationInterval)
        text.add("early-stop", training.evaluationsWithoutGain)
        text.add("save-every", training.checkpointInterval)
        text.add("keep-checkpoints", keptCheckpoints)
        text.add("log-every", training.logInterval)
        text.add("max-length", loading.maxLength)
        text.add("train-on-prompt", if: !loading.promptMasking)
        text.add("no-end-of-text", if: !loading.endOfText)
        text.add("chat-template", loading.chatTemplate)
        text.add("images", loading.imageFolder)
        text.add("columns", loading.columns?.joined(separator: ","))
        text.add("compute-type", compute.dtype.rawValue.lowercased())
        text.add("threads", compute.threadCount ?? ComputeContext.availableThreads)
        return text.text
    }

    private func addTraining(to text: inout SettingsText) {
        switch training.length {
        case .epochs(let epochs): text.add("epochs", epochs)
        case .steps(let steps): text.add("steps", steps)
        }
        text.add("batch-size", training.batchSize)
        text.add("accumulation", training.accumulation)
        text.add("learning-rate", training.learningRate)
        text.add("schedule", training.schedule.rawValue)
        if let share = training.warmupShare {
            text.add("warmup", Amount.share(share).description)
        } else {
            text.add("warmup", training.warmupSteps)
        }
        text.add("weight-decay", training.optimizer.weightDecay)
        text.add("clip", training.gradientClipping)
        text.add("seed", training.seed)
        text.add("no-shuffle", if: !training.shuffles)
    }

    /// A dense adapter refuses what is said of thresholds, so only what was given is.
    private func addThresholds(to text: inout SettingsText) {
        let given = Set(givenThresholdSettings)
        text.add("s", given.contains(.thresholdStep) ? training.thresholds.stepSize : nil)
        text.add("lambda", given.contains(.lambda) ? training.thresholds.lambda : nil)
        text.add("tau-beta1", given.contains(.tauBeta1) ? training.thresholds.beta1 : nil)
        text.add("tau-beta2", given.contains(.tauBeta2) ? training.thresholds.beta2 : nil)
        text.add("tau-update", given.contains(.tauUpdate) ? training.thresholds.update.rawValue : nil)
        if given.contains(.tauSchedule) {
            text.add("tau-schedule", training.thresholdsFollowSchedule ? "follow" : "constant")
        }
        text.add("only", training.trainsThresholdsOnly ? "tau" : nil)
    }
}

extension SettingsText {
    /// What a new adapter is, but its seed and preset, which are the run's.
    fileprivate mutating func add(_ request: InjectRequest) {
        add("from-peft", request.adapterPath)
        add("method", request.method ?? (request.adapterPath == nil ? InjectRequest.defaultMethod : nil))
        add("targets", request.targets)
        add("exclude", request.excluded)
        add("layers", request.layers.map { $0.map(String.init).joined(separator: ",") })
        add(
            "target-parameters",
            request.targetParameters.isEmpty ? nil : request.targetParameters.joined(separator: ","))
        add("modules-to-save", request.modulesToSave.isEmpty ? nil : request.modulesToSave.joined(separator: ","))
        add("select", request.selectionPath)
        if let task = request.task {
            add("task", task.isRegression ? "regress" : "classify")
            add("labels", task.isRegression ? nil : task.labels.joined(separator: ","))
        }
        for option in request.options.given {
            let key = String(OptionWords.option(ofMethodKey: option.key).dropFirst(2))
            switch request.options[option.key] {
            case .bool(let isSet)?: add(key, if: isSet)
            case .object(let values)?: add(key, values.members.map { "\($0.key)=\($0.value.text())" })
            case .string(let text)?: add(key, text)
            case let value?: add(key, value.text())
            case nil: break
            }
        }
    }
}
