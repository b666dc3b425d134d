import CheckpointIO
import TensorCore

/// A model's way to write a conversation as one text: the Jinja template of its tokenizer, run as written.
///
/// So every family of templates is read alike (ChatML, Llama, Mistral, Zephyr, Gemma, Phi), with whatever a model's
/// version of it does: default system messages, trimming, spaces. A template that fails, or runs into a bound, is
/// refused with the reason.
package struct ChatTemplate: Sendable {
    /// Bytes of a template at most: ten times the longest known.
    private static let byteLimit = 1 << 20

    private let statements: [JinjaStatement]
    private let blocks: [String: JinjaBlockSyntax]
    /// The tokenizer's special tokens by the names that templates know them by.
    private let specialTokens: NameTable<String>
    private let clock: ChatClock?
    /// The template that is meant for conversations with functions to call, where the model has one of its own.
    private var forTools: [ChatTemplate] = []
    /// Why that one cannot be used.
    private var toolProblem: TokenizationError?

    private var turns: ChatTurns
    /// Whether words are written only where they stand in parts, objects with `type` and `text`, as templates of models that
    /// take pictures have it.
    private var needsParts = false

    /// The mark by which the assistant's turn ends, such as `<|im_end|>`: the next speaker's where that is all there is;
    /// nil where the template writes none, so that nothing teaches a model to stop.
    package var endOfTurn: String? { turns.ownEnd ?? turns.nextEnd }

    /// The mark that the template itself writes behind every answer; nil for none.
    package var ownEndOfTurn: String? { turns.ownEnd }

    /// Reads a template. `specialTokens` are texts by the names that it calls them by, such as `bos_token`; those that
    /// are not there, or empty, are undefined to it. `clock` is the time that it may write; without one
    /// `strftime_now` is undefined too. `marks` are the texts by which it can end a turn, the end token aside.
    ///
    /// Throws `unsupportedTemplate` where the template cannot write a plain conversation.
    package init(
        jinja: String, specialTokens: NameTable<String>, marks: [String] = [], clock: ChatClock? = nil
    ) throws(TokenizationError) {
        guard jinja.utf8.count <= Self.byteLimit else {
            throw .unsupportedTemplate(
                problem: "it has \(jinja.utf8.count) bytes, more than the \(Self.byteLimit) that are read")
        }
        do throws(JinjaError) {
            (statements, blocks) = try JinjaParser.parse(jinja)
        } catch {
            throw error.reported
        }
        self.specialTokens = specialTokens.filter { !$0.value.isEmpty }
        self.clock = clock
        turns = ChatTurns(marks: marks + [specialTokens["eos_token"] ?? ""])
        let first = Result { () throws(TokenizationError) in try writesAnswers() }
        switch first {
        case .success(true): break
        case .failure(.conversationRefused): break  // It wants another form of conversation; the user's may have it.
        default:
            needsParts = true
            if (try? writesAnswers()) != true {
                if case .failure(let problem) = first { throw problem }
                throw .unsupportedTemplate(problem: "it does not write what the assistant says")
            }
        }
        var turns = turns
        turns.learn { try rendering(of: $0, ChatSettings(addsGenerationPrompt: $1)) }
        self.turns = turns
    }

    /// Reads a model's templates; nil without any. Where functions are to be called, the template `tool_use` is taken, if
    /// there is one, as transformers has it.
    ///
    /// A template that asks whether there is a clock is given the one of `SOURCE_DATE_EPOCH` alone, so that the same
    /// data are the same tokens on every day; one that takes it for granted is given this machine's.
    ///
    /// Throws `unsupportedTemplate` where the standard one, or else the only one, cannot be used.
    package init?(
        _ texts: ChatTemplateTexts, specialTokens: NameTable<String>, marks: [String] = []
    ) throws(TokenizationError) {
        guard let text = texts.standard ?? texts.named.first?.text else { return nil }
        self = try ChatTemplate(
            jinja: text, specialTokens: specialTokens, marks: marks, clock: Self.clock(for: text))
        guard let tools = texts.named.first(where: { $0.name == "tool_use" })?.text else { return }
        do throws(TokenizationError) {
            forTools = [
                try ChatTemplate(
                    jinja: tools, specialTokens: specialTokens, marks: marks, clock: Self.clock(for: tools))
            ]
        } catch {
            toolProblem = error
        }
    }

    private static func clock(for text: String) -> ChatClock? {
        if let clock = ChatClock.given { return clock }
        // One that is too long is refused without being taken apart.
        guard text.utf8.count <= byteLimit else { return nil }
        let asks = JinjaText(text).place(of: Array("strftime_now is ".unicodeScalars)) != nil
        return asks ? nil : ChatClock.now()
    }

    /// Reads a template that may write the tokens at the beginning and the end of a text; empty ones are undefined.
    ///
    /// Throws `unsupportedTemplate` where the template cannot write a plain conversation.
    package init(
        jinja: String, bosToken: String, eosToken: String, specialTokens marks: [String] = []
    ) throws(TokenizationError) {
        try self.init(
            jinja: jinja, specialTokens: ["bos_token": bosToken, "eos_token": eosToken], marks: marks)
    }

    /// The template in a Jinja text; nil where it cannot be used.
    package static func detect(_ jinja: String, bosToken: String = "", eosToken: String = "") -> ChatTemplate? {
        try? ChatTemplate(jinja: jinja, bosToken: bosToken, eosToken: eosToken)
    }

    /// The conversation in the template's form. What the assistant says is scored, and with it the token that ends its
    /// turn.
    ///
    /// Throws `conversationRefused` where the template does, such as for roles that do not alternate.
    package func render(
        _ messages: [ChatMessage], addingGenerationPrompt: Bool = false
    ) throws(TokenizationError) -> [ChatSegment] {
        try segments(
            of: ChatConversation(messages, ChatSettings(addsGenerationPrompt: addingGenerationPrompt)))
    }

    /// The conversation in the template's form, and whose words stand where in it.
    ///
    /// Throws `conversationRefused` where the template does, `unsupportedTemplate` where it fails.
    package func rendering(
        of messages: [ChatMessage], _ settings: ChatSettings = ChatSettings()
    ) throws(TokenizationError) -> ChatRendering {
        if let template = try toolTemplate(for: settings) { return try template.rendering(of: messages, settings) }
        do throws(JinjaError) {
            let variables = try variables(of: messages, settings)
            let (text, generations) = try JinjaRun.run(statements, blocks: blocks, variables: variables, clock: clock)
            return ChatRendering(
                pieces: text.pieces.map { ChatRendering.Piece(text: $0.text, message: $0.message) },
                generations: generations)
        } catch {
            throw error.reported
        }
    }

    /// Whether what the assistant says is written and counts as said.
    private func writesAnswers() throws(TokenizationError) -> Bool {
        let trial = [ChatMessage(role: "user", content: "a"), ChatMessage(role: "assistant", content: "b")]
        return try render(trial).contains { $0.isScored && $0.text.contains("b") }
    }

    /// A message as the template takes it.
    private func inForm(_ message: ChatMessage) -> ChatMessage {
        guard needsParts, message.members["content"] == nil else { return message }
        let part: JSONObject = ["type": .string("text"), "text": .string(message.content)]
        var message = message
        message.members["content"] = .array([.object(part)])
        return message
    }

    /// The template that is meant for a conversation with functions to call; nil where this one is.
    private func toolTemplate(for settings: ChatSettings) throws(TokenizationError) -> ChatTemplate? {
        guard !settings.tools.isNull else { return nil }
        if let toolProblem { throw toolProblem }
        return forTools.first
    }

    /// What the template is given.
    private func variables(
        of messages: [ChatMessage], _ settings: ChatSettings
    ) throws(JinjaError) -> NameTable<JinjaValue> {
        var variables: NameTable<JinjaValue> = specialTokens.mapValues { .plain($0) }
        for key in settings.variables.keys { variables[key] = try JinjaValue(settings.variables[key] ?? .null) }
        var values: [JinjaValue] = []
        for (number, message) in messages.enumerated() {
            values.append(try JinjaValue(inForm(message), number: number))
        }
        variables["messages"] = .list(try JinjaList(values))
        variables["add_generation_prompt"] = .bool(settings.addsGenerationPrompt)
        variables["tools"] = try JinjaValue(settings.tools)
        variables["documents"] = try JinjaValue(settings.documents)
        return variables
    }

    /// The conversation's text, cut where what the model is to say begins and ends.
    ///
    /// Throws `conversationRefused` where the template does, `unsupportedTemplate` where it fails.
    package func segments(of conversation: ChatConversation) throws(TokenizationError) -> [ChatSegment] {
        if let template = try toolTemplate(for: conversation.settings) {
            return try template.segments(of: conversation)
        }
        let rendering = try rendering(of: conversation.messages, conversation.settings)
        let said = turns.said(in: rendering) { !conversation.unscored.contains($0) }
        let scalars = rendering.text.unicodeScalars
        var segments: [ChatSegment] = []
        var (place, index) = (scalars.startIndex, 0)
        func append(upTo end: Int, isScored: Bool) {
            let next = scalars.index(place, offsetBy: end - index)
            if next > place { segments.append(ChatSegment(text: String(scalars[place..<next]), isScored: isScored)) }
            (place, index) = (next, end)
        }
        for range in said {
            append(upTo: range.lowerBound, isScored: false)
            append(upTo: range.upperBound, isScored: true)
        }
        append(upTo: scalars.count, isScored: false)
        return segments
    }
}
