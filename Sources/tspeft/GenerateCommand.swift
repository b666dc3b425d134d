import ArgumentParser
import TSPEFT

struct GenerateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Continue a text, with or without an adapter.",
        discussion: """
            Greedy unless --temperature is given or the model's generation_config.json asks for samples (do_sample), \
            whose temperature, top_k and top_p then hold. Its end tokens end a text too. Text goes to stdout as it comes.
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @Option(help: "The adapter; the bare base without.")
    var adapter: String?

    @Option(name: .shortAndLong, help: "The text to continue.")
    var prompt: String

    @Flag(help: "Put the prompt into the model's chat template as a user's message.")
    var chat = false

    @Option(help: "A system message, with --chat.")
    var system: String?

    @Option(
        help: ArgumentHelp(
            "Chat template, with --chat: by its name in the model (default, tool_use, ...) or as a file.",
            valueName: "name"))
    var chatTemplate: String?

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Most tokens to generate.", valueName: "tokens"))
    var maxTokens = 128

    @Option(help: "Divides the logits; 0 takes the likeliest token always. (default: the model's, else 0)")
    var temperature: Double?

    @Option(
        help: "Choose among the likeliest tokens that together have this probability. (default: the model's, else 1)")
    var topP: Double?

    @Option(help: "Choose among so many of the likeliest tokens.")
    var topK: Int?

    @Option(help: "Seed of the choices.")
    var seed: UInt64 = 0

    @Flag(help: "Do not repeat the prompt.")
    var noEcho = false

    @OptionGroup(title: "Computation")
    var compute: ComputeArguments

    @OptionGroup
    var config: ConfigArguments

    func validate() throws {
        try checkCounts([("--max-tokens", maxTokens), ("--top-k", topK)])
        if system != nil, !chat { throw ValidationError("--system needs --chat") }
        if chatTemplate != nil, !chat { throw ValidationError("--chat-template needs --chat") }
    }

    func run() throws {
        var request = GenerateRequest(basePath: base, adapterPath: adapter, prompt: prompt)
        request.isChat = chat
        request.system = system
        request.chatTemplate = chatTemplate
        request.limit = maxTokens
        request.temperature = temperature
        request.topK = topK
        request.topP = topP
        request.seed = seed
        request.compute = compute.options
        var isFirst = true
        let echo = !noEcho && !chat
        let report = try generate(request) { piece in
            if isFirst, echo { _ = Terminal.resultText(prompt) }
            isFirst = false
            return Terminal.resultText(piece)
        }
        Terminal.result()
        for note in report.notes { Terminal.note(note) }
        let count = report.tokens.count
        Terminal.note(
            "\(report.promptTokens) + \(count) tokens in \(durationText(report.seconds)), "
                + "\(fixed(Double(count) / max(report.seconds, 1e-9), 1)) generated tokens/s; "
                + "ended by \(report.end.rawValue)")
    }
}
