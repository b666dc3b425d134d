import CheckpointIO
@preconcurrency import Glibc
import Synchronization
import TensorCore
import TSPEFT

/// Where output goes: results to stdout, everything else to stderr.
enum Terminal {
    /// Whether stderr is a terminal.
    private static let isTerminal = isatty(STDERR_FILENO) == 1
    private static let isResultShown = isatty(STDOUT_FILENO) == 1

    /// Whether terminals obey more than text: not where TERM says that this one does not.
    private static let obeys = variable("TERM").map { $0 != "dumb" } ?? false

    /// Whether stderr is a terminal where a line of progress may be rewritten.
    static let isInteractive = isTerminal && obeys

    /// Whether to use colours: on terminals, unless NO_COLOR is set (no-color.org).
    private static let hasColours = isInteractive && variable("NO_COLOR") == nil

    /// A variable of the environment that is set and not empty.
    private static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// Columns of the terminal that stderr is, as it is now: COLUMNS where that is a number, as for other programs.
    static var columns: Int {
        if let columns = variable("COLUMNS").flatMap(Int.init), columns > 0 { return columns }
        var size = winsize()
        return ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    }

    // MARK: Results

    /// Lines of the result, which may be many, written together.
    static func result(_ lines: [String]) {
        guard !lines.isEmpty else { return }
        result(lines.joined(separator: "\n"))
    }

    /// A line of the result.
    static func result(_ line: String = "") {
        // Long lines are not copied to get their end.
        if resultText(printable(line, keeping: ["\n"])) { _ = resultText("\n") }
    }

    /// Text of the result as it is, without a line's end; false where nobody reads any more.
    ///
    /// Ends the program where it can't be stored: a result that is lost is a failure.
    static func resultText(_ text: String) -> Bool {
        if isResultShown, isLeaving.load(ordering: .sequentiallyConsistent) {
            while true { pause() }
        }
        if isResultShown, let last = text.utf8.last { isMidLine.store(last != 0x0A, ordering: .relaxed) }
        let code = write(text, to: STDOUT_FILENO)
        guard code == 0 || code == EPIPE else {
            TemporaryOutputs.removeAll()
            note("tspeft: standard output cannot be written: \(systemMessage(code))")
            exit(ExitStatus.inputOutput.rawValue)
        }
        return code == 0
    }

    /// A piece of what a model has written, as it is but for control characters where a terminal would obey them; false
    /// where nobody reads any more.
    static func generated(_ text: String) -> Bool {
        resultText(isResultShown ? printable(text, keeping: ["\n", "\t"]) : text)
    }

    /// Whether a terminal shows a result whose line is not ended.
    private static let isMidLine = Atomic<Bool>(false)
    /// Whether the program ends in the midst of something, and no more results are shown.
    private static let isLeaving = Atomic<Bool>(false)

    // MARK: Notes

    /// A line of progress that stays.
    static func note(_ line: String) {
        stay([printable(shortened(line), keeping: [])])
    }

    /// A sentence that stays, parted at words where a terminal is too narrow for it.
    ///
    /// - Parameter mark: a word before it that says what it is, such as `warning`.
    static func sentence(_ text: String, mark: String? = nil) {
        let whole = printable(shortened((mark.map { $0 + ": " } ?? "") + text), keeping: [])
        var lines = isTerminal ? ScreenText.wrapped(whole, columns: columns) : [whole]
        if let mark, hasColours, lines[0].hasPrefix(mark + ":") {
            lines[0] = "\u{1B}[33m\(mark):\u{1B}[0m" + lines[0].dropFirst(mark.count + 1)
        }
        stay(lines)
    }

    private static func stay(_ lines: [String]) {
        write(freshLine() + lines.joined(separator: "\n") + "\n", to: STDERR_FILENO)
    }

    /// What brings the cursor to the beginning of an empty line, whatever is shown.
    private static func freshLine() -> String {
        let isProgressShown = progressLine.withLock { line in
            defer { line = nil }
            return line != nil
        }
        if isProgressShown { return clearing }
        return isTerminal && isMidLine.exchange(false, ordering: .relaxed) ? "\n" : ""
    }

    /// Text on stderr as it is, where that is a terminal: what a person is asked with.
    static func plain(_ text: String) {
        if isTerminal { write(text, to: STDERR_FILENO) }
    }

    /// Unicode scalars of a note at most.
    private static let noteLimit = 2000

    /// A note without its middle where a file has put a very long name into it.
    private static func shortened(_ line: String) -> String {
        let scalars = line.unicodeScalars
        guard line.utf8.count > noteLimit, scalars.count > noteLimit else { return line }
        return String(scalars.prefix(noteLimit / 2)) + " [...] " + String(scalars.suffix(noteLimit / 2))
    }

    // MARK: Progress

    /// Back to the line's beginning, and the line erased.
    private static let clearing = "\r\u{1B}[K"

    /// The line of progress that is shown, for a width; nil for none.
    private static let progressLine = Mutex<(@Sendable (Int) -> String)?>(nil)
    /// When the last one was shown.
    private static let lastShown = Mutex<ContinuousClock.Instant?>(nil)
    /// More lines in a second than this nobody reads.
    private static let shortestTime = Duration.milliseconds(80)

    /// A line of progress that the next one replaces; nothing where stderr is no terminal. What does not fit is left out
    /// at a word's end.
    static func progress(_ line: String) {
        progress { ScreenText.fitted(line, columns: $0) }
    }

    /// A line of progress that fits the terminal, made by `text` for its columns, also when these change.
    static func progress(_ text: @escaping @Sendable (Int) -> String) {
        guard isInteractive else { return }
        let now = ContinuousClock.now
        let isSoon = lastShown.withLock { last in
            if let last, now - last < shortestTime { return true }
            last = now
            return false
        }
        if isSoon { return }
        progressLine.withLock { $0 = text }
        show(text)
    }

    private static func show(_ text: (Int) -> String) {
        // The last column stays free, since the cursor has to be somewhere.
        write(clearing + printable(text(columns - 1), keeping: []), to: STDERR_FILENO)
    }

    /// Shows the line of progress anew, for the width that the terminal has now.
    static func redraw() {
        let text = progressLine.withLock { $0 }
        if let text { show(text) }
    }

    /// Clears the line of progress.
    static func endProgress() {
        lastShown.withLock { $0 = nil }
        write(freshLine(), to: STDERR_FILENO)
    }

    /// Leaves the cursor where a shell may go on, whatever was shown; for the end in the midst of something.
    static func leaveClean() {
        // What another thread has begun to write comes before the line's end, and nothing after it.
        isLeaving.store(true, ordering: .sequentiallyConsistent)
        if isResultShown { usleep(20_000) }
        if isMidLine.load(ordering: .relaxed) {
            write("\n", to: STDERR_FILENO)
        } else if progressLine.withLockIfAvailable({ $0 != nil }) ?? true, isInteractive {
            write(clearing, to: STDERR_FILENO)
        }
    }

    /// The text with control characters, which names in a file may hold to play tricks on a terminal, shown as they are
    /// written in Swift.
    private static func printable(_ text: String, keeping kept: [Unicode.Scalar]) -> String {
        func isHarmless(_ scalar: Unicode.Scalar) -> Bool {
            scalar.properties.generalCategory != .control || kept.contains(scalar)
        }
        // What can be a control character at all: bytes below a space, DEL, and the lead of U+0080 to U+00BF.
        guard
            text.utf8.contains(where: { $0 < 0x20 && !kept.contains(Unicode.Scalar($0)) || $0 == 0x7F || $0 == 0xC2 }),
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

/// Seconds in few columns: 9s, 2m05s, 1h02m, 12d03h.
func shortDurationText(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0, seconds < 3e10 else { return "-" }
    let whole = Int(seconds.rounded())
    func pair(_ large: Int, _ unit: String, _ small: Int, _ smallUnit: String) -> String {
        "\(large)\(unit)\(small < 10 ? "0" : "")\(small)\(smallUnit)"
    }
    if whole < 60 { return "\(whole)s" }
    if whole < 3600 { return pair(whole / 60, "m", whole % 60, "s") }
    if whole < 86_400 { return pair(whole / 3600, "h", whole % 3600 / 60, "m") }
    return pair(whole / 86_400, "d", whole % 86_400 / 3600, "h")
}
