import CheckpointIO
import Foundation
import TestSupport
import Testing

/// `--chat-template` on the commands that write conversations.
@Suite struct ChatTemplateChoiceTests {
    private static let short = "{% for m in messages %}{{ m.role + ':' + m.content + '<|im_end|>' }}{% endfor %}"
    private static let endless = "{% for m in messages %}{{ m.role + ':' + m.content }}{% endfor %}"
    private static let record =
        #"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}"#

    /// A copy of the tiny model with two named templates, and a record.
    private func prepare(_ folder: String) throws {
        try FileManager.default.copyItem(atPath: fixture("tiny-qwen2"), toPath: folder + "/model")
        try FileManager.default.createDirectory(
            atPath: folder + "/model/additional_chat_templates", withIntermediateDirectories: true)
        try writeFile(folder + "/model/additional_chat_templates/short.jinja", Self.short)
        try writeFile(folder + "/model/additional_chat_templates/e\u{301}.jinja", Self.endless)
        try writeFile(folder + "/mine.jinja", Self.endless)
        try writeFile(folder + "/chat.jsonl", Self.record + "\n")
    }

    private func tokens(_ program: Program, _ base: String, _ template: String?) throws -> Int? {
        let outcome = try program.run(
            ["eval", base, "--data", "chat.jsonl", "--json"] + (template.map { ["--chat-template", $0] } ?? []))
        #expect(outcome.status == 0, "\(outcome.errors)")
        return try JSONValue.parse(Array(outcome.output.utf8))["tokens"]?.intValue
    }

    @Test func oneIsChosenByNameOrAsAFile() throws {
        try withTemporaryFolder { folder in
            try prepare(folder)
            let program = Program(folder: folder)
            #expect(try program.run(["convert", "model", "-o", "model.gguf"]).status == 0)
            for base in ["model", "model.gguf"] {
                let standard = try #require(try tokens(program, base, nil))
                #expect(try tokens(program, base, "default") == standard)
                let short = try #require(try tokens(program, base, "short"))
                #expect(short < standard)
                // The end tokens of both turns are missing.
                #expect(try tokens(program, base, "mine.jinja") == short - 2)
                // GGUF's keys are ASCII, which the conversion told.
                #expect(try tokens(program, base, base == "model" ? "e\u{301}" : "e_") == short - 2)
            }
        }
    }

    @Test func oneThatIsNeitherIsRefusedWithWhatThereIs() throws {
        try withTemporaryFolder { folder in
            try prepare(folder)
            let program = Program(folder: folder)
            // Another spelling is another name.
            for name in ["shrot", "\u{E9}"] {
                let outcome = try program.run(["eval", "model", "--data", "chat.jsonl", "--chat-template", name])
                #expect(outcome.status == 64 && outcome.errorLines.count == 1)
                #expect(
                    outcome.errors.contains(
                        "the model has no chat template '\(name)', and there is no such file; it has ")
                        && outcome.errors.contains("default, ") && outcome.errors.contains("short"))
            }
            try writeFile(folder + "/bad.jinja", "{% for %}")
            let bad = try program.run(["eval", "model", "--data", "chat.jsonl", "--chat-template", "bad.jinja"])
            #expect(bad.status == 65 && bad.errors.contains("the chat template 'bad.jinja'"), "\(bad.errors)")
            let plain = try program.run(["generate", "model", "-p", "a", "--chat-template", "short"])
            #expect(plain.status == 64 && plain.errors.contains("--chat-template needs --chat"))
        }
    }

    @Test func trainingAndGenerationWriteTheChosenOne() throws {
        try withTemporaryFolder { folder in
            try prepare(folder)
            let program = Program(folder: folder)
            #expect(
                try program.run(["inject", "model", "--method", "lora", "--rank", "2", "-o", "adapter"]).status == 0)
            let train = ["train", "model", "--adapter", "adapter", "--data", "chat.jsonl", "--steps", "1", "-o", "run"]
            let warning = "the model's chat template teaches no end"
            let whole = try program.run(train + ["--dry-run"])
            #expect(whole.status == 0 && !whole.errors.contains(warning), "\(whole.errors)")
            // What the run would warn of is told before it.
            let rehearsed = try program.run(train + ["--dry-run", "--chat-template", "mine.jinja"])
            #expect(rehearsed.status == 0 && rehearsed.errors.contains(warning), "\(rehearsed.errors)")
            let real = try program.run(train + ["--chat-template", "mine.jinja"])
            #expect(real.status == 0 && real.errors.contains(warning))
            let short = try program.run(
                ["generate", "model", "--chat", "-p", "Hi", "-n", "1", "--chat-template", "short"])
            let standard = try program.run(["generate", "model", "--chat", "-p", "Hi", "-n", "1"])
            func promptTokens(_ outcome: Program.Outcome) -> Int? {
                outcome.errorLines.last.flatMap { Int($0.prefix { $0.isNumber }) }
            }
            let (few, many) = (try #require(promptTokens(short)), try #require(promptTokens(standard)))
            #expect(few < many)
        }
    }
}
