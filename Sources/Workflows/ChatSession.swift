import Evaluation
import TensorCore
import Tokenization

/// A conversation with an open model, in its own chat template. Owns what was said.
package final class ChatSession {
    private let generator: TextGenerator
    private var messages: [ChatMessage] = []

    /// A conversation at its beginning; the generator's request is one for a chat.
    package init(_ generator: TextGenerator) {
        self.generator = generator
    }

    /// What came of the model's `generation_config.json`, a sentence each.
    package var notes: [String] { generator.notes }

    /// Messages so far, the system's not counted.
    package var count: Int { messages.count }

    /// Forgets what was said.
    package func clear() {
        messages = []
        generator.forget()
    }

    /// The model's answer to a message, which with it becomes a part of the conversation, also where it is stopped; an
    /// error leaves the conversation as it was. Tokens of it whose keys and values are known are not computed again.
    ///
    /// Throws `conversationTooLong` where the model has no position left for an answer.
    package func answer(
        _ text: String, shouldStop: () -> Bool = { false }, receive: (String) throws -> Bool
    ) throws -> GenerateReport {
        let asked = messages + [ChatMessage(role: "user", content: text)]
        let tokens = try generator.tokens(of: asked)
        guard tokens.count <= generator.positions else {
            throw WorkflowError.conversationTooLong(tokens: tokens.count, limit: generator.positions)
        }
        var answer = ""
        let report = try generator.answer(tokens, shouldStop: shouldStop) { piece in
            answer += piece
            return try receive(piece)
        }
        messages = asked + [ChatMessage(role: "assistant", content: answer)]
        return report
    }
}
