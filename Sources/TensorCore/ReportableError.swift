/// What an error means to the caller of the program, as the exit code that BSD's sysexits.h gives it.
package enum ExitStatus: Int32, Sendable {
    /// The command line cannot be understood or contradicts itself.
    case usage = 64
    /// An input is malformed, or inputs do not belong together.
    case badData = 65
    /// An input does not exist or cannot be opened.
    case missingInput = 66
    /// The input is sound, but this program cannot do that.
    case unsupported = 69
    /// The program's own result failed its check (a NaN in a loss, for one).
    case failedSelfCheck = 70
    /// An output cannot be created, or exists already.
    case cannotCreate = 73
    /// Reading or writing failed: a full disk, a device error.
    case inputOutput = 74
    /// SIGINT or SIGTERM asked for an end.
    case interrupted = 130
}

/// An error with one sentence for the user and the exit code that fits it. Every room's error enum conforms.
package protocol ReportableError: Error, CustomStringConvertible, Sendable {
    /// The exit code of a program that stops at this error.
    var exitStatus: ExitStatus { get }
}
