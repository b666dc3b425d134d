import Foundation
import Synchronization
import TestSupport

/// The built program at a terminal of its own, which it controls: Ctrl-C and Ctrl-D work as for a person.
final class PseudoTerminal: Sendable {
    private let master: Int32
    private let process: Process
    private let received = Mutex<[UInt8]>([])

    /// Starts the program.
    init(_ arguments: [String], in folder: String, columns: Int = 80, environment: [String: String] = [:]) throws {
        master = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        // What posix_openpt and its like do, which Swift does not see: TIOCSPTLCK and TIOCGPTN of ioctl_tty(2).
        var (lock, number) = (Int32(0), Int32(0))
        guard master >= 0, ioctl(master, 0x4004_5431, &lock) == 0, ioctl(master, 0x8004_5430, &number) == 0 else {
            throw UnusableRun(command: "open /dev/ptmx", errors: "errno \(errno)")
        }
        let slave = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY)
        process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["setsid", "--ctty", "--wait", Program.path] + arguments
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        // What is set where the tests run says nothing of this terminal.
        process.environment = ProcessInfo.processInfo.environment
            .filter { !["NO_COLOR", "COLUMNS"].contains($0.key) }.merging(["TERM": "xterm"]) { $1 }
            .merging(environment) { $1 }
        let handle = FileHandle(fileDescriptor: slave, closeOnDealloc: true)
        process.standardInput = handle
        process.standardOutput = handle
        process.standardError = handle
        resize(columns: columns)
        try process.run()
        try handle.close()
        Thread { [self] in read() }.start()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        close(master)
    }

    private func read() {
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = Glibc.read(master, &bytes, bytes.count)
            // The end of the program is an error of the terminal's.
            guard count > 0 else { return }
            received.withLock { $0 += bytes[..<count] }
        }
    }

    /// Everything that the terminal was sent so far, with plain ends of lines.
    var text: String {
        let bytes = received.withLock { $0 }
        let plain = bytes.indices.filter { !(bytes[$0] == 0x0D && $0 + 1 < bytes.count && bytes[$0 + 1] == 0x0A) }
        return String(decoding: plain.map { bytes[$0] }, as: UTF8.self)
    }

    /// Presses keys.
    func type(_ text: String) { type(bytes: Array(text.utf8)) }

    /// Sends bytes as keys do.
    func type(bytes: [UInt8]) {
        _ = write(master, bytes, bytes.count)
    }

    /// Makes the window another number of columns wide.
    func resize(columns: Int) {
        var size = winsize(ws_row: 24, ws_col: UInt16(columns), ws_xpixel: 0, ws_ypixel: 0)
        _ = ioctl(master, UInt(TIOCSWINSZ), &size)
    }

    /// Waits until `condition` holds for what the terminal was sent; throws after a minute.
    func wait(_ what: String, _ condition: (String) -> Bool) throws {
        for _ in 0..<6000 {
            if condition(text) { return }
            usleep(10_000)
        }
        throw UnusableRun(command: "waiting for \(what)", errors: text)
    }

    /// Waits until the terminal was sent `wanted`, `count` times in all.
    func wait(for wanted: String, count: Int = 1) throws {
        try wait(wanted) { $0.components(separatedBy: wanted).count > count }
    }

    /// Waits for the program's end, and gives its exit code; minus the number of the signal that ended it.
    func finish() throws -> Int32 {
        try wait("the end") { _ in !process.isRunning }
        // What was sent last is read by now, or soon.
        usleep(50_000)
        return process.terminationReason == .exit ? process.terminationStatus : -process.terminationStatus
    }
}

/// The lines that a terminal shows after text with carriage returns, erased lines and colours; a cursor that moves
/// otherwise is not known.
func shownLines(_ text: String) -> [String] {
    var lines = [[Character]()]
    var column = 0
    var rest = Substring(text)
    while let character = rest.popFirst() {
        switch character {
        case "\n":
            lines.append([])
            column = 0
        case "\r": column = 0
        case "\u{1B}":
            let sequence = rest.prefix { !$0.isLetter }
            rest = rest.dropFirst(sequence.count)
            let command = rest.popFirst()
            if command == "K" { lines[lines.count - 1].removeSubrange(min(column, lines[lines.count - 1].count)...) }
        default:
            if column < lines[lines.count - 1].count {
                lines[lines.count - 1][column] = character
            } else {
                lines[lines.count - 1].append(character)
            }
            column += 1
        }
    }
    return lines.map { String($0) }
}
