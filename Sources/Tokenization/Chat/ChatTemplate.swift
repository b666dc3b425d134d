import CheckpointIO
import TensorCore

/// One turn of a conversation.
package struct ChatMessage: Sendable, Equatable {
    /// Who speaks: `system`, `user`, `assistant` or `tool`.
    package var role: String
    /// What is said.
    package var content: String
    /// What else the turn has, as the template sees it (`tool_calls`, `reasoning_content`, `name`); a member `content`
    /// stands in `content`'s place, such as a list of parts, or null where the turn has none.
    package var members: JSONObject

    /// A turn.
    package init(role: String, content: String, members: JSONObject = [:]) {
        self.role = role
        self.content = content
        self.members = members
    }
}

/// What a conversation is written with, beside its messages.
package struct ChatSettings: Sendable, Equatable {
    /// Whether the beginning of an answer is to follow.
    package var addsGenerationPrompt: Bool
    /// The schemas of the functions that the model may call; null without any.
    package var tools: JSONValue
    /// Texts to answer from; null without any.
    package var documents: JSONValue
    /// Whatever else the template asks for, such as `enable_thinking`.
    package var variables: JSONObject

    /// Settings.
    package init(
        addsGenerationPrompt: Bool = false, tools: JSONValue = .null, documents: JSONValue = .null,
        variables: JSONObject = [:]
    ) {
        self.addsGenerationPrompt = addsGenerationPrompt
        self.tools = tools
        self.documents = documents
        self.variables = variables
    }
}

/// A conversation that is to be written, and what of it counts.
package struct ChatConversation: Sendable, Equatable {
    /// The turns.
    package var messages: [ChatMessage]
    /// What it is written with beside them.
    package var settings: ChatSettings
    /// The numbers of those of the assistant's turns that are not scored.
    package var unscored: Set<Int>

    /// A conversation.
    package init(_ messages: [ChatMessage], _ settings: ChatSettings = ChatSettings(), unscored: Set<Int> = []) {
        self.messages = messages
        self.settings = settings
        self.unscored = unscored
    }
}

/// A conversation as its template writes it.
package struct ChatRendering: Sendable {
    /// A stretch of the text.
    package struct Piece: Sendable, Equatable {
        /// The stretch.
        package var text: String
        /// The number of the assistant's message whose words these are; nil for what the assistant did not say, and
        /// what the template itself wrote.
        package var message: Int?
    }

    /// The stretches, in order.
    package let pieces: [Piece]
    /// Where the text of each `{% generation %}` block stands, in scalars of `text`, in the order in which the blocks
    /// ended, as transformers has it: a block inside another, in a macro or in a caught text counts from where that
    /// begins. Empty for templates without such blocks.
    package let generations: [Range<Int>]

    /// The whole text.
    package var text: String { pieces.map(\.text).joined() }
}

/// A stretch of a conversation as the model sees it.
package struct ChatSegment: Sendable, Equatable {
    /// The text, with the template's special tokens spelled out.
    package var text: String
    /// Whether the model is to say it: what the assistant said, and the token that ends its turn.
    package var isScored: Bool

    /// A stretch.
    package init(text: String, isScored: Bool) {
        self.text = text
        self.isScored = isScored
    }
}

/// A model's way to write a conversation as one text: the Jinja template of its tokenizer, run as written.
///
/// So every family of templates is read alike (ChatML, Llama, Mistral, Zephyr, Gemma, Phi), with whatever a model's
/// version of it does: default system messages, trimming, spaces. A template that uses what the interpreter does not
/// know is refused with the reason.
package struct ChatTemplate: Sendable {
    /// Bytes of a template at most: ten times the longest known.
    private static let byteLimit = 1 << 20

    private let statements: [JinjaStatement]
    private let bosToken: String
    private let eosToken: String
    private var turns: ChatTurns

    /// The mark by which the assistant's turn ends, such as `<|im_end|>`: the next speaker's where that is all there is;
    /// nil where the template writes none, so that nothing teaches a model to stop.
    package var endOfTurn: String? { turns.ownEnd ?? turns.nextEnd }

    /// The mark that the template itself writes behind every answer; nil for none.
    package var ownEndOfTurn: String? { turns.ownEnd }

    /// Reads a template. `bosToken` and `eosToken` are what it calls `bos_token` and `eos_token`; empty leaves them
    /// undefined. `specialTokens` are the texts by which it can end a turn, the end token aside.
    ///
    /// Throws `unsupportedTemplate` where the template cannot write a plain conversation.
    package init(
        jinja: String, bosToken: String, eosToken: String, specialTokens: [String] = []
    ) throws(TokenizationError) {
        guard jinja.utf8.count <= Self.byteLimit else {
            throw .unsupportedTemplate(
                problem: "it has \(jinja.utf8.count) bytes, more than the \(Self.byteLimit) that are read")
        }
        statements = try JinjaParser.statements(of: jinja)
        self.bosToken = bosToken
        self.eosToken = eosToken
        turns = ChatTurns(marks: specialTokens + [eosToken])
        let trial = [ChatMessage(role: "user", content: "a"), ChatMessage(role: "assistant", content: "b")]
        do throws(TokenizationError) {
            guard try render(trial).contains(where: { $0.isScored && $0.text.contains("b") }) else {
                throw .unsupportedTemplate(problem: "it does not write what the assistant says")
            }
        } catch .conversationRefused {
            // It wants another form of conversation; the user's may have it.
        }
        var turns = turns
        turns.learn { try rendering(of: $0, ChatSettings(addsGenerationPrompt: $1)) }
        self.turns = turns
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
        var variables: [String: JinjaValue] = [:]
        for key in settings.variables.keys { variables[key] = JinjaValue(settings.variables[key] ?? .null) }
        variables["messages"] = .list(messages.enumerated().map { JinjaValue($1, number: $0) })
        variables["add_generation_prompt"] = .bool(settings.addsGenerationPrompt)
        variables["tools"] = JinjaValue(settings.tools)
        variables["documents"] = JinjaValue(settings.documents)
        if !bosToken.isEmpty { variables["bos_token"] = .plain(bosToken) }
        if !eosToken.isEmpty { variables["eos_token"] = .plain(eosToken) }
        let (text, generations) = try JinjaInterpreter.run(statements, variables: variables)
        return ChatRendering(
            pieces: text.pieces.map { ChatRendering.Piece(text: $0.text, message: $0.mark) }, generations: generations)
    }

    /// The conversation's text, cut where what the model is to say begins and ends.
    ///
    /// Throws `conversationRefused` where the template does, `unsupportedTemplate` where it fails.
    package func segments(of conversation: ChatConversation) throws(TokenizationError) -> [ChatSegment] {
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

extension JinjaValue {
    /// A JSON value as a template sees it; `mark` is the message whose words its texts are.
    init(_ value: JSONValue, mark: Int? = nil) {
        switch value {
        case .null: self = .none
        case .bool(let value): self = .bool(value)
        case .number(let text): self = value.integer(in: .anything).map { .integer($0) } ?? .plain(text)
        case .string(let text): self = .text(JinjaText(text, mark: mark))
        case .array(let values): self = .list(values.map { JinjaValue($0, mark: mark) })
        case .object(let object):
            self = .dictionary(object.keys.map { ($0, JinjaValue(object[$0] ?? .null, mark: mark)) })
        }
    }

    /// A message as a template sees it: what the assistant says is marked with the message's number.
    fileprivate init(_ message: ChatMessage, number: Int) {
        let mark = message.role == "assistant" ? number : nil
        var members: [(key: String, value: JinjaValue)] = [
            ("role", .plain(message.role)), ("content", .text(JinjaText(message.content, mark: mark))),
        ]
        for key in message.members.keys where key != "role" {
            let value = JinjaValue(message.members[key] ?? .null, mark: mark)
            if key == "content" {
                if case .none = value { members.remove(at: 1) } else { members[1].value = value }
            } else if case .none = value {
                continue
            } else {
                members.append((key, value))
            }
        }
        self = .dictionary(members)
    }
}
