import Foundation

/// What a finished program left.
struct ChildResult {
    /// Its exit code; 128 and more for a signal.
    let status: Int32
    /// What it wrote to stdout.
    let output: String
    /// Its largest resident memory, bytes.
    let peakResidentBytes: Int
    /// Seconds from start to end.
    let wallSeconds: Double
    /// User and system seconds of all its threads.
    let processorSeconds: Double
}

/// A program could not be run, or failed.
struct ChildFailure: Error, CustomStringConvertible {
    let description: String
}

/// Runs a program to its end and measures it. stderr goes to ours; further environment is added to ours.
func runChild(_ command: [String], environment: [String: String] = [:]) throws -> ChildResult {
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
    let output = FileHandle(fileDescriptor: ends[0], closeOnDealloc: true).readDataToEndOfFile()
    var status: Int32 = 0
    var usage = rusage()
    while wait4(child, &status, 0, &usage) < 0, errno == EINTR {}
    let elapsed = ContinuousClock.now - start
    let seconds = { (time: timeval) in Double(time.tv_sec) + Double(time.tv_usec) * 1e-6 }
    return ChildResult(
        status: status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + (status & 0x7F),
        output: String(decoding: output, as: UTF8.self), peakResidentBytes: Int(usage.ru_maxrss) * 1024,
        wallSeconds: Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18,
        processorSeconds: seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// The middle value; the mean of the two middle ones for an even count; NaN for none.
func median(_ values: [Double]) -> Double {
    guard !values.isEmpty else { return .nan }
    let sorted = values.sorted()
    let half = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}
