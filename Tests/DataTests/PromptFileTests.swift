import CheckpointIO
import Foundation
import TestSupport
import Testing

@testable import Data

@Suite struct PromptFileTests {
    private func withFile<R>(_ bytes: [UInt8], _ body: (String) throws -> R) throws -> R {
        try withTemporaryFolder { folder in
            try writeFile(folder + "/prompts", bytes)
            return try body(folder + "/prompts")
        }
    }

    /// Prompts of a file of this name.
    private func lines(_ text: String, named name: String) throws -> [PromptFile.Prompt] {
        try withTemporaryFolder { folder in
            try writeFile(folder + "/" + name, text)
            return try PromptFile.lines(folder + "/" + name)
        }
    }

    private func problem(_ text: String, named name: String) -> String {
        do { return "taken: \(try lines(text, named: name))" } catch { return "\(error)" }
    }

    private func lines(_ text: String) throws -> [PromptFile.Prompt] {
        try withFile(Array(text.utf8)) { try PromptFile.lines($0) }
    }

    @Test func wholeFileIsAPromptButForItsLastLinesEnd() throws {
        for (text, expected) in [
            ("one\ntwo\n", "one\ntwo"), ("one\ntwo", "one\ntwo"), ("one\n\n", "one\n"), ("one\r\n", "one"),
            (" a ", " a "),
        ] {
            #expect(try withFile(Array(text.utf8)) { try PromptFile.whole($0) } == PromptFile.Prompt(expected))
        }
        for text in ["", "\n"] {
            try withFile(Array(text.utf8)) { path in
                let error = #expect(throws: DataError.self) { try PromptFile.whole(path) }
                #expect(error == .noPrompt(file: path) && error?.exitStatus == .badData)
            }
        }
    }

    @Test func eachLineIsAPrompt() throws {
        #expect(
            try lines("one\n\n  two \r\n[INST] three\n{ \"a\n")
                == ["one", "  two ", "[INST] three", "{ \"a"].map { PromptFile.Prompt($0) })
        // An object without a prompt is a text.
        #expect(try lines("{\"a\": 1}\n") == [.init("{\"a\": 1}")])
    }

    @Test func linesOfJSONArePromptsWithIds() throws {
        let text = #"{"prompt": "a\nb"}"# + "\n\n" + #"{"id": 7, "prompt": "c"}"# + "\n" + #"{"id": "x", "prompt": ""}"#
        #expect(try lines(text) == [.init("a\nb"), .init("c", id: .integer(7)), .init("", id: .string("x"))])
    }

    @Test(arguments: [
        (#"{"prompt": "a"}"# + "\nb", ", line 2: not valid JSON"),
        (#"{"prompt": "a", "system": "b"}"#, ", line 1: the field 'system' is not read here"),
        (#"{"prompt": ["a"]}"#, ", line 1: the field 'prompt' is a list; a string is needed"),
        (#"{"prompt": "a"}"# + "\n" + #"{"id": 1}"#, ", line 2: the field 'prompt' is missing"),
        (#"{"prompt": "a"}"# + "\n7", ", line 2: the record is a number"),
        (#"{"prompt": "a", "id": {}}"#, ", line 1: the field 'id' is an object; a string or a number is needed"),
        ("\n \n", ": no prompt in it"),
    ])
    func whatIsWrongIsNamedWithItsLine(text: String, problem: String) throws {
        try withFile(Array(text.utf8)) { path in
            let error = #expect(throws: DataError.self) { try PromptFile.lines(path) }
            #expect(error?.description.hasPrefix(path + problem) == true, "\(String(describing: error))")
        }
    }

    /// A name says what its file holds, as it does for `train --data`.
    @Test func namesTellTextFromRecords() throws {
        let record = #"{"prompt": "a", "id": 1}"#
        for name in ["p.jsonl", "p.json", "p.ndjson", "P.JSONL", "p"] {
            #expect(try lines(record + "\n", named: name) == [.init("a", id: .integer(1))], "\(name)")
            let array = "[\n  \(record),\n  {\"prompt\": \"b\"}\n]\n"
            #expect(try lines(array, named: name) == [.init("a", id: .integer(1)), .init("b")], "\(name)")
            for broken in [#"{"prompt": "a"#, #"{"prompt": "a", }"#, #" { "id": 1, "prompt" "a"}"#] {
                let found = problem(broken + "\n" + record + "\n", named: name)
                #expect(found.contains("\(name), line 1: not valid JSON"), "\(found)")
            }
            #expect(problem("[\(record),\n{\"prompt\"]", named: name).contains(", line 2: not valid JSON"))
        }
        for (text, words) in [
            ("a plain text\n", "starts with"), ("[INST] a\n", ", line 1: not valid JSON"),
            ("{\"a\": 1}\n", "the field 'a' is not read here"), ("[\"a\"]", "line 1: the record is a string"),
        ] {
            #expect(problem(text, named: "p.jsonl").contains(words), "\(problem(text, named: "p.jsonl"))")
        }
        for text in [record, "{\"prompt\": \"a", "[{\"prompt\": 1}]"] {
            #expect(try lines(text + "\nb\n", named: "p.txt") == [.init(text), .init("b")])
        }
    }

    @Test func marksOfByteOrderAreNoText() throws {
        let mark = "\u{FEFF}"
        #expect(try lines(mark + "one\ntwo\n") == ["one", "two"].map { .init($0) })
        #expect(try lines(mark + #"{"prompt": "a"}"# + "\n") == [.init("a")])
        #expect(try withFile(Array((mark + "one\n").utf8)) { try PromptFile.whole($0) } == .init("one"))
        try withFile(Array(mark.utf8)) { path in
            #expect(throws: DataError.noPrompt(file: path)) { try PromptFile.whole(path) }
            #expect(throws: DataError.noPrompt(file: path)) { try PromptFile.lines(path) }
        }
    }

    @Test func whatIsNoTextIsRefused() throws {
        try withFile([0x61, 0x0A, 0xFF, 0x0A]) { path in
            let error = #expect(throws: DataError.self) { try PromptFile.lines(path) }
            #expect(error == .notText(RecordPlace(file: path, line: 2)))
            #expect(throws: DataError.self) { try PromptFile.whole(path) }
        }
    }
}
