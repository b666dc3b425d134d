import Adapters
import ArgumentParser
import TSPEFT

struct InjectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inject",
        abstract: "Make a new adapter for a base checkpoint.",
        discussion: """
            The new adapter leaves the model's output as it was; train it with 'tspeft train'. BASE is a Hugging Face \
            directory or a GGUF file. Targets match as in peft: a name matches whole paths and their ends, anything \
            that is not a comma list of names is a regular expression over the whole path, all-linear means every \
            linear layer but the output head.
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @Option(name: .shortAndLong, help: "Where the adapter goes, a directory.")
    var output: String

    @Option(
        help: ArgumentHelp(
            "Take the adapter of this peft directory in place of a new one.",
            discussion: "With the gated form of its method as --method, it gets gates of tau = 0: the output stays "
                + "as it is, and 'tspeft train --only tau' learns the thresholds.",
            valueName: "directory"))
    var fromPeft: String?

    @Option(help: "Adapter method: \(AdapterKind.methodNames.joined(separator: ", ")). (default: ts-lora)")
    var method: String?

    @OptionGroup
    var preset: PresetArguments

    @Option(help: "Modules to adapt. (default: \(defaultTargets))")
    var targets: String?

    @Option(help: "Modules to leave out, as --targets.")
    var exclude: String?

    @Option(help: ArgumentHelp("Layers to adapt, such as 0-3,8.", valueName: "layers"))
    var layers: String?

    @Option(
        help: ArgumentHelp(
            "Layers to train and save whole beside the adapter: lm_head, embed_tokens or both.", valueName: "names"))
    var modulesToSave: String?

    @Option(help: ArgumentHelp("Adapt only the modules of this selection of rank-modules.", valueName: "file"))
    var select: String?

    @Option(help: "Seed of the initial values.")
    var seed: UInt64 = 0

    @Flag(help: "Replace an existing output.")
    var force = false

    @OptionGroup
    var rehearsal: DryRunArguments

    @OptionGroup(title: "The method's numbers")
    var numbers: MethodArguments

    /// The targets where none are given, and those of methods that have others.
    private static let defaultTargets: String = {
        let others = AdapterKind.allCases.compactMap { kind in
            kind.settings.defaultTargets.map { "\(kind) \($0.joined(separator: ","))" }
        }
        return ([Preset.csr.targets.joined(separator: ",")] + others).joined(separator: "; ")
    }()

    func run() throws {
        var request = InjectRequest(basePath: base, outputPath: output)
        request.method = method
        request.adapterPath = fromPeft
        request.preset = try preset.settings
        request.options = numbers.options
        request.targets = targets
        request.excluded = exclude
        request.layers = try layers.map(parseLayers)
        request.modulesToSave = (modulesToSave ?? "").split(separator: ",").map(String.init)
        request.selectionPath = select
        request.seed = seed
        request.replaces = force
        if rehearsal.dryRun { return try rehearsal.show(dryRun(of: request)) }
        let report = try TSPEFT.inject(request)
        for line in SparsityReport.targets(report.match) { Terminal.result(line) }
        Terminal.result(
            "\(report.method) on \(report.match.modules.count) modules: \(grouped(report.parameterCount)) trainable "
                + "numbers, \(percent(Double(report.parameterCount) / Double(report.baseParameterCount), 2)) % of the "
                + "base's \(grouped(report.baseParameterCount)); written to \(output)")
        if let problem = report.graphProblem {
            Terminal.result("other programs can train it; tspeft has no graph of this base: \(problem)")
        }
    }
}

/// The largest number of a layer that is thought of; a range is written out, so that there must be one.
private let layerLimit = 100_000

/// Layers from text such as `0-3,8`.
private func parseLayers(_ text: String) throws -> [Int] {
    try text.split(separator: ",", omittingEmptySubsequences: false).flatMap { part -> [Int] in
        let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        if let last = ends.last, let last, last > layerLimit {
            throw ValidationError("--layers \(text): no layer has a number above \(layerLimit), such as \(last)")
        }
        switch ends.count {
        case 1: if let layer = ends[0], layer >= 0 { return [layer] }
        case 2: if let first = ends[0], let last = ends[1], first >= 0, first <= last { return Array(first...last) }
        default: break
        }
        throw ValidationError("--layers \(text): '\(part)' is no layer or range of layers")
    }
}
