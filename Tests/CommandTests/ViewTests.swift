import Foundation
import TestSupport
import Testing

@testable import tspeft

/// What commands show at a terminal.
@Suite(.serialized) struct ViewTests {
    private func training(_ run: TinyRun, _ rest: String...) -> [String] {
        [
            "train", TinyRun.base, "--adapter", run.path("adapter"), "--data", run.path("records.json"), "--batch-size",
            "2",
            "--dtype", "f32", "--threads", "1", "-o", "new",
        ] + rest
    }

    /// The texts of the line that is rewritten.
    private func states(_ text: String) -> [String] {
        text.components(separatedBy: "\r\u{1B}[K").dropFirst().map { $0.components(separatedBy: "\n")[0] }
    }

    @Test(arguments: [40, 80, 120]) func trainsLineFitsAndNumbersAreWhole(columns: Int) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let terminal = try PseudoTerminal(
                training(run, "--steps", "60", "--eval-data", run.path("records.json"), "--eval-every", "30"),
                in: folder,
                columns: columns)
            #expect(try terminal.finish() == 0)
            let lines = states(terminal.text).filter { $0.contains("/60") }
            #expect(lines.count > 1, "\(terminal.text)")
            let field = try Regex(
                #"(step )?\d+/60|left ([0-9.]+ s|\d+ min \d+ s|\d+s|\d+m\d\ds)|loss \d+\.\d{4}|skipped [0-9.]+ %|"#
                    + #"\d+ tok(ens)?/s|epoch \d+\.\d\d|lr [0-9.]+e[-+]\d+|lr 0|tau \S+"#)
            for line in lines where !line.contains("evaluation") {
                #expect(ScreenText.width(line) < columns, "\(line)")
                for part in line.components(separatedBy: "  ") {
                    #expect(part.wholeMatch(of: field) != nil, "\(part) in \(line)")
                }
                #expect(line.contains("loss") && line.contains("left"))
                #expect(columns < 80 || line.contains("skipped") && line.contains("tok"), "\(line)")
                #expect(columns < 120 || line.contains("epoch"), "\(line)")
            }
            #expect(terminal.text.contains("step 30  evaluation loss "))
            // Nothing of the line is left.
            #expect(!shownLines(terminal.text).contains { $0.contains("left ") })
        }
    }

    @Test func lineFollowsTheTerminalsWidth() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let terminal = try PseudoTerminal(training(run, "--steps", "100000"), in: folder, columns: 120)
            try terminal.wait(for: "epoch")
            terminal.resize(columns: 40)
            let before = terminal.text.count
            try terminal.wait("lines for the new width") { $0.count > before + 1500 }
            // One that was being made may still be wide.
            let lines = states(String(terminal.text.dropFirst(before))).dropFirst(2)
            #expect(lines.allSatisfy { ScreenText.width($0) < 40 }, "\(lines)")
            terminal.type("\u{3}")
            #expect(try terminal.finish() == 130)
            let shown = shownLines(terminal.text)
            #expect(shown.last == "" && !shown.contains { $0.contains("left ") }, "\(shown)")
        }
    }

    @Test func columnsAreTakenFromTheEnvironmentFirst() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let terminal = try PseudoTerminal(
                training(run, "--steps", "60"), in: folder, columns: 120, environment: ["COLUMNS": "40"])
            #expect(try terminal.finish() == 0)
            let lines = states(terminal.text).filter { $0.contains("/60") }
            #expect(lines.count > 1 && lines.allSatisfy { ScreenText.width($0) < 40 }, "\(lines)")
        }
    }

    @Test func warningsArePartedAtWordsOnTerminalsAlone() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            // Thresholds that can hardly move.
            let arguments = training(run, "--steps", "8", "--s", "1e-9")
            let plain = try Program(folder: folder).run(arguments)
            let warning = try #require(plain.errorLines.first { $0.hasPrefix("warning: ") }, "\(plain.errors)")
            #expect(warning.count > 80 && !plain.errors.contains("\u{1B}"))
            for (environment, start) in [
                ([:], "\u{1B}[33mwarning:\u{1B}[0m"), (["NO_COLOR": "1"], "warning:"), (["TERM": "dumb"], "warning:"),
            ] {
                let terminal = try PseudoTerminal(
                    arguments + ["--force"], in: folder, columns: 50, environment: environment)
                #expect(try terminal.finish() == 0)
                #expect(terminal.text.contains(start + " "))
                #expect(environment["TERM"] == nil || !terminal.text.contains("\u{1B}"))
                let shown = shownLines(terminal.text)
                let first = try #require(shown.firstIndex { $0.hasPrefix("warning: ") })
                var words = shown[first]
                for line in shown[(first + 1)...].prefix(while: { $0.hasPrefix("  ") }) {
                    words += " " + line.dropFirst(2)
                }
                #expect(words == warning)
                #expect(
                    shown.allSatisfy {
                        ScreenText.width($0) <= 50 || !$0.dropFirst(2).contains(" ") || !$0.hasPrefix("  ")
                    })
            }
        }
    }

    @Test func endInTheMidstOfATextBeginsALine() throws {
        let terminal = try PseudoTerminal(
            ["generate", TinyRun.base, "-p", "The film", "-n", "100000", "--temperature", "9", "--threads", "1"],
            in: packageRoot)
        try terminal.wait("a text") { $0.count > 60 }
        terminal.type("\u{3}")
        let status = try terminal.finish()
        #expect(status == 130 || status == 0)
        #expect(terminal.text.hasSuffix("\n"), "\(terminal.text.suffix(40))")
    }
}
