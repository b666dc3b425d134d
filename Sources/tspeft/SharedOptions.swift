import ArgumentParser
import Data
import TensorCore
import TSPEFT

/// How to compute; the same for every command that does.
struct ComputeArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Type of activations and frozen weights: auto (bf16 where the processor multiplies it in hardware, f32 "
                + "elsewhere), f32 or bf16. (default: auto)", valueName: "type"))
    var computeType: ComputeOptions.Precision?

    /// The older name.
    @Option(help: .hidden)
    var dtype: ComputeOptions.Precision?

    @Option(help: "Threads. (default: one a processor)")
    var threads: Int?

    @Option(
        help: ArgumentHelp(
            "Compute the base, whose type is not known, as this known one, such as qwen3: its tensors and fields must be "
                + "that one's. (default: the base's own)", valueName: "type"))
    var architecture: String?

    func validate() throws {
        if computeType != nil, dtype != nil {
            throw ValidationError("--dtype is another name of --compute-type; give one of them")
        }
    }

    var options: ComputeOptions {
        var options = ComputeOptions(precision: computeType ?? dtype ?? .auto, threadCount: threads)
        options.architecture = architecture
        options.note = { Terminal.sentence($0, mark: "note") }
        return options
    }
}

extension ComputeOptions.Precision: ExpressibleByArgument {
    /// Names of types as every command takes them: `bfloat16` is `bf16`.
    public init?(argument: String) { self.init(rawValue: TypeNames.canonical(argument).lowercased()) }
}

/// The largest count that an option may have: far beyond use, and small enough that no sum or product of two overflows.
private let countLimit = Int(Int32.max)

/// Throws `ValidationError` for a count that is given and below `least` or beyond the limit.
func checkCounts(_ counts: [(name: String, value: Int?)], least: Int = 1) throws {
    for (name, value) in counts {
        guard let value else { continue }
        if value < least { throw ValidationError("\(name) must be at least \(least), not \(value)") }
        if value > countLimit { throw ValidationError("\(name) must be at most \(countLimit), not \(value)") }
    }
}

/// The paper's settings, for the commands that take a part of them.
struct PresetArguments: ParsableArguments {
    @Option(
        help: """
            Settings of the paper: \(Preset.all.map(\.name).joined(separator: ", ")); single options win. \
            (default: none)
            """)
    var preset: String?

    /// The settings of the preset that is asked for; throws for a name that is none.
    var settings: Preset? {
        get throws { try preset.map { try Preset.named($0) } }
    }
}

/// Looking before writing; the same for every command that writes.
struct DryRunArguments: ParsableArguments {
    @Flag(
        help: ArgumentHelp(
            "Write nothing: check, and say what would be read, written and needed; sizes are exact but for those marked "
                + "'about'. What does not fit on the disk or in memory gives the exit code 74."))
    var dryRun = false

    /// Prints what was found, as JSON where that is asked for; throws where it does not fit.
    func show(_ run: DryRun, json: Bool = false) throws {
        for warning in run.warnings { Terminal.note("warning: \(OptionWords.text(warning))") }
        for line in json ? [run.json.text(indent: 2)] : run.lines { Terminal.result(line) }
        try run.check()
    }
}

/// How records become examples.
struct LoadingArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Longest example in tokens: longer texts are cut into parts, other records lose the beginning of their "
                + "prompt. (default: the model's positions; \(LoadingOptions.plainTextLength) for .txt files)",
            valueName: "tokens"))
    var maxLength: Int?

    @Flag(help: "Score prompts too, not just what the model is to say.")
    var trainOnPrompt = false

    @Flag(help: "Do not expect an end-of-text token after completions.")
    var noEndOfText = false

    @Option(
        help: ArgumentHelp(
            "Chat template of conversations, by its name in the model (default, tool_use, ...) or as a file. (default: "
                + "the model's)", valueName: "name"))
    var chatTemplate: String?

    @Option(
        help: ArgumentHelp(
            "Where records' pictures are, of a model that takes some. (default: the folder of their file)",
            valueName: "folder"), completion: .directory)
    var images: String?

    @Option(
        help: ArgumentHelp(
            "Names of a table's columns, comma-separated and in order, where its first line does not have them: "
                + "label,text; - for one that counts for nothing. (default: those of the first line)",
            valueName: "names"))
    var columns: String?

    func validate() throws {
        try checkCounts([("--max-length", maxLength)], least: 2)
    }

    var options: LoadingOptions {
        var options = LoadingOptions(promptMasking: !trainOnPrompt, endOfText: !noEndOfText, maxLength: maxLength)
        options.chatTemplate = chatTemplate
        options.imageFolder = images
        options.columns = columns?.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        return options
    }
}
