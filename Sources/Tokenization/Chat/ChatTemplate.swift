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

/// A model's way to write a conversation as one text.
package struct ChatTemplate: Sendable {
    /// Reads a template. `bosToken` and `eosToken` are what it calls `bos_token` and `eos_token`.
    package init(jinja: String, bosToken: String, eosToken: String) throws(TokenizationError) {
        throw .unsupportedTemplate(problem: "none is read yet")
    }

    /// The template in a Jinja text; nil where it uses what this program does not know.
    package static func detect(_ jinja: String, bosToken: String = "", eosToken: String = "") -> ChatTemplate? {
        try? ChatTemplate(jinja: jinja, bosToken: bosToken, eosToken: eosToken)
    }

    /// The conversation in the template's form. Throws `conversationRefused` where the template does, such as for roles
    /// that do not alternate.
    package func render(
        _ messages: [ChatMessage], addingGenerationPrompt: Bool = false
    ) throws(TokenizationError) -> [ChatSegment] {
        []
    }
}
