import CheckpointIO
@preconcurrency import Glibc
import TensorCore
import TSPEFT

/// Where output goes: results to stdout, everything else to stderr.
enum Terminal {
    /// Whether stderr is a terminal, where a line of progress may be rewritten.
    static let isInteractive = isatty(STDERR_FILENO) == 1

    /// Lines of the result, which may be many, written together.
    static func result(_ lines: [String]) {
        guard !lines.isEmpty else { return }
        result(lines.joined(separator: "\n"))
    }

    /// A line of the result.
    static func result(_ line: String = "") {
        // Long lines are not copied to get their end.
        if resultText(printable(line, keepingLines: true)) { _ = resultText("\n") }
    }

    /// Text of the result as it is, without a line's end; false where nobody reads any more.
    ///
    /// Ends the program where it can't be stored: a result that is lost is a failure.
    static func resultText(_ text: String) -> Bool {
        let code = write(text, to: STDOUT_FILENO)
        guard code == 0 || code == EPIPE else {
            TemporaryOutputs.removeAll()
            note("tspeft: standard output cannot be written: \(systemMessage(code))")
            exit(ExitStatus.inputOutput.rawValue)
        }
        return code == 0
    }

    /// A line of progress that stays.
    static func note(_ line: String) {
        write(
            (isInteractive ? "\r\u{1B}[K" : "") + printable(shortened(line), keepingLines: false) + "\n",
            to: STDERR_FILENO)
    }

    /// Unicode scalars of a note at most.
    private static let noteLimit = 2000

    /// A note without its middle where a file has put a very long name into it.
    private static func shortened(_ line: String) -> String {
        let scalars = line.unicodeScalars
        guard line.utf8.count > noteLimit, scalars.count > noteLimit else { return line }
        return String(scalars.prefix(noteLimit / 2)) + " [...] " + String(scalars.suffix(noteLimit / 2))
    }

    /// A line of progress that the next one replaces; nothing where stderr is no terminal.
    static func progress(_ line: String) {
        guard isInteractive else { return }
        var size = winsize()
        let columns = ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
        write("\r\u{1B}[K" + String(line.prefix(columns - 1)), to: STDERR_FILENO)
    }

    /// Clears the line of progress.
    static func endProgress() {
        if isInteractive { write("\r\u{1B}[K", to: STDERR_FILENO) }
    }

    /// The text with control characters, which names in a file may hold to play tricks on a terminal, shown as they are
    /// written in Swift.
    private static func printable(_ text: String, keepingLines: Bool) -> String {
        func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
            scalar.properties.generalCategory != .control || keepingLines && scalar == "\n"
        }
        // What can be a control character at all: bytes below a space, DEL, and the lead of U+0080 to U+00BF.
        guard text.utf8.contains(where: { $0 < 0x20 && !(keepingLines && $0 == 0x0A) || $0 == 0x7F || $0 == 0xC2 }),
            !text.unicodeScalars.allSatisfy(isHarmless)
        else { return text }
        var shown = ""
        for scalar in text.unicodeScalars {
            if isHarmless(scalar) {
                shown.unicodeScalars.append(scalar)
            } else {
                shown += scalar.escaped(asASCII: true)
            }
        }
        return shown
    }

    /// 0, or the errno of what went wrong.
    @discardableResult private static func write(_ text: String, to descriptor: Int32) -> Int32 {
        var text = text
        return text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let written = Glibc.write(descriptor, bytes.baseAddress! + done, bytes.count - done)
                if written < 0 {
                    let code = errno
                    if code == EINTR { continue }
                    return code
                }
                done += written
            }
            return 0
        }
    }
}

/// Seconds as a reader likes them: 9.3 s, 2 min 5 s, 1 h 2 min.
func durationText(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0 else { return "-" }
    if seconds < 60 { return "\(fixed(seconds, 1)) s" }
    // Beyond a thousand years it is a guess, and soon no Int any more.
    guard seconds < 3e10 else { return "-" }
    let whole = Int(seconds.rounded())
    if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
    return "\(whole / 3600) h \(whole % 3600 / 60) min"
}
