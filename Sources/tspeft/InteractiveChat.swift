import CheckpointIO
import Data
@preconcurrency import Glibc
import TensorCore
import TSPEFT

/// A chat at a terminal, or with lines that come out of a pipe.
struct InteractiveChat {
    private let request: GenerateRequest
    private let printsJSON: Bool
    /// Whether a person types the lines.
    private let isTyped = isatty(STDIN_FILENO) == 1

    init(_ request: GenerateRequest, printsJSON: Bool) {
        self.request = request
        self.printsJSON = printsJSON
    }

    private static let commands =
        "/clear forgets what was said, /exit or Ctrl-D ends the chat, Ctrl-C stops an answer"

    /// Answers line after line until there are no more.
    func run() throws {
        let generator = try TextGenerator(request)
        let chat = ChatSession(generator)
        for note in chat.notes { Terminal.sentence(note) }
        if isTyped { Terminal.sentence("chat with \(lastPathComponent(request.basePath)): \(Self.commands)") }
        let hint: @Sendable () -> Void = { Self.showHint() }
        Signals.stopAnswersOnly(hint: isTyped ? hint : nil)
        var lines = InputLines()
        var number = 0
        while let line = try nextLine(&lines) {
            switch ChatLine(line) {
            case .nothing: break
            case .exit: return
            case .clear:
                chat.clear()
                if isTyped { Terminal.note("what was said is forgotten") }
            case .help: ChatLine.helpLines.forEach(Terminal.note)
            case .unknown(let words):
                Terminal.sentence("'\(words.beginning(60))' is no command of a chat; these are:")
                ChatLine.helpLines.forEach(Terminal.note)
            case .message(let message):
                number += 1
                guard try answer(message, number, chat, generator) else { return }
            }
        }
        // Behind the prompt that Ctrl-D was typed at.
        if isTyped { Terminal.plain("\n") }
    }

    private static let prompt = "> "

    private static func showHint() {
        Terminal.plain("\n(\(commands); Ctrl-C again ends the chat too)\n\(prompt)")
    }

    private func nextLine(_ lines: inout InputLines) throws -> String? {
        if isTyped { Terminal.plain(Self.prompt) }
        guard var bytes = try lines.next() else { return nil }
        Signals.lineWasRead()
        if lines.count == 1 { bytes = Array(bytes.withoutByteOrderMark) }
        if isTyped, bytes.count >= InputLines.typedLimit {
            Terminal.note("the terminal hands on \(InputLines.typedLimit) bytes of a line; the rest of yours is lost")
        }
        guard let line = String(validating: bytes, as: UTF8.self) else {
            let error = DataError.notText(RecordPlace(file: "standard input", line: lines.count))
            guard isTyped else { throw error }
            Terminal.note("(that line is no text in UTF-8, and was not said to the model)")
            return ""
        }
        return line
    }

    /// Answers a message; false where nobody reads the answers any more.
    private func answer(
        _ message: String, _ number: Int, _ chat: ChatSession, _ generator: TextGenerator
    ) throws -> Bool {
        var (text, isRead) = ("", true)
        let progress = SearchProgress(beams: generator.beamCount)
        let report: GenerateReport
        do {
            report = try Signals.whileAnswering {
                try chat.answer(
                    message, shouldStop: { progress.show() || Signals.answerIsToStop },
                    receive: { piece in
                        progress.end()
                        if printsJSON { text += piece } else { isRead = Terminal.generated(piece) }
                        return isRead
                    })
            }
        } catch let error as any ReportableError where isTyped && error.exitStatus == .badData {
            progress.end()
            Terminal.sentence("\(OptionWords.text(error)); /clear forgets what was said")
            return true
        }
        progress.end()
        if printsJSON {
            let place = AnswerPlace(number: number, count: number, prompt: PromptFile.Prompt(message))
            _ = Terminal.resultText(report.json(text, place).text() + "\n")
        } else {
            Terminal.result("\n")
        }
        note(report)
        return isRead
    }

    /// Says why an answer is not whole.
    private func note(_ report: GenerateReport) {
        switch report.end {
        case .endToken, .stopString: break
        case .stopped: Terminal.note("(stopped)")
        case .tokenLimit: Terminal.note("(cut off at \(report.tokens.count) tokens; -n allows more)")
        case .positionLimit: Terminal.note("(the model's positions are used up; /clear forgets what was said)")
        }
    }
}

/// Lines of standard input as they come, without their ends.
struct InputLines {
    /// Bytes that a terminal hands on of a line at most.
    static let typedLimit = 4095
    private static let byteLimit = 16 << 20

    /// Lines so far.
    private(set) var count = 0
    private var held: [UInt8] = []
    private var isAtEnd = false

    /// The next line; nil at the end. Throws `CheckpointError` for what cannot be read.
    mutating func next() throws(CheckpointError) -> [UInt8]? {
        var searched = 0
        while true {
            if let end = held[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                count += 1
                defer { held.removeFirst(end + 1) }
                let line = held[..<end]
                return Array(line.last == UInt8(ascii: "\r") ? line.dropLast() : line)
            }
            if isAtEnd {
                guard !held.isEmpty else { return nil }
                count += 1
                defer { held = [] }
                return held
            }
            searched = held.count
            guard held.count < Self.byteLimit else { throw .tooLarge(path: "standard input", limit: Self.byteLimit) }
            var chunk = [UInt8](repeating: 0, count: 1 << 16)
            let got = read(STDIN_FILENO, &chunk, chunk.count)
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw .unreadable(path: "standard input", code: errno) }
            isAtEnd = got == 0
            held += chunk[..<got]
        }
    }
}
