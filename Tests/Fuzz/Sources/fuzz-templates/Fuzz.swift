import CheckpointIO
import FuzzSupport
import Tokenization

/// The bytes as a chat template, run over a conversation with a call of a function.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let bytes = UnsafeRawBufferPointer(start: start, count: count)
            reading {
                // What is written first is what a template must write at least.
                let template = try ChatTemplate(
                    jinja: "{{ messages[1].content }}" + String(decoding: bytes, as: UTF8.self),
                    specialTokens: ["bos_token": "<s>", "eos_token": "</s>"],
                    clock: ChatClock(year: 2026, month: 3, day: 5))
                let rendering = try template.rendering(of: Fuzz.messages, Fuzz.settings)
                let count = rendering.text.unicodeScalars.count
                precondition(
                    rendering.generations.allSatisfy { $0.upperBound >= $0.lowerBound && $0.lowerBound <= count })
            }
            return 0
        }
    }

    private static let messages = [
        ChatMessage(role: "user", content: "What is 2 < 3?\n"),
        ChatMessage(
            role: "assistant", content: "Héllo",
            members: [
                "tool_calls": .array([.object(["name": .string("f"), "arguments": .object(["x": .number("2.5")])])])
            ]),
    ]

    private static let settings = ChatSettings(
        addsGenerationPrompt: true, tools: .array([.object(["name": .string("f"), "n": .integer(7)])]),
        variables: [
            "l": .array([.integer(3), .integer(1)]), "d": .object(["b": .integer(1), "a": .string("x")]),
            "s": .string("Hello, World"), "n": .integer(7), "x": .number("2.5"),
        ])
}
