import Adapters
import CheckpointIO
import Foundation
import TensorCore
import TestSupport
import Testing
import Training

@testable import TSPEFT
@testable import tspeft

/// Messages speak of parameters; the program alone calls them options.
@Suite struct OptionWordsTests {
    /// The Swift files under a folder of the package.
    private func sources(_ folder: String) throws -> [String] {
        let root = packageRoot + "/" + folder
        let names = FileManager.default.enumerator(atPath: root)?.allObjects as? [String] ?? []
        return names.filter { $0.hasSuffix(".swift") }.map { root + "/" + $0 }.sorted()
    }

    private func lines(_ path: String) throws -> [Substring] {
        String(decoding: try readFile(path), as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
    }

    @Test func noRoomButTheProgramNamesAnOption() throws {
        // Swift has no operator like it, so that outside comments it is in a string.
        let long = try Regex("(^|[^-a-zA-Z0-9])--[a-z]")
        let output = try Regex("(^|[ '\"(])-o[ '\")]")
        let files = try sources("Sources").filter { !$0.contains("/Sources/tspeft/") }
        #expect(files.count > 100)
        for path in files {
            for (place, line) in try lines(path).enumerated() {
                let isComment = line.drop { $0 == " " }.hasPrefix("//")
                guard !isComment else { continue }
                #expect(
                    line.firstMatch(of: long) == nil && line.firstMatch(of: output) == nil,
                    "\(path), line \(place + 1): carry a Parameter in a Wording instead: \(line)")
            }
        }
    }

    /// Options that `OptionWords` spells are options of a command.
    @Test func everySpelledOptionExists() throws {
        let option = try Regex("\"(--?[a-z-]+)\"")
        let spelled = try lines(packageRoot + "/Sources/tspeft/Text/OptionWords.swift").flatMap { line in
            line.matches(of: option).compactMap { $0.output[1].substring.map(String.init) }
        }.filter { $0 != "-" && $0 != "--" }
        #expect(spelled.count > 30)
        let help = RootCommand.configuration.subcommands.map { RootCommand.helpMessage(for: $0) }.joined()
        for name in spelled {
            #expect(help.contains(name + " ") || help.contains(name + ",") || help.contains(name + "\n"), "\(name)")
        }
    }

    @Test func errorsAreToldWithOptions() {
        for (error, text) in [
            (
                CheckpointError.outputExists(path: "a"),
                "a: exists already; remove it, choose another name or pass --force"
            ),
            (WorkflowError.badValue(.threads, expected: "1", found: "0"), "--threads must be 1, not 0"),
            (
                WorkflowError.foreignOption("target_r", owners: ["adalora"], method: "lora"),
                "--target-r belongs to adalora, not to lora"
            ),
            (
                WorkflowError.twoNames("rank", value: "4", other: "r", otherValue: "8"),
                "--rank 4 and --r 8 are two names of one number"
            ),
            (TrainingError.noThresholds(method: "lora"), "--only tau is for a gated adapter; lora has no thresholds"),
            (AdapterError.unknownMethod("x", known: ["lora"]), "unknown adapter method 'x'; known methods: lora"),
        ] as [(any Error, String)] {
            #expect(OptionWords.text(error) == text)
        }
    }

    @Test func messagesOfTheParserBecomeOneLine() {
        #expect(RootCommand.sentence("Unknown option '--foo'") == "Unknown option '--foo'")
        #expect(RootCommand.sentence("Provide one of:\n  - a\n  - b") == "Provide one of: a, b")
        #expect(RootCommand.sentence("Provide one of 'a' and 'b'.") == "Provide one of 'a' and 'b'")
    }
}
