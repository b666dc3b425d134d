import Foundation
import Synchronization

/// What a finished program left.
public struct ChildResult: Sendable {
    /// Its exit code; 128 and more for a signal.
    public let status: Int32
    /// What it wrote to stdout.
    public let output: String
    /// Its largest resident memory, bytes.
    public let peakResidentBytes: Int
    /// Its largest resident memory that is no file's, bytes, looked at every few milliseconds.
    public let peakAnonymousBytes: Int
    /// The largest part of files that it had mapped and in memory, bytes, looked at as often.
    public let peakFileBytes: Int
    /// Seconds from start to end.
    public let wallSeconds: Double
    /// User and system seconds of all its threads.
    public let processorSeconds: Double
}

/// A program could not be run, or failed.
public struct ChildFailure: Error, CustomStringConvertible {
    /// The sentence that is printed.
    public let description: String

    /// A failure with that sentence.
    public init(description: String) { self.description = description }
}

/// Runs a program to its end and measures it. stderr goes to ours; further environment is added to ours.
public func runChild(_ command: [String], environment: [String: String] = [:]) throws -> ChildResult {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw ChildFailure(description: "pipe: \(String(cString: strerror(errno)))") }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_addclose(&actions, ends[0])
    let full = ProcessInfo.processInfo.environment.merging(environment) { _, new in new }
    var arguments = command.map { strdup($0) } + [nil]
    var variables = full.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in arguments + variables { free(text) } }
    let start = ContinuousClock.now
    var child = pid_t()
    let code = posix_spawnp(&child, command[0], &actions, nil, &arguments, &variables)
    close(ends[1])
    guard code == 0 else {
        close(ends[0])
        throw ChildFailure(description: "\(command[0]): \(String(cString: strerror(code)))")
    }
    let watch = MemoryWatch(child)
    let output = FileHandle(fileDescriptor: ends[0], closeOnDealloc: true).readDataToEndOfFile()
    var status: Int32 = 0
    var usage = rusage()
    while wait4(child, &status, 0, &usage) < 0, errno == EINTR {}
    let elapsed = ContinuousClock.now - start
    let peaks = watch.stop()
    let seconds = { (time: timeval) in Double(time.tv_sec) + Double(time.tv_usec) * 1e-6 }
    return ChildResult(
        status: status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + (status & 0x7F),
        output: String(decoding: output, as: UTF8.self), peakResidentBytes: Int(usage.ru_maxrss) * 1024,
        peakAnonymousBytes: peaks.anonymous, peakFileBytes: peaks.file,
        wallSeconds: Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18,
        processorSeconds: seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// A process that keeps a processor busy, as another program would, until it is stopped or this process ends.
public final class BusyLoop {
    private let process = Process()

    /// Starts it.
    public init() throws {
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        let work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
        process.arguments = ["-c", "while kill -0 \(getpid()) 2>/dev/null; do \(work); done"]
        try process.run()
    }

    /// Ends it.
    public func stop() {
        process.terminate()
        process.waitUntilExit()
    }
}

/// Looks at a process's memory by kind as long as it runs, without taking much of a processor from it.
private final class MemoryWatch: Sendable {
    private let state = Mutex((anonymous: 0, file: 0, isOver: false))

    init(_ process: pid_t) {
        Thread.detachNewThread {
            let status = open("/proc/\(process)/status", O_RDONLY | O_CLOEXEC)
            defer { close(status) }
            var text = [CChar](repeating: 0, count: 4096)
            while !self.state.withLock({ $0.isOver }) {
                let count = pread(status, &text, text.count - 1, 0)
                text[max(0, count)] = 0
                let (anonymous, file) = (Self.bytes("RssAnon:", in: text), Self.bytes("RssFile:", in: text))
                self.state.withLock {
                    $0.anonymous = max($0.anonymous, anonymous)
                    $0.file = max($0.file, file)
                }
                usleep(5000)
            }
        }
    }

    /// The number of kilobytes behind `name`, in bytes; 0 where it is not there.
    private static func bytes(_ name: String, in text: [CChar]) -> Int {
        text.withUnsafeBufferPointer { text in
            guard let place = strstr(text.baseAddress!, name) else { return 0 }
            return strtol(place + name.utf8.count, nil, 10) * 1024
        }
    }

    func stop() -> (anonymous: Int, file: Int) {
        state.withLock {
            $0.isOver = true
            return ($0.anonymous, $0.file)
        }
    }
}

/// The middle value; the mean of the two middle ones for an even count; NaN for none.
public func median(_ values: [Double]) -> Double {
    guard !values.isEmpty else { return .nan }
    let sorted = values.sorted()
    let half = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}
