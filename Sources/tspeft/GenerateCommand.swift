import ArgumentParser
import CheckpointIO
import Data
@preconcurrency import Glibc
import TSPEFT

struct GenerateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Continue texts or chat, with or without an adapter.",
        discussion: """
            tspeft generate BASE --adapter tuned --chat -p "What do bees make?"
            tspeft generate BASE --adapter tuned --interactive
            tspeft generate LLAVA --image cat.jpg -p "What is in the picture?"

            Greedy unless --temperature is given or the model's generation_config.json asks for samples (do_sample); \
            what that file says of temperature, top_k, top_p, min_p, repetition_penalty and num_beams holds where \
            options do not say otherwise. Its end tokens end a text too. Text goes to stdout as it comes.
            """)

    @Argument(help: "The base checkpoint: a Hugging Face directory or a GGUF file.")
    var base: String

    @OptionGroup(title: "What to continue")
    var prompts: PromptArguments

    @OptionGroup(title: "How the next token is chosen")
    var choice: ChoiceArguments

    @OptionGroup(title: "Output")
    var output: GeneratedOutputArguments

    @OptionGroup(title: "Computation")
    var compute: ComputeArguments

    @OptionGroup
    var config: ConfigArguments

    func run() throws {
        var request = GenerateRequest(basePath: base, adapterPath: prompts.adapter, prompt: "")
        request.isChat = prompts.chat || prompts.interactive
        request.system = prompts.system
        request.chatTemplate = prompts.chatTemplate
        request.images = prompts.image
        request.limit = choice.maxTokens ?? (prompts.interactive ? 1024 : 128)
        choice.set(&request)
        request.compute = compute.options
        if prompts.interactive { return try InteractiveChat(request, printsJSON: output.json).run() }
        let prompts = try self.prompts.all()
        request.prompts = prompts.map(\.text)
        try continueTexts(request, prompts)
    }

    private func continueTexts(_ request: GenerateRequest, _ prompts: [PromptFile.Prompt]) throws {
        let generator = try TextGenerator(request)
        let tokens = try prompts.enumerated().map { number, prompt in
            try generator.tokens(of: prompt.text, number: prompts.count > 1 ? number + 1 : nil)
        }
        var reports: [GenerateReport] = []
        for (index, prompt) in prompts.enumerated() {
            let place = AnswerPlace(number: index + 1, count: prompts.count, prompt: prompt)
            guard let report = try continueText(tokens[index], place, generator) else { break }
            reports.append(report)
        }
        for note in generator.notes { Terminal.sentence(note) }
        Terminal.note(GenerateReport.summary(reports))
    }

    /// Continues one prompt; nil where nobody reads the text any more.
    private func continueText(
        _ tokens: [Int32], _ place: AnswerPlace, _ generator: TextGenerator
    ) throws -> GenerateReport? {
        if !output.json, place.count > 1 { Terminal.result(place.heading) }
        if !output.json, !output.noEcho, !prompts.chat { _ = Terminal.resultText(place.prompt.text) }
        var (text, isRead) = ("", true)
        generator.forget()
        let progress = SearchProgress(beams: generator.beamCount)
        let report = try generator.answer(tokens, shouldStop: progress.show) { piece in
            progress.end()
            if output.json { text += piece } else { isRead = Terminal.generated(piece) }
            return isRead
        }
        progress.end()
        // JSON has escaped what a terminal would obey, and is no JSON any more where more is.
        isRead = Terminal.resultText(output.json ? report.json(text, place).text() + "\n" : "\n") && isRead
        return isRead ? report : nil
    }
}

/// What is continued: texts, or what is said in a chat.
struct PromptArguments: ParsableArguments {
    @Option(
        name: .shortAndLong, parsing: .unconditionalSingleValue,
        help: ArgumentHelp(
            "A text to continue; may be repeated, - for all of standard input. (default: none)", valueName: "text"))
    var prompt: [String] = []

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
            "A file whose whole text is a prompt, but for the end of its last line; may be repeated. (default: none)",
            valueName: "file"))
    var promptFile: [String] = []

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
            "A file with a prompt a line, or with JSON lines {\"prompt\": ..., \"id\": ...}; may be repeated. Given "
                + "prompts come first, then files. (default: none)", valueName: "file"))
    var prompts: [String] = []

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
            "A picture (JPEG, PNG or WebP) that each prompt speaks of, for a model that takes pictures; may be repeated. "
                + "It comes where the prompt says <image>, or else where the chat template puts it. (default: none)",
            valueName: "file"), completion: .file())
    var image: [String] = []

    @Flag(help: "Put each prompt into the model's chat template as a user's message.")
    var chat = false

    @Flag(
        name: [.customShort("i"), .long],
        help:
            "Chat: answer the lines of standard input, with all said before in mind. /clear, /exit; Ctrl-C stops an answer."
    )
    var interactive = false

    @Option(
        help: ArgumentHelp(
            "A system message, with --chat or --interactive. (default: the template's)", valueName: "text"))
    var system: String?

    @Option(
        help: ArgumentHelp(
            "Chat template, with --chat or --interactive: by its name in the model (default, tool_use, ...) or as a "
                + "file. (default: the model's)", valueName: "name"))
    var chatTemplate: String?

    @Option(help: "The adapter. (default: the bare base)")
    var adapter: String?

    func validate() throws {
        if interactive, !image.isEmpty {
            throw ValidationError("--interactive reads texts alone; leave --image out, or give a text with -p")
        }
        if chatTemplate != nil, !chat, !interactive, image.isEmpty {
            throw ValidationError("--chat-template needs --chat or --interactive")
        }
        if system != nil, !chat, !interactive, image.isEmpty {
            throw ValidationError("--system needs --chat or --interactive")
        }
        let given = prompt.count + promptFile.count + prompts.count
        if interactive, given > 0 {
            throw ValidationError("--interactive reads what you say from standard input; leave the prompts out")
        }
        if !interactive, given == 0 {
            throw ValidationError(
                "nothing to continue: give a text with -p, a file with --prompt-file, or --interactive")
        }
        if (prompt + promptFile + prompts).count(where: { $0 == "-" }) > 1 {
            throw ValidationError("standard input can be read once only")
        }
    }

    /// All prompts, read.
    func all() throws -> [PromptFile.Prompt] {
        var all: [PromptFile.Prompt] = []
        for text in prompt { all.append(text == "-" ? try PromptFile.whole(text) : PromptFile.Prompt(text)) }
        for path in promptFile { all.append(try PromptFile.whole(path)) }
        for path in prompts { all += try PromptFile.lines(path) }
        return all
    }
}

/// How tokens are chosen, and when to stop.
struct ChoiceArguments: ParsableArguments {
    @Option(
        name: [.customShort("n"), .long],
        help: ArgumentHelp(
            "Most tokens to generate. (default: 128, and 1024 for each answer of --interactive)", valueName: "tokens"))
    var maxTokens: Int?

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
            "End a text where this begins, and leave it out; may be repeated. (default: the model's end tokens alone)",
            valueName: "text"))
    var stop: [String] = []

    @Option(help: "Divides the logits; 0 takes the likeliest token always. (default: the model's, else 0)")
    var temperature: Double?

    @Option(
        help: "Choose among the likeliest tokens that together have this probability. (default: the model's, else 1)")
    var topP: Double?

    @Option(help: "Choose among so many of the likeliest tokens. (default: the model's, else all)")
    var topK: Int?

    @Option(
        help:
            "Choose among tokens at least so likely, as a part of the likeliest one's probability. (default: the model's, else 0)"
    )
    var minP: Double?

    @Option(
        help: ArgumentHelp(
            "Above 1, makes tokens that the text already has less likely. (default: the model's, else 1)",
            valueName: "factor"))
    var repetitionPenalty: Double?

    @Option(
        help: ArgumentHelp(
            "Search for the likeliest text with so many beams, as transformers' num_beams. (default: the model's, else 1)",
            valueName: "count"))
    var beams: Int?

    @Option(help: "Seed of the choices, the same for each prompt.")
    var seed: UInt64 = 0

    func validate() throws {
        try checkCounts([("--max-tokens", maxTokens), ("--top-k", topK), ("--beams", beams)])
        if stop.contains("") { throw ValidationError("--stop needs a text") }
    }

    /// Takes over what is given.
    func set(_ request: inout GenerateRequest) {
        request.stopStrings = stop
        request.temperature = temperature
        request.topK = topK
        request.topP = topP
        request.minP = minP
        request.repetitionPenalty = repetitionPenalty
        request.beams = beams
        request.seed = seed
    }
}

/// What is printed of generated texts.
struct GeneratedOutputArguments: ParsableArguments {
    @Flag(help: "Do not repeat the prompt before the text.")
    var noEcho = false

    @Flag(help: "Print one JSON object a prompt, each on a line: text, tokens, how it ended.")
    var json = false
}

/// A line of progress while beams are searched, whose text comes at the end only.
final class SearchProgress {
    private let beams: Int
    private var tokens = 0

    /// - Parameter beams: 1 for no search, which shows nothing.
    init(beams: Int) {
        self.beams = beams
    }

    /// Counts a token. Returns false: nothing is to stop.
    func show() -> Bool {
        if beams > 1 { Terminal.progress("searching with \(beams) beams: \(tokens) tokens") }
        tokens += 1
        return false
    }

    /// Clears the line.
    func end() {
        if beams > 1 { Terminal.endProgress() }
    }
}
