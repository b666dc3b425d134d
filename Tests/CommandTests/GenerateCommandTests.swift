import CheckpointIO
import Foundation
import TestSupport
import Testing

@testable import tspeft

/// `generate`: where prompts come from, and what is printed.
@Suite(.serialized) struct GenerateCommandTests {
    private static let options = "--dtype f32 --threads 1"
    private var model: String { "generate \(TinyRun.base) -n 6 \(Self.options)" }

    private func run(_ line: String, in folder: String) throws -> Program.Outcome {
        try Program(folder: folder).shell(line)
    }

    private func output(_ line: String, in folder: String) throws -> String {
        let outcome = try run(line, in: folder)
        #expect(outcome.status == 0, "\(line): \(outcome.errors)")
        return outcome.output
    }

    @Test func promptsComeFromOptionsFilesAndStandardInput() throws {
        try withTemporaryFolder { folder in
            try writeFile(folder + "/one.txt", "The film is\n")
            try writeFile(folder + "/lines.txt", "The film is\n\nA quiet\n")
            try writeFile(folder + "/lines.jsonl", #"{"prompt": "The film is", "id": "first"}"# + "\n")
            let plain = try output("$T \(model) -p 'The film is'", in: folder)
            #expect(plain.hasPrefix("The film is") && plain.hasSuffix("\n") && plain.count > "The film is\n".count)
            for line in [
                "printf 'The film is\\n' | $T \(model) -p -", "$T \(model) --prompt-file one.txt",
                "$T \(model) --prompt-file - < one.txt", "$T \(model) --prompts lines.jsonl",
            ] {
                #expect(try output(line, in: folder) == plain, "\(line)")
            }
            let quiet = try output("$T \(model) -p 'A quiet'", in: folder)
            let several = "==> 1 of 3 <==\n\(plain)\n==> 2 of 3 <==\n\(plain)\n==> 3 of 3 <==\n\(quiet)"
            #expect(try output("$T \(model) -p 'The film is' --prompts lines.txt", in: folder) == several)
            #expect(
                try output("$T \(model) -p '-x' -p -y --no-echo", in: folder).components(separatedBy: "==> ").count == 3
            )
        }
    }

    @Test func jsonIsALineAPrompt() throws {
        try withTemporaryFolder { folder in
            try writeFile(folder + "/lines.jsonl", #"{"prompt": "A quiet", "id": 7}"# + "\n")
            let plain = try output("$T \(model) -p 'The film is'", in: folder)
            let lines = try output("$T \(model) -p 'The film is' --prompts lines.jsonl --json", in: folder)
                .split(separator: "\n")
            try #require(lines.count == 2)
            let (first, second) = (try JSONValue.parse(Array(lines[0].utf8)), try JSONValue.parse(Array(lines[1].utf8)))
            #expect(first["prompt"] == .string("The film is") && first["number"] == .integer(1) && first["id"] == nil)
            #expect("The film is" + first["text"]!.stringValue! + "\n" == plain)
            #expect(first["tokens"]?.arrayValue?.count == 6 && first["generated_tokens"] == .integer(6))
            #expect(first["end"] == .string("token limit"))
            #expect(second["id"] == .integer(7) && second["number"] == .integer(2))
        }
    }

    @Test func stopStringsAndBeamsAndPenaltiesAreHeeded() throws {
        try withTemporaryFolder { folder in
            let line = "$T generate \(TinyRun.base) -n 24 \(Self.options) -p 'Review: a quiet film'"
            let plain = try output(line, in: folder)
            let stop = String(plain.dropFirst(31).prefix(5))
            try #require(plain.components(separatedBy: stop).count == 2)
            let cut = try output("\(line) --stop qzq --stop '\(stop)'", in: folder)
            #expect(plain.hasPrefix(cut.dropLast()) && !cut.contains(stop))
            let penalized = try output("\(line) --repetition-penalty 2", in: folder)
            let searched = try output("\(line) --beams 4", in: folder)
            #expect(Set([plain, penalized, searched]).count == 3)
            #expect(try output("\(line) --temperature 1 --min-p 1", in: folder) == plain)
        }
    }

    @Test(arguments: [
        ("", "nothing to continue"), ("-p a --interactive", "leave the prompts out"),
        ("-p - --prompt-file -", "standard input can be read once only"), ("-p a --system b", "--system needs --chat"),
        ("-p a --stop ''", "--stop needs a text"), ("-p a --beams 0", "--beams must be at least 1"),
        ("-p a --beams 4 --temperature 1", "--beams 4 takes the likeliest text"),
        ("-p a --beams 4000", "beams is 4000"), ("-p a --min-p 2", "min-p is 2.0; a number from 0 to 1 is needed"),
        ("-p a --repetition-penalty=-1", "repetition-penalty is -1.0; a number above 0 is needed"),
    ])
    func whatCannotBeIsOneSentence(options: String, sentence: String) throws {
        let outcome = try run("$T \(model) \(options)", in: packageRoot)
        #expect(outcome.status == 64 && outcome.output.isEmpty)
        #expect(outcome.errorLines.count == 1 && outcome.errors.contains(sentence), "\(outcome.errors)")
    }

    @Test func missingAndBadPromptFilesAreRefused() throws {
        try withTemporaryFolder { folder in
            try writeFile(folder + "/empty", "")
            for (options, status, sentence) in [
                ("--prompts none.txt", 66, "none.txt"), ("--prompts empty", 65, "no prompt in it"),
                ("--prompt-file empty", 65, "no prompt in it"), ("-p - < /dev/null", 65, "standard input: no prompt"),
                ("--interactive", 65, "no chat template"),
            ] as [(String, Int32, String)] {
                let outcome = try run("$T \(model) \(options)", in: folder)
                #expect(outcome.status == status && outcome.errors.contains(sentence), "\(options): \(outcome.errors)")
                #expect(outcome.errorLines.count == 1)
            }
        }
    }

    // MARK: Chats

    private var chat: [String] {
        ["generate", fixture("tiny-qwen2"), "-i", "--temperature", "0", "-n", "12", "--dtype", "f32", "--threads", "1"]
    }

    @Test func linesOfAPipeAreAnswered() throws {
        try withTemporaryFolder { folder in
            let line = "$T \(chat.joined(separator: " "))"
            let one = try output("printf 'What do bees make?\\n' | \(line)", in: folder)
            #expect(one.hasSuffix("\n\n") && one.count > 2)
            let two = try output("printf 'What do bees make?\\nAnd where?' | \(line)", in: folder)
            #expect(two.hasPrefix(one) && two.count > one.count)
            // What was said before counts, unless it is forgotten.
            let alone = try output("printf 'And where?\\n' | \(line)", in: folder)
            let cleared = try output("printf 'What do bees make?\\n/clear\\nAnd where?\\n' | \(line)", in: folder)
            #expect(cleared == one + alone)
            #expect(two != cleared)
            #expect(try output("printf 'What do bees make?\\n/exit\\nAnd where?\\n' | \(line)", in: folder) == one)
            let json = try output("printf 'What do bees make?\\n' | \(line) --json", in: folder)
            #expect(try JSONValue.parse(Array(json.utf8))["text"]!.stringValue! + "\n\n" == one)
            #expect(try output("\(line) < /dev/null", in: folder).isEmpty)
            let long = try run("yes bees | head -n 3000 | tr '\\n' ' ' | \(line)", in: folder)
            #expect(long.status == 65 && long.errors.contains("tokens now, and the model takes 1024"))
            let strange = try run("printf '\\377\\n' | \(line)", in: folder)
            #expect(strange.status == 65 && strange.errors.contains("standard input, line 1: is no text in UTF-8"))
        }
    }

    @Test func personTypesAndIsAnswered() throws {
        let expected = try output(
            "printf 'What do bees make?\\n' | $T \(chat.joined(separator: " "))", in: packageRoot
        ).trimmingCharacters(in: .newlines)
        let terminal = try PseudoTerminal(chat, in: packageRoot)
        try terminal.wait(for: "> ")
        #expect(terminal.text.contains("/clear"))
        terminal.type("What do bees make?\n")
        try terminal.wait(for: "> ", count: 2)
        #expect(shownLines(terminal.text).joined(separator: "\n").contains("> What do bees make?\n\(expected)\n"))
        // Ctrl-C where nothing is answered says how to end.
        terminal.type("\u{3}")
        try terminal.wait(for: "Ctrl-D ends", count: 2)
        terminal.type(String(repeating: "bees make honey ", count: 200) + "\n")
        for _ in 0..<2 { terminal.type(String(repeating: "bees make honey ", count: 200) + "\n") }
        try terminal.wait(for: "the model takes 1024")
        terminal.type("/clear\n")
        try terminal.wait(for: "forgotten")
        terminal.type("What do bees make?\n")
        try terminal.wait(for: expected, count: 2)
        terminal.type("\u{4}")
        #expect(try terminal.finish() == 0)
    }

    @Test func linesSayWhomTheySpeakTo() {
        for (line, meaning) in [
            ("", .nothing), (" \t", .nothing), ("/exit", .exit), ("  /quit ", .exit), ("/CLEAR", .clear), ("/?", .help),
            ("/help", .help), ("/foo", .unknown("/foo")), ("/clear all", .unknown("/clear all")), ("/", .unknown("/")),
            ("/usr/bin/env is what?", .message("/usr/bin/env is what?")), ("//foo bar", .message("/foo bar")),
            ("a /exit", .message("a /exit")), (" hi", .message(" hi")), ("/é", .message("/é")),
        ] as [(String, ChatLine)] {
            #expect(ChatLine(line) == meaning, "\(line)")
        }
    }

    @Test func commandsOfAChatAreNotSaidToTheModel() throws {
        try withTemporaryFolder { folder in
            let line = "$T \(chat.joined(separator: " "))"
            let one = try output("printf 'What do bees make?\\n' | \(line)", in: folder)
            let said = "\\357\\273\\277/foo\\n/help\\nWhat do bees make?\\n/clear it\\n"
            let told = try run("printf '\(said)' | \(line)", in: folder)
            #expect(told.status == 0 && told.output == one, "\(told.output)")
            #expect(told.errors.components(separatedBy: "/clear   forgets").count == 4, "\(told.errors)")
            #expect(told.errors.contains("'/foo' is no command of a chat") && told.errors.contains("'/clear it' is no"))
        }
    }

    @Test func controlCTwiceEndsAChat() throws {
        let terminal = try PseudoTerminal(chat, in: packageRoot)
        try terminal.wait(for: "> ")
        terminal.type("\u{3}")
        try terminal.wait(for: "Ctrl-C again ends the chat too")
        // A line in between is a new beginning.
        terminal.type("/help\n")
        try terminal.wait(for: "//word")
        usleep(200_000)
        terminal.type("\u{3}")
        try terminal.wait(for: "Ctrl-C again ends the chat too", count: 2)
        usleep(200_000)
        terminal.type("\u{3}")
        #expect(try terminal.finish() == 130)
        #expect(terminal.text.hasSuffix("\n"))
    }

    @Test func aLineOfNoTextDoesNotEndAChat() throws {
        let terminal = try PseudoTerminal(chat, in: packageRoot)
        try terminal.wait(for: "> ")
        terminal.type(bytes: [0x61, 0xFF, 0x0A])
        try terminal.wait(for: "is no text in UTF-8")
        terminal.type("/exit\n")
        #expect(try terminal.finish() == 0)
    }

    @Test func controlCEndsAnAnswerAlone() throws {
        // An answer that does not end by itself: end tokens are rare at such a temperature.
        let arguments = [
            "generate", fixture("tiny-qwen2"), "-i", "--temperature", "50", "-n", "100000", "--dtype", "f32",
            "--threads",
            "1",
        ]
        let terminal = try PseudoTerminal(arguments, in: packageRoot)
        try terminal.wait(for: "> ")
        let before = terminal.text.count
        terminal.type("Go on\n")
        try terminal.wait("an answer") { $0.count > before + 60 }
        terminal.type("\u{3}")
        try terminal.wait("the end of the answer") { $0.contains("(stopped)") || $0.contains("used up") }
        try terminal.wait(for: "\n> ", count: 2)
        terminal.type("/exit\n")
        #expect(try terminal.finish() == 0)
    }
}
