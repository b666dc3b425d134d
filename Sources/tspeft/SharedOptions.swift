import ArgumentParser
import Data
import Workflows

/// How to compute; the same for every command that does.
struct ComputeArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Type of activations and frozen weights: auto, f32 or bf16.",
            discussion: "auto takes bf16 where the processor multiplies it in hardware, f32 elsewhere."))
    var dtype = ComputeOptions.Precision.auto

    @Option(help: "Threads; one a processor unless given.")
    var threads: Int?

    var options: ComputeOptions { ComputeOptions(precision: dtype, threadCount: threads) }
}

extension ComputeOptions.Precision: ExpressibleByArgument {}

/// How records become examples.
struct LoadingArguments: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Longest example in tokens; longer ones lose the beginning of their prompt.", valueName: "tokens"))
    var maxLength: Int?

    @Flag(help: "Score prompts too, not just what the model is to say.")
    var trainOnPrompt = false

    @Flag(help: "Do not expect an end-of-text token after completions.")
    var noEndOfText = false

    func validate() throws {
        if let maxLength, maxLength < 2 { throw ValidationError("--max-length must be at least 2, not \(maxLength)") }
    }

    var options: LoadingOptions {
        LoadingOptions(promptMasking: !trainOnPrompt, endOfText: !noEndOfText, maxLength: maxLength)
    }
}
