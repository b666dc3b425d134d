import Foundation
import TestSupport

/// The built program, run as a user runs it.
struct Program {
    /// What a run left.
    struct Outcome {
        /// The exit code; of a run that a signal ended, minus its number.
        let status: Int32
        /// What stdout got.
        let output: String
        /// What stderr got.
        let errors: String

        /// The lines of stderr.
        var errorLines: [String] { errors.split(separator: "\n").map(String.init) }
    }

    /// The program that TSPEFT_PROGRAM in the environment names, a release build under limits of its own for example;
    /// without it the one that was built with these tests, which lies beside the test bundle, debug or release.
    static let path: String = {
        if let named = namedPath { return named }
        let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return (bundle as NSString).deletingLastPathComponent + "/tspeft"
    }()

    /// The path in TSPEFT_PROGRAM.
    static let namedPath = ProcessInfo.processInfo.environment["TSPEFT_PROGRAM"]

    /// Where the program runs; relative paths are in it.
    let folder: String

    /// Runs the program to its end.
    func run(_ arguments: [String], environment: [String: String] = [:]) throws -> Outcome {
        try begin(arguments, environment: environment).finish()
    }

    /// Runs a line of a shell in which `$T` is the program.
    func shell(_ line: String, environment: [String: String] = [:]) throws -> Outcome {
        let all = environment.merging(["T": Self.path]) { $1 }
        return try Running("/bin/sh", ["-c", line], in: folder, environment: all).finish()
    }

    /// Starts the program.
    func begin(_ arguments: [String], environment: [String: String] = [:]) throws -> Running {
        try Running(Self.path, arguments, in: folder, environment: environment)
    }

    /// A program that runs.
    final class Running {
        private let process = Process()
        private let streams: String

        fileprivate init(
            _ program: String, _ arguments: [String], in folder: String, environment: [String: String]
        ) throws {
            streams = try makeTemporaryFolder()
            process.executableURL = URL(fileURLWithPath: program)
            process.arguments = arguments
            process.currentDirectoryURL = URL(fileURLWithPath: folder)
            process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
            process.standardInput = FileHandle.nullDevice
            // Files, because a pipe that nobody empties would stop the program.
            process.standardOutput = try Self.file(streams + "/out")
            process.standardError = try Self.file(streams + "/err")
            try process.run()
        }

        private static func file(_ path: String) throws -> FileHandle {
            try writeFile(path, "")
            return try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        }

        /// Whether it has not ended.
        var isRunning: Bool { process.isRunning }

        /// Sends SIGINT, as Ctrl-C does.
        func interrupt() { process.interrupt() }

        /// Ends it at once, as `kill -9` does.
        func kill() {
            if process.isRunning { Glibc.kill(process.processIdentifier, SIGKILL) }
        }

        /// From now on no file that it writes may have more than `size` bytes.
        func limitFiles(to size: Int) throws {
            let tool = try Process.run(
                URL(fileURLWithPath: "/usr/bin/env"),
                arguments: ["prlimit", "--pid", "\(process.processIdentifier)", "--fsize=\(size)"])
            tool.waitUntilExit()
            guard tool.terminationStatus == 0 else {
                throw UnusableRun(command: "prlimit", errors: "it ended with \(tool.terminationStatus)")
            }
        }

        /// Waits for the end.
        func finish() throws -> Outcome {
            process.waitUntilExit()
            defer { try? FileManager.default.removeItem(atPath: streams) }
            let status = process.terminationStatus
            return Outcome(
                status: process.terminationReason == .exit ? status : -status,
                output: String(decoding: try readFile(streams + "/out"), as: UTF8.self),
                errors: String(decoding: try readFile(streams + "/err"), as: UTF8.self))
        }
    }
}

/// Paths of everything under a folder, sorted.
func contents(of folder: String) -> [String] {
    (FileManager.default.enumerator(atPath: folder)?.allObjects as? [String] ?? []).sorted()
}
