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

    @Test func whatIsNoTextIsRefused() throws {
        try withFile([0x61, 0x0A, 0xFF, 0x0A]) { path in
            let error = #expect(throws: DataError.self) { try PromptFile.lines(path) }
            #expect(error == .notText(RecordPlace(file: path, line: 2)))
            #expect(throws: DataError.self) { try PromptFile.whole(path) }
        }
    }
}
