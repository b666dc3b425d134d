import Compute
import Data
import Evaluation
import Models
import TensorCore
import Tokenization

/// What `generate` is asked to do.
public struct GenerateRequest: Sendable {
    /// The base checkpoint.
    public var basePath: String
    /// The adapter; nil for the bare base.
    public var adapterPath: String?
    /// The text to continue, or the user's message.
    public var prompt: String
    /// Whether the prompt is a user's message, to be put into the model's chat template.
    public var isChat = false
    /// A system message before it, with a chat template.
    public var system: String?
    /// The chat template that a user's message is put into, by its name in the model, or else a file; nil for the
    /// model's.
    public var chatTemplate: String?
    /// The most tokens to generate.
    public var limit = 128
    /// What logits are divided by before the softmax, 0 or more; 0 takes the likeliest token always. Nil for what the
    /// model's `generation_config.json` says, which is 0 unless its `do_sample` is true.
    public var temperature: Double?
    /// Only the likeliest so many tokens may be chosen, at least 1; nil for what that file says, or else all.
    public var topK: Int?
    /// Only the likeliest tokens that together have this probability may be chosen, above 0 and at most 1; nil for what
    /// that file says, or else 1.
    public var topP: Double?
    /// What the random choices follow from.
    public var seed: UInt64 = 0
    /// How to compute.
    public var compute = ComputeOptions()

    /// A request with the program's defaults.
    public init(basePath: String, adapterPath: String? = nil, prompt: String) {
        self.basePath = basePath
        self.adapterPath = adapterPath
        self.prompt = prompt
    }
}

/// What `generate` did.
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

/// Continues a text; `receive` is handed each piece as soon as its characters are whole, and returns false to stop.
/// Throws `CheckpointError.inputChanged` where the base was written to meanwhile.
package func generateText(
    _ request: GenerateRequest, receive: @escaping (String) throws -> Bool
) throws -> GenerateReport {
    if request.system != nil, !request.isChat {
        throw WorkflowError.conflict("a system message belongs to a chat")
    }
    if request.chatTemplate != nil, !request.isChat {
        throw WorkflowError.conflict("\(.chatTemplate) is for a chat")
    }
    // What the request says is wrong before anything is read.
    _ = try SamplingOptions(
        temperature: request.temperature ?? 0, topK: request.topK, topP: request.topP ?? 1, seed: request.seed)
    let session = try ModelSession(
        basePath: request.basePath, adapterPath: request.adapterPath, request.compute,
        chatTemplate: request.chatTemplate)
    let sampling = try session.generation.sampling(for: request)
    let encoder = SequenceEncoder(tokenizer: session.tokenizer)
    let prompt: [Int32]
    if request.isChat {
        prompt = encoder.encode(try chatPrompt(request, session)).tokens
    } else {
        prompt = encoder.encodeStart(request.prompt)
    }
    try session.checkVocabulary(of: prompt)
    var text = TokenStream(session.tokenizer)
    let start = ContinuousClock.now
    let result = try session.overUnchangedBase {
        try generate(
            session.model, prompt: prompt, limit: request.limit,
            endTokens: request.isChat ? session.chatEndTokens : session.endTokens, sampling
        ) { token in
            let piece = text.append(token)
            return piece.isEmpty ? true : try receive(piece)
        }
    }
    let rest = text.finish()
    if !rest.isEmpty { _ = try receive(rest) }
    let elapsed = ContinuousClock.now - start
    return GenerateReport(
        promptTokens: prompt.count, result: result,
        seconds: elapsed.inSeconds, notes: session.generation.notes(on: request, sampling))
}

/// The prompt as a user's message in the model's chat template, the system message before it.
private func chatPrompt(_ request: GenerateRequest, _ session: ModelSession) throws -> [ChatSegment] {
    guard let template = session.tokenizer.chatTemplate else {
        throw WorkflowError.unsuitableData(
            path: request.basePath,
            problem: session.tokenizer.chatTemplateProblem.map { Wording($0) }
                ?? "the model has no chat template; leave \(.chat) out")
    }
    let user = ChatMessage(role: "user", content: request.prompt)
    let bare = try? template.render([user], addingGenerationPrompt: true)
    guard let system = request.system else { return try template.render([user], addingGenerationPrompt: true) }
    let first = ChatMessage(role: "system", content: system)
    let prompt = try template.render([first, user], addingGenerationPrompt: true)
    guard system.isEmpty || prompt != bare else {
        throw WorkflowError.conflict("the model's chat template does not write a system message")
    }
    return prompt
}
