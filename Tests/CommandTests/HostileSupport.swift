import CheckpointIO
import Foundation
import TestSupport
import Testing

/// An input that no honest program writes, what it is given to, and what must come of it.
struct Hostile: CustomTestStringConvertible, Sendable {
    /// What is wrong with it.
    let testDescription: String
    /// The command line; `BASE` is the tiny model, `RUN` the folder of `TinyRun`, `X` what `make` made.
    let command: String
    /// The exit code.
    let status: Int32
    /// Words of the sentence.
    let words: [String]
    /// Makes the input at a path.
    let make: @Sendable (_ path: String) throws -> Void

    init(
        _ name: String, _ command: String, _ status: Int32, _ words: String...,
        make: @escaping @Sendable (_ path: String) throws -> Void
    ) {
        testDescription = name
        self.command = command
        self.status = status
        self.words = words
        self.make = make
    }
}

/// How the program is held to its limits: seconds of its processors' time, and of the clock where it waits, and memory.
enum Limits {
    /// KiB of data (heap, stacks, buffers; not mapped files).
    static let memory = 256 << 10
    /// Seconds of computing: one in a release build, which is what the limit is for; a debug build takes many times as long.
    static let processorSeconds: Int = {
        #if DEBUG
            return 12
        #else
            return 1
        #endif
    }()
    /// Seconds by the clock, on a machine that may be busy: more is a program that waits for ever.
    static let clockSeconds = 60
}

extension Program {
    /// Runs a command line under `Limits`, each word separated by a space.
    func runLimited(_ command: String) throws -> Outcome {
        try shell(
            "ulimit -d \(Limits.memory) && ulimit -t \(Limits.processorSeconds) && "
                + "exec timeout \(Limits.clockSeconds) \"$T\" \(command)")
    }
}

/// Puts links to a model's or an adapter's files into a new directory, but for those that `replacing` names, which have these
/// contents; nil leaves a file out.
func variant(_ path: String, of source: String, replacing: [String: [UInt8]?]) throws {
    mkdir(path, 0o755)
    for name in try names(in: source) where replacing[name] == nil {
        try TestSupport.link(path + "/" + name, to: source + "/" + name)
    }
    for case (let name, let bytes?) in replacing { try writeFile(path + "/" + name, bytes) }
}

/// A JSON file with members replaced by text, which need not be JSON; other members stay.
func replacing(_ members: [String: String], in file: String) throws -> [UInt8] {
    guard case .object(let object) = try JSONValue.parse(readFile(file)) else { return [] }
    let kept = object.members.filter { members[$0.key] == nil }.map { "\"\($0.key)\": \($0.value.text())" }
    let new = members.map { "\"\($0.key)\": \($0.value)" }.sorted()
    return Array(("{" + (kept + new).joined(separator: ", ") + "}").utf8)
}

/// What may stand where a file should.
enum Stranger: String, CaseIterable {
    case pipe, device, directory, loop

    func make(_ path: String) throws {
        switch self {
        case .pipe: mkfifo(path, 0o644)
        case .device: try TestSupport.link(path, to: "/dev/zero")
        case .directory: mkdir(path, 0o755)
        case .loop: try TestSupport.link(path, to: path)
        }
    }
}
