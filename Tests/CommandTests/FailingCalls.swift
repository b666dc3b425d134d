import Foundation
import TestSupport
import Testing

/// A library that is loaded before the program's own, so that a system call of one's choice fails: see
/// `Tests/Scripts/failing_calls.c`, which clang compiles here.
enum FailingCalls {
    /// The library; nil where there is no compiler.
    static let library: String? = {
        guard let folder = try? makeTemporaryFolder() else { return nil }
        libraryFolder = folder
        atexit { try? FileManager.default.removeItem(atPath: libraryFolder) }
        let path = folder + "/failing_calls.so"
        let line = "clang -O1 -Wall -Werror -shared -fPIC -o \(path) \(packageRoot)/Tests/Scripts/failing_calls.c"
        guard let outcome = try? Program(folder: folder).shell(line), outcome.status == 0 else { return nil }
        return path
    }()

    private nonisolated(unsafe) static var libraryFolder = ""

    /// What fails, and how.
    struct Fault {
        /// "write" or "read".
        var calls = "write"
        /// The number of the call, from 1; 0 for none.
        var at = 0
        var code = EIO
        /// "error", "interrupt" or "short".
        var kind = "error"
        /// Whether whatever takes room fails from then on.
        var stays = false
    }

    /// What a run left.
    struct Run {
        let outcome: Program.Outcome
        /// The calls that counted, each as its name, a space and a path.
        let calls: [String]
        /// The threads of each parallel region.
        let threads: [Int]
    }

    /// Runs the program in `work`; calls about what lies in `watched` count.
    static func run(_ arguments: [String], _ fault: Fault, in work: String, watched: String) throws -> Run {
        let log = try makeTemporaryFolder()
        defer { try? FileManager.default.removeItem(atPath: log) }
        let outcome = try Program(folder: work).run(
            arguments,
            environment: [
                "LD_PRELOAD": try #require(library), "GOMP_SPINCOUNT": "2000", "FAULT_FOLDER": watched,
                "FAULT_LOG": log + "/log", "FAULT_CALLS": fault.calls, "FAULT_AT": "\(fault.at)",
                "FAULT_ERRNO": "\(fault.code)", "FAULT_KIND": fault.kind, "FAULT_STAYS": fault.stays ? "1" : "0",
            ])
        let lines = String(decoding: try readFile(log + "/log"), as: UTF8.self).split(separator: "\n").map(String.init)
        let threads = "threads "
        return Run(
            outcome: outcome, calls: lines.filter { !$0.hasPrefix(threads) },
            threads: lines.filter { $0.hasPrefix(threads) }.compactMap { Int($0.dropFirst(threads.count)) })
    }

    /// The numbers of calls to try: all if that was asked for, else the first of each name and the very last.
    static func chosen(_ calls: [String]) -> [Int] {
        let names = calls.map { String($0.prefix { $0 != " " }) }
        return names.indices.filter { index in
            Faults.asked != nil || !names[..<index].contains(names[index]) || index == names.count - 1
        }.map { $0 + 1 }
    }
}
