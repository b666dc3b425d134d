import Adapters
import CheckpointIO
import Models
import TensorCore
import Transforms
import TSPEFT

/// What `inspect` found, as lines of text; what files hold and say of themselves is in InspectionText+Files.swift.
enum InspectionText {
    /// Names that a line lists at most.
    static let nameLimit = 8
    /// Adapters that were merged into a model which are listed at most.
    private static let mergeLimit = 64
    /// Patterns of tensors that are listed at most.
    private static let patternLimit = 256
    /// Decimal digits of numbers that are no counts.
    static let digits = 4

    /// The lines for whatever was found.
    static func lines(_ inspection: Inspection) -> [String] {
        switch inspection {
        case .checkpoint(let checkpoint): lines(checkpoint)
        case .adapter(let adapter): lines(adapter)
        case .adapterFile(let adapter): lines(adapter)
        case .run(let run): lines(run)
        }
    }

    // MARK: Checkpoint

    private static func lines(_ found: CheckpointInspection) -> [String] {
        var facts = Facts()
        facts.add("path", found.files.checkpoint.path)
        facts.add("layout", layout(found.files))
        if let name = found.files.checkpoint.metadata?["general.name"]?.stringValue { facts.add("name", name) }
        if let architecture = found.namedArchitecture { facts.add("architecture", architecture) }
        if let architecture = found.model?.architecture { add(architecture.configuration, to: &facts) }
        if let model = found.model { add(model, to: &facts) }
        if let problem = found.modelProblem { facts.add("forward pass", "none: \(OptionWords.text(problem))") }
        if let count = found.parameterCount { facts.add("parameters", grouped(count)) }
        addTokenizer(found, to: &facts)
        for merge in found.merges.prefix(mergeLimit) {
            let adapter = merge["adapter"]
            facts.add(
                "merged with",
                (adapter?["path"]?.stringValue ?? "an adapter") + " (\(adapter?["method"]?.stringValue ?? "unknown")"
                    + (merge["weight"]?.doubleValue.map { $0 == 1 ? "" : ", weight \($0)" } ?? "")
                    + (merge["gates"]?.stringValue.map { ", --gates \($0)" } ?? "") + ")")
        }
        if found.merges.count > mergeLimit {
            facts.add("merged with", "\(found.merges.count - mergeLimit) more")
        }
        let isGeneric = found.model.map { $0.architecture == nil } ?? false
        return facts.lines + (isGeneric ? patternLines(found.model?.patterns ?? []) : []) + fileLines(found.files)
            + (found.tensors?.lines ?? [])
    }

    /// A generic model's tensors by patterns, with what they are to it.
    private static func patternLines(_ patterns: [TensorPattern]) -> [String] {
        var table = TextTable([.left, .right, .left, .left, .right, .left])
        table.add(["tensors", "number", "shape", "type", "size", "as"])
        table.addRule()
        for pattern in patterns.prefix(patternLimit) {
            table.add([
                pattern.pattern, grouped(pattern.count), "\(pattern.shape)", pattern.encoding,
                byteText(pattern.byteCount), words(pattern),
            ])
        }
        let more = patterns.count - patternLimit
        return [""] + table.lines + (more > 0 ? ["and \(grouped(more)) more"] : [])
    }

    private static func words(_ pattern: TensorPattern) -> String {
        switch pattern.role {
        case .projection: pattern.isTransposed ? "linear, stored as [in, out]" : "linear"
        case .outputHead: "output head"
        case .classifier: "head for sequences"
        case .embedding: "embedding of tokens"
        case .experts: "experts"
        case .quantized: "linear, quantized"
        case .norm: "norm"
        case .bias: "bias"
        case .other, nil: ""
        }
    }

    private static func add(_ configuration: ModelConfiguration, to facts: inout Facts) {
        facts.add("layers", "\(configuration.layerCount)")
        facts.add(
            "hidden size", "\(grouped(configuration.hiddenSize)), \(grouped(configuration.intermediateSize)) in the MLP"
        )
        facts.add(
            "attention",
            "\(configuration.headCount) heads of \(configuration.headSize), "
                + "\(configuration.keyValueHeadCount) for keys and values")
        facts.add(
            "positions",
            "\(grouped(configuration.maximumPositions)), rotary base "
                + "\(number(configuration.rotaryBase))\(scaling(configuration.rotaryScaling))")
        facts.add("norm epsilon", scientific(Double(configuration.rmsNormEpsilon), 0))
        let biased = [
            configuration.hasAttentionBias ? "attention" : nil, configuration.hasMLPBias ? "MLP" : nil,
        ].compactMap { $0 }
        if !biased.isEmpty { facts.add("biases", biased.joined(separator: ", ")) }
        facts.add(
            "vocabulary",
            "\(grouped(configuration.vocabularySize)), output head "
                + (configuration.tiedEmbeddings ? "tied to the embedding" : "of its own"))
    }

    private static func add(_ model: ModelCheckpoint, to facts: inout Facts) {
        facts.add("linear modules", "\(modules(model.linearModules.map(\.path)))")
        if !model.unknownTensors.isEmpty {
            facts.add("not used", "\(model.unknownTensors.count) tensors: \(list(model.unknownTensors))")
        }
    }

    private static func scaling(_ scaling: RotaryScaling) -> String {
        switch scaling {
        case .standard: ""
        case .linear(let factor): ", linear scaling by \(number(factor))"
        case .llama3(let factor, _, _, let original):
            ", llama3 scaling by \(number(factor)) from \(grouped(original)) positions"
        case .dynamic(let factor): ", dynamic scaling by \(number(factor))"
        case .yarn(let yarn):
            ", yarn scaling by \(number(yarn.factor)) from \(grouped(yarn.originalPositions)) positions"
        case .longrope(let long): ", longrope scaling from \(grouped(long.originalPositions)) positions"
        case .factors(let factors): ", \(factors.count) frequency factors"
        }
    }

    private static func addTokenizer(_ found: CheckpointInspection, to facts: inout Facts) {
        if let problem = found.tokenizerProblem { facts.add("tokenizer", "not usable: \(OptionWords.text(problem))") }
        guard let tokenizer = found.tokenizer else { return }
        func token(_ id: Int32?) -> String {
            id.map { "'\(String(decoding: tokenizer.bytes(ofToken: $0), as: UTF8.self))' (\($0))" } ?? "none"
        }
        facts.add(
            "tokenizer",
            "\(grouped(tokenizer.vocabularySize)) tokens, begin \(token(tokenizer.bosTokenID)), "
                + "end \(token(tokenizer.eosTokenID))")
        let problem = tokenizer.chatTemplateProblem.map { "not usable: \($0)" }
        facts.add("chat template", problem ?? (tokenizer.chatTemplate == nil ? "none" : "yes"))
    }

    // MARK: Adapter

    private static func lines(_ found: AdapterInspection) -> [String] {
        let adapter = found.adapter
        let configuration = adapter.configuration
        var facts = Facts()
        facts.add("path", adapter.displayName)
        facts.add("method", configuration.methodName)
        if let step = found.step { facts.add("state", "checkpoint of a training run, after step \(step)") }
        facts.add("modules", modules(adapter.modules))
        for fact in adapter.methodFacts { facts.add(fact.name, fact.value) }
        if configuration.dropout > 0 { facts.add("dropout", number(configuration.dropout)) }
        facts.add("targets", targets(configuration.targets))
        if !adapter.savedModules.isEmpty {
            facts.add("trained whole", list(adapter.savedModules.map { "\($0.name) \($0.shape)" }))
        }
        if let task = adapter.task { facts.add("task", "\(task.words) (\(task.evidence))") }
        if let excluded = configuration.excluded { facts.add("excluded", targets(excluded)) }
        facts.add(
            "numbers", "\(grouped(adapter.parameterCount + adapter.thresholds.count)), \(byteText(found.byteCount))")
        if !found.notFinite.isEmpty { facts.add("not finite", notFinite(found.notFinite)) }
        addGates(adapter, to: &facts)
        facts.add("base", base(adapter))
        addTraining(adapter.training, to: &facts)
        for event in adapter.history { facts.add("history", history(event)) }
        return facts.lines + metadataLines(found.metadata) + (found.tensors?.lines ?? [])
    }

    private static func targets(_ targets: TargetSpecification) -> String {
        if case .names(let names) = targets, names.count > nameLimit { return "\(names.count) modules by name" }
        return targets.summary
    }

    /// Tensors with numbers that are none, and how many of each kind.
    private static func notFinite(_ tensors: [(tensor: String, figures: ValueStatistics)]) -> String {
        let all = tensors.reduce(into: (nan: 0, infinite: 0)) {
            $0.nan += $1.figures.nanCount
            $0.infinite += $1.figures.infiniteCount
        }
        let counts = [(all.nan, "NaN"), (all.infinite, "infinite")].filter { $0.0 > 0 }
        return counts.map { "\(grouped($0.0)) \($0.1)" }.joined(separator: ", ") + " in " + list(tensors.map(\.tensor))
    }

    private static func addGates(_ adapter: AdapterDirectory, to facts: inout Facts) {
        guard adapter.configuration.isGated else { return }
        let taus = adapter.thresholds.values.filter(\.isFinite)
        if let low = taus.min(), let high = taus.max() {
            facts.add("tau", "\(scientific(Double(low))) to \(scientific(Double(high)))")
        }
        guard let statistics = adapter.statistics else {
            facts.add("sparsity", "not measured")
            return
        }
        let values = statistics.modules.compactMap { adapter.configuration.sparsity(of: $0) }
        facts.add(
            "sparsity",
            "\(percent(adapter.configuration.meanSparsity(statistics.modules))) % in the mean, \(percent(values.min() ?? 0)) to "
                + "\(percent(values.max() ?? 0)) %, over \(statistics.source)")
        let silent = statistics.modules.count { $0.active == 0 && adapter.configuration.sparsity(of: $0) != nil }
        if silent > 0 { facts.add("never open", "the gates of \(silent) modules") }
    }

    private static func base(_ adapter: AdapterDirectory) -> String {
        let path = adapter.configuration.baseModelPath ?? "not named"
        guard let base = adapter.base else { return "\(path), no fingerprint" }
        return "\(path), \(base.entries.count) tensors, fingerprint \(base.digest)"
    }

    private static func addTraining(_ training: JSONValue?, to facts: inout Facts) {
        guard let training else {
            facts.add("training", "none recorded")
            return
        }
        func value(_ key: String) -> Double? { training[key]?.doubleValue }
        var parts: [String] = []
        if let steps = training["optimizer_steps"]?.integer(in: .steps) {
            parts.append("\(grouped(steps)) steps" + (files(training["data"]).map { " on \($0)" } ?? ""))
        }
        if let size = training["batch_size"]?.integer(in: .sizesOrNone) { parts.append("\(size) examples a pass") }
        if let rate = value("learning_rate") {
            let schedule = training["schedule"]?.stringValue.map { ", \($0)" } ?? ""
            parts.append("learning rate \(scientific(rate, 1))\(schedule)")
        }
        if let s = value("s"), let lambda = value("lambda") {
            parts.append("s \(scientific(s, 1)), lambda \(scientific(lambda, 1))")
        }
        if let seed = training["seed"]?.integer(in: .anything) { parts.append("seed \(seed)") }
        facts.add("training", parts.joined(separator: ", "))
        var losses: [String] = []
        if let loss = value("final_loss") { losses.append("\(fixed(loss, digits)) at the end") }
        if let loss = value("evaluation_loss") {
            losses.append(
                fixed(loss, digits) + (files(training["evaluation_data"]).map { " over \($0)" } ?? ""))
        }
        if !losses.isEmpty { facts.add("loss", losses.joined(separator: ", ")) }
    }

    /// Files of records as a run's record names them: one, or a list.
    private static func files(_ value: JSONValue?) -> String? {
        value?.stringValue ?? value?.arrayValue?.compactMap(\.stringValue).joined(separator: ", ")
    }

    private static func history(_ event: JSONValue) -> String {
        let name = event["event"]?.stringValue ?? "changed"
        let parent = event["parent"]?.stringValue.map { " from \($0)" } ?? ""
        let count = event["parent_modules"]?.integer(in: .sizesOrNone).map { " with \($0) modules" } ?? ""
        let keep = event["selection"]?["keep"]?.stringValue.map { ", --keep \($0)" } ?? ""
        return name + parent + count + keep
    }

    // MARK: Run

    private static func lines(_ run: RunInspection) -> [String] {
        var facts = Facts()
        facts.add("path", run.path)
        facts.add("state", "a training run that is not finished: it has no adapter yet")
        if let step = run.lastStep {
            facts.add(
                "last step",
                "\(step["step"]?.integer(in: .steps) ?? 0), epoch \(fixed(step["epoch"]?.doubleValue ?? 0, 2)), loss "
                    + fixed(step["loss"]?.doubleValue ?? .nan, digits)
                    + (step["sparsity"]?.doubleValue.map { ", sparsity \(percent($0)) %" } ?? ""))
        } else {
            facts.add("last step", "none logged")
        }
        if let evaluation = run.lastEvaluation {
            facts.add(
                "evaluation",
                "loss \(fixed(evaluation["loss"]?.doubleValue ?? .nan, digits)) after step "
                    + "\(evaluation["step"]?.integer(in: .steps) ?? 0)")
        }
        facts.add("checkpoints", run.checkpoints.isEmpty ? "none" : run.checkpoints.joined(separator: ", "))
        if !run.checkpoints.isEmpty { facts.add("to go on", "tspeft train with the same arguments and --resume") }
        return facts.lines
    }

    // MARK: Parts

    /// The number of modules, and how many of them each projection has: `30: 6 q_proj, 6 k_proj, ...`.
    static func modules(_ paths: [String]) -> String {
        var names: [String] = []
        var counts: NameTable<Int> = [:]
        for path in paths {
            let name = path.split(separator: ".").last.map(String.init) ?? path
            if counts[name] == nil { names.append(name) }
            counts[name, default: 0] += 1
        }
        return "\(paths.count): " + list(names.map { "\(counts[$0] ?? 0) \($0)" })
    }

    static func list(_ words: [String]) -> String {
        let shown = words.prefix(nameLimit).joined(separator: ", ")
        return words.count > nameLimit ? shown + " and \(words.count - nameLimit) more" : shown
    }

    /// A setting as a person would write it: `16`, `0.05`, `1e-05`.
    static func number(_ value: Double) -> String {
        if let whole = Int(exactly: value) { return grouped(whole) }
        return value.magnitude >= 1e-3 ? trimmed(fixed(value, 6)) : scientific(value)
    }

    private static func trimmed(_ text: String) -> String {
        var text = text
        while text.last == "0" { text.removeLast() }
        if text.last == "." { text.removeLast() }
        return text
    }

    /// Lines of a label and what it says.
    struct Facts {
        private var table = TextTable([.left, .left])

        /// Unicode scalars of a text at most: names in a file may have megabytes.
        private static let textLimit = 4096

        mutating func add(_ label: String, _ text: String) {
            table.add([label, text.beginning(Self.textLimit)])
        }

        var lines: [String] { table.lines }
    }
}
