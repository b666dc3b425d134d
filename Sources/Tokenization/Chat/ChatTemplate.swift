/// One turn of a conversation.
package struct ChatMessage: Sendable, Equatable {
    /// Who speaks: `system`, `user` or `assistant`.
    package var role: String
    /// What is said.
    package var content: String

    /// A turn.
    package init(role: String, content: String) {
        self.role = role
        self.content = content
    }
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

    /// Reads a template. `bosToken` and `eosToken` are what it calls `bos_token` and `eos_token`; empty leaves them
    /// undefined.
    ///
    /// Throws `unsupportedTemplate` where the template cannot write a plain conversation.
    package init(jinja: String, bosToken: String, eosToken: String) throws(TokenizationError) {
        guard jinja.utf8.count <= Self.byteLimit else {
            throw .unsupportedTemplate(
                problem: "it has \(jinja.utf8.count) bytes, more than the \(Self.byteLimit) that are read")
        }
        statements = try JinjaParser.statements(of: jinja)
        self.bosToken = bosToken
        self.eosToken = eosToken
        let trial = [ChatMessage(role: "user", content: "a"), ChatMessage(role: "assistant", content: "b")]
        do throws(TokenizationError) {
            guard try render(trial).contains(where: { $0.isScored && $0.text.contains("b") }) else {
                throw .unsupportedTemplate(problem: "it does not write what the assistant says")
            }
        } catch .conversationRefused {
            // It wants another form of conversation; the user's may have it.
        }
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
        var variables: [String: JinjaValue] = [
            "messages": .list(
                messages.enumerated().map { number, message in
                    let content = JinjaText(message.content, mark: message.role == "assistant" ? number : nil)
                    return .dictionary([("role", .plain(message.role)), ("content", .text(content))])
                }),
            "add_generation_prompt": .bool(addingGenerationPrompt),
            "tools": .none,
            "documents": .none,
        ]
        if !bosToken.isEmpty { variables["bos_token"] = .plain(bosToken) }
        if !eosToken.isEmpty { variables["eos_token"] = .plain(eosToken) }
        let text = try JinjaInterpreter.run(statements, variables: variables)
        return segments(of: text)
    }

    /// The stretches of a finished conversation. What stands between words of one turn of the assistant, such as a mark
    /// between thoughts and answer, is the assistant's too, and so is the token after its turn.
    private func segments(of text: JinjaText) -> [ChatSegment] {
        var segments: [ChatSegment] = []
        /// The message whose words the last segment is.
        var turn: Int?
        for (index, piece) in text.pieces.enumerated() {
            let next = index + 1 < text.pieces.count ? text.pieces[index + 1].mark : nil
            if let turn, piece.mark == turn || piece.mark == nil && next == turn {
                segments[segments.count - 1].text += piece.text
            } else if turn == nil || piece.mark != nil {
                segments.append(ChatSegment(text: piece.text, isScored: piece.mark != nil))
                turn = piece.mark
            } else {
                let end = endOfTurn(in: piece.text)
                segments[segments.count - 1].text += String(piece.text.unicodeScalars.prefix(end))
                segments.append(
                    ChatSegment(text: String(piece.text.unicodeScalars.dropFirst(end)), isScored: false))
                turn = nil
            }
        }
        return segments.filter { !$0.text.isEmpty }
    }

    /// The length in scalars of the end token at the beginning of a text; 0 without one. That is the model's own end
    /// token, perhaps after spaces, or else what looks like `<...>` without white space inside.
    private func endOfTurn(in text: String) -> Int {
        let scalars = Array(text.unicodeScalars)
        let end = Array(eosToken.unicodeScalars)
        let start = scalars.firstIndex { $0 != " " } ?? scalars.count
        if !end.isEmpty, scalars[start...].starts(with: end) { return start + end.count }
        guard scalars.first == "<" else { return 0 }
        let stop = scalars.dropFirst().firstIndex { $0 == ">" || $0 == "<" || JinjaText.isSpace($0) }
        guard let stop, scalars[stop] == ">" else { return 0 }
        return stop + 1
    }
}
