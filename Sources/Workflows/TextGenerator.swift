import Data
import Evaluation
import Models
import TensorCore
import Tokenization

/// A model that is open, and continues prompts or conversations as a request says. Keeps the keys and values of the last
/// one, so that the next turn of a conversation computes only what is new.
package final class TextGenerator {
    private let request: GenerateRequest
    private let session: ModelSession
    private let encoder: SequenceEncoder
    private let generator: Generator
    private var settings: GenerationSettings
    /// The pictures that each prompt speaks of.
    private let images: [ExampleImage]
    private let imageOptions: ImageOptions?
    /// What came of the model's `generation_config.json`, a sentence each.
    package let notes: [String]

    /// Opens the model, and checks what of the request can be checked without a prompt.
    package init(_ request: GenerateRequest) throws {
        try request.check()
        self.request = request
        session = try ModelSession(
            basePath: request.basePath, adapterPath: request.adapterPath, request.compute,
            chatTemplate: request.chatTemplate)
        encoder = SequenceEncoder(tokenizer: session.tokenizer)
        generator = Generator(session.model)
        let imageOptions = session.imageOptions(folder: nil)
        self.imageOptions = imageOptions
        if imageOptions == nil, !request.images.isEmpty {
            throw WorkflowError.unsuitableData(path: request.basePath, problem: "the model takes no pictures")
        }
        images = try request.images.map { path in
            guard let imageOptions else { preconditionFailure("a model without pictures was refused") }
            return try imageOptions.image(path)
        }
        settings = GenerationSettings(
            limit: request.limit, endTokens: request.isChat ? session.chatEndTokens : session.endTokens)
        settings.sampling = try session.generation.sampling(for: request)
        settings.beams = try session.generation.beams(request.beams, sampling: settings.sampling)
        notes = session.generation.notes(on: request, settings)
        endBySpecialTokens()
        if settings.beams != nil { endBeamsByTexts() }
        if request.isChat { try checkTemplate() }
    }

    /// A stop string that is a special token never shows in the text, but ends it all the same.
    private func endBySpecialTokens() {
        for stop in request.stopStrings {
            let token = session.tokenizer.encode(stop)
            if token.count == 1, session.tokenizer.isSpecial(token[0]) { settings.endTokens.insert(token[0]) }
        }
    }

    private func endBeamsByTexts() {
        guard !request.stopStrings.isEmpty else { return }
        let (tokenizer, stops) = (session.tokenizer, request.stopStrings)
        settings.isEnded = { tokens in
            var (text, stopping) = (TokenStream(tokenizer), StopStrings(stops))
            for token in tokens { _ = stopping.append(text.append(token)) }
            return stopping.isEnded
        }
    }

    // MARK: Prompts

    /// The tokens of a prompt, checked.
    ///
    /// - Parameter number: what to call it in messages; nil where there is only one.
    package func tokens(of prompt: String, number: Int? = nil) throws -> [Int32] {
        let tokens = try plainTokens(of: prompt)
        let limit = session.model.configuration.positionLimit
        guard !tokens.isEmpty, tokens.count <= limit else {
            let error = EvaluationError.promptLength(tokens: tokens.count, limit: limit)
            guard let number else { throw error }
            throw WorkflowError.unsuitableData(path: "prompt \(number)", problem: Wording(error))
        }
        try session.checkVocabulary(of: tokens)
        return tokens
    }

    /// The tokens of a prompt with its pictures.
    private func plainTokens(of prompt: String) throws -> [Int32] {
        let isPlaced = images.isEmpty || prompt.contains(ImageOptions.mark)
        let marked = isPlaced ? prompt : images.map { _ in ImageOptions.mark + "\n" }.joined() + prompt
        if request.isChat || !isPlaced && session.tokenizer.chatTemplate != nil {
            return try tokens(of: [ChatMessage(role: "user", content: marked)])
        }
        return try widened(encoder.encodeStart(marked))
    }

    /// Tokens with as many of a picture's in the place of each as a picture has. Throws `unsuitableData` where there are
    /// not as many places as pictures.
    private func widened(_ tokens: [Int32]) throws(WorkflowError) -> [Int32] {
        guard let imageOptions else { return tokens }
        let count = tokens.count { $0 == imageOptions.token }
        guard count == images.count else {
            throw .unsuitableData(
                path: request.basePath,
                problem: "the prompt has \(count) '\(ImageOptions.mark)' for \(images.count) pictures")
        }
        return imageOptions.expanded(tokens, tokens).tokens
    }

    /// The tokens of a conversation, the request's system message before it, up to where the model is to answer.
    package func tokens(of messages: [ChatMessage]) throws -> [Int32] {
        let all = (request.system.map { [ChatMessage(role: "system", content: $0)] } ?? []) + messages
        let template = try template()
        let placed = imageOptions == nil ? all : all.map(ConversationWriter(template).placingImages)
        let tokens = try widened(encoder.encode(try template.render(placed, addingGenerationPrompt: true)).tokens)
        try session.checkVocabulary(of: tokens)
        return tokens
    }

    /// Beams that are searched with; 1 for none.
    package var beamCount: Int { settings.beams?.count ?? 1 }

    /// Positions that the model has.
    package var positions: Int { session.model.configuration.positionLimit }

    private func template() throws(WorkflowError) -> ChatTemplate {
        guard let template = session.tokenizer.chatTemplate else {
            throw .unsuitableData(
                path: request.basePath,
                problem: session.tokenizer.chatTemplateProblem.map { Wording($0) }
                    ?? "the model has no chat template and cannot chat; texts can be given without \(.chat)")
        }
        return template
    }

    /// Throws where there is no chat template, or one that passes over the system message.
    private func checkTemplate() throws {
        let template = try template()
        guard let system = request.system, !system.isEmpty else { return }
        // A chat has no prompt yet, and templates may refuse an empty message.
        let user = ChatMessage(role: "user", content: request.prompt.isEmpty ? "Hello" : request.prompt)
        let whole = try template.render([ChatMessage(role: "system", content: system), user])
        if let bare = try? template.render([user]), bare == whole {
            throw WorkflowError.conflict("the model's chat template does not write a system message")
        }
    }

    // MARK: Answers

    /// Forgets keys and values, so that the next prompt gives exactly what it gives alone.
    package func forget() {
        generator.reset()
    }

    /// Continues a prompt's tokens. Throws `CheckpointError.inputChanged` where the base was written to meanwhile.
    ///
    /// - Parameters:
    ///   - shouldStop: is asked before each token; true ends the text there.
    ///   - receive: is handed each piece as soon as its characters are whole and it is no part of a stop string; returns
    ///   false to stop.
    package func answer(
        _ prompt: [Int32], shouldStop: () -> Bool = { false }, receive: (String) throws -> Bool
    ) throws -> GenerateReport {
        try session.checkVocabulary(of: prompt)
        var text = TokenStream(session.tokenizer)
        var stops = StopStrings(request.stopStrings)
        let start = ContinuousClock.now
        func hand(_ piece: String) throws -> Bool {
            let clear = stops.append(piece)
            let goesOn = clear.isEmpty ? true : try receive(clear)
            return goesOn && !stops.isEnded
        }
        var result = try session.overUnchangedBase {
            try generator.run(prompt, settings, images: images, shouldStop: shouldStop) { try hand(text.append($0)) }
        }
        if !stops.isEnded { _ = try hand(text.finish()) }
        let rest = stops.finish()
        if !rest.isEmpty { _ = try receive(rest) }
        if stops.isEnded { result.end = .stopString }
        return GenerateReport(
            promptTokens: prompt.count, result: result, seconds: (ContinuousClock.now - start).inSeconds, notes: notes)
    }
}
