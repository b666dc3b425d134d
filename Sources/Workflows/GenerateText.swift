import Evaluation
import TensorCore

/// What `generate` is asked to do.
public struct GenerateRequest: Sendable {
    /// The base checkpoint.
    public var basePath: String
    /// The adapter; nil for the bare base.
    public var adapterPath: String?
    /// The texts to continue, each by itself, or the user's messages.
    public var prompts: [String]
    /// Pictures that each prompt speaks of, as files. Where a prompt does not say with `<image>` where they are, they
    /// come before it: by the model's chat template, whose user's message it is then, or else each on a line of its own.
    public var images: [String] = []
    /// Whether each prompt is a user's message, to be put into the model's chat template.
    public var isChat = false
    /// A system message before it, with a chat template.
    public var system: String?
    /// The chat template that a user's message is put into, by its name in the model, or else a file; nil for the
    /// model's.
    public var chatTemplate: String?
    /// The most tokens to generate for a prompt.
    public var limit = 128
    /// What logits are divided by before the softmax, 0 or more; 0 takes the likeliest token always. Nil for what the
    /// model's `generation_config.json` says, which is 0 unless its `do_sample` is true.
    public var temperature: Double?
    /// Only the likeliest so many tokens may be chosen, at least 1; nil for what that file says, or else all.
    public var topK: Int?
    /// Only the likeliest tokens that together have this probability may be chosen, above 0 and at most 1; nil for what
    /// that file says, or else 1.
    public var topP: Double?
    /// Only tokens that have at least this part of the likeliest one's probability may be chosen, 0 to 1; nil for what
    /// that file says, or else 0.
    public var minP: Double?
    /// What makes the tokens of the text so far less likely, above 0; nil for what that file says, or else 1, which
    /// changes nothing.
    public var repetitionPenalty: Double?
    /// Beams of a search for the likeliest text, as transformers' `num_beams`; 1 takes token by token. Nil for what
    /// that file says, or else 1.
    public var beams: Int?
    /// Texts that end a text where they begin; they are left out of it.
    public var stopStrings: [String] = []
    /// What the random choices for each prompt follow from.
    public var seed: UInt64 = 0
    /// How to compute.
    public var compute = ComputeOptions()

    /// A request with the program's defaults.
    public init(basePath: String, adapterPath: String? = nil, prompt: String) {
        self.basePath = basePath
        self.adapterPath = adapterPath
        prompts = [prompt]
    }

    /// The first prompt; setting it makes it the only one.
    public var prompt: String {
        get { prompts.first ?? "" }
        set { prompts = [newValue] }
    }

    /// Throws `conflict` and `badSamplingOption` for what cannot be, before anything is read.
    func check() throws {
        if system != nil, !isChat, images.isEmpty { throw WorkflowError.conflict("a system message belongs to a chat") }
        if chatTemplate != nil, !isChat, images.isEmpty {
            throw WorkflowError.conflict("\(.chatTemplate) is for a chat")
        }
        _ = try SamplingOptions(
            temperature: temperature ?? 0, topK: topK, topP: topP ?? 1, minP: minP ?? 0,
            repetitionPenalty: repetitionPenalty ?? 1, seed: seed)
        guard let beams else { return }
        _ = try BeamOptions(count: beams)
        if beams > 1, let temperature, temperature > 0 {
            throw WorkflowError.conflict(
                "\(.beams, beams) takes the likeliest text and draws nothing; leave the temperature out")
        }
    }
}

/// What `generate` did for one prompt.
public struct GenerateReport: Sendable {
    /// Tokens of the prompt.
    public var promptTokens: Int
    /// What was generated.
    package var result: GenerationResult
    /// Seconds of the prompt and the generation, loading left out.
    public var seconds: Double
    /// What came of the model's `generation_config.json`, a sentence each.
    public var notes: [String] = []
}

/// Continues the request's only prompt; `receive` is handed each piece as soon as its characters are whole, and returns
/// false to stop. Throws `CheckpointError.inputChanged` where the base was written to meanwhile.
package func generateText(
    _ request: GenerateRequest, receive: @escaping (String) throws -> Bool
) throws -> GenerateReport {
    guard request.prompts.count == 1 else {
        throw WorkflowError.badValue(.prompt, expected: "one text", found: "\(request.prompts.count)")
    }
    return try generateTexts(request) { try receive($1) }[0]
}

/// Continues each of the request's prompts by itself, in order, so that each gives what it gives alone; see
/// `generateText`. All are looked at before the first is continued.
///
/// - Parameter receive: is handed the number of the prompt, from 0, and a piece of its text; returns false to stop all.
package func generateTexts(
    _ request: GenerateRequest, receive: @escaping (Int, String) throws -> Bool
) throws -> [GenerateReport] {
    let generator = try TextGenerator(request)
    let prompts = try request.prompts.enumerated().map { number, prompt in
        try generator.tokens(of: prompt, number: request.prompts.count > 1 ? number + 1 : nil)
    }
    var reports: [GenerateReport] = []
    for (number, prompt) in prompts.enumerated() {
        generator.forget()
        reports.append(try generator.answer(prompt) { try receive(number, $0) })
        if reports[number].result.end == .stopped { break }
    }
    return reports
}
