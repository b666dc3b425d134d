import CheckpointIO

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
