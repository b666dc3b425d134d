import Adapters
import ArgumentParser
import Workflows

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

    @Option(help: "Adapter method: \(AdapterKind.methodNames.joined(separator: ", ")).")
    var method = "ts-lora"

    @OptionGroup
    var preset: PresetArguments

    @Option(help: "Rank r of the update. (default: 32)")
    var rank: Int?

    @Option(help: "alpha; the update is scaled by alpha / rank. (default: 16)")
    var alpha: Double?

    @Option(help: "Dropout of the adapter's input in training. (default: 0)")
    var dropout: Double?

    @Flag(help: "Scale by alpha / sqrt(rank) (rsLoRA).")
    var rslora = false

    @Option(help: "Modules to adapt. (default: q_proj,k_proj,v_proj,up_proj,down_proj)")
    var targets: String?

    @Option(help: "Modules to leave out, as --targets.")
    var exclude: String?

    @Option(help: ArgumentHelp("Layers to adapt, such as 0-3,8.", valueName: "layers"))
    var layers: String?

    @Option(
        help: ArgumentHelp("Rank of some modules, such as 'down_proj=64'; may be repeated.", valueName: "name=rank"))
    var rankPattern: [String] = []

    @Option(
        help: ArgumentHelp("alpha of some modules, such as 'down_proj=32'; may be repeated.", valueName: "name=alpha"))
    var alphaPattern: [String] = []

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

    func run() throws {
        var request = InjectRequest(basePath: base, outputPath: output)
        if let settings = try preset.settings {
            request.rank = settings.rank
            request.alpha = settings.alpha
            request.dropout = settings.dropout
            request.targets = settings.targets.joined(separator: ",")
        }
        request.method = method
        request.rank = rank ?? request.rank
        request.alpha = alpha ?? request.alpha
        request.dropout = dropout ?? request.dropout
        request.usesRSLoRA = rslora
        request.targets = targets ?? request.targets
        request.excluded = exclude
        request.layers = try layers.map(parseLayers)
        request.rankPattern = try rankPattern.map { text in
            let (name, value) = try parsePair(text)
            guard let rank = Int(value) else { throw ValidationError("--rank-pattern \(text): \(value) is no rank") }
            return .init(name, rank)
        }
        request.alphaPattern = try alphaPattern.map { text in
            let (name, value) = try parsePair(text)
            guard let alpha = Double(value) else {
                throw ValidationError("--alpha-pattern \(text): \(value) is no number")
            }
            return .init(name, alpha)
        }
        request.modulesToSave = (modulesToSave ?? "").split(separator: ",").map(String.init)
        request.selectionPath = select
        request.seed = seed
        request.replaces = force
        let report = try injectAdapter(request)
        for line in SparsityReport.targets(report.match) { Terminal.result(line) }
        Terminal.result(
            "\(report.method) on \(report.match.modules.count) modules: \(grouped(report.parameterCount)) trainable "
                + "numbers, \(percent(Double(report.parameterCount) / Double(report.baseParameterCount), 2)) % of the "
                + "base's \(grouped(report.baseParameterCount)); written to \(output)")
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

/// Both sides of `name=value`.
private func parsePair(_ text: String) throws -> (name: String, value: String) {
    guard let mark = text.lastIndex(of: "="), mark != text.startIndex else {
        throw ValidationError("'\(text)' should have the form name=value")
    }
    return (String(text[..<mark]), String(text[text.index(after: mark)...]))
}
