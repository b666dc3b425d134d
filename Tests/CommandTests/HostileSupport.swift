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
    /// Whether it is so large that only a program that was built for speed is given it.
    let needsRelease: Bool
    /// Makes the input at a path.
    let make: @Sendable (_ path: String) throws -> Void

    init(
        _ name: String, _ command: String, _ status: Int32, _ words: [String],
        needsRelease: Bool = false, make: @escaping @Sendable (_ path: String) throws -> Void
    ) {
        self.needsRelease = needsRelease
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
    /// Whether the program is one that was built for speed: TSPEFT_PROGRAM is taken for that.
    static let isRelease: Bool = {
        #if DEBUG
            return Program.namedPath != nil
        #else
            return true
        #endif
    }()
    /// Seconds of computing: one in a release build, which alone promises it; TSPEFT_CPU_SECONDS in the environment
    /// gives another number for processors that are slow or shared. A debug build takes ten to thirty times as long,
    /// so its bound is only what tells work from an endless loop.
    static let processorSeconds: Int = {
        let asked = ProcessInfo.processInfo.environment["TSPEFT_CPU_SECONDS"].flatMap { Int($0) }
        return asked ?? (isRelease ? 1 : 120)
    }()
    /// Seconds by the clock, on a machine that may be busy: more is a program that waits for ever.
    static let clockSeconds = isRelease ? 60 : 240
}

extension Program {
    /// Runs a command line under `Limits`, each word separated by a space.
    func runLimited(_ command: String) throws -> Outcome {
        try shell(
            "ulimit -d \(Limits.memory) && ulimit -t \(Limits.processorSeconds) && "
                + "exec timeout \(Limits.clockSeconds) \"$T\" \(command)")
    }
}

/// Puts links to a model's or an adapter's files into a new directory, but for those that `replacing` names, which have
/// these contents; nil leaves a file out.
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
    case pipe, directory, loop, dangling, socket, terminal, zero, full, null, random

    /// Makes it at a path, of which little is left where the path is long: a socket's may have 107 bytes.
    func make(_ path: String) throws {
        switch self {
        case .pipe: mkfifo(path, 0o644)
        case .directory: mkdir(path, 0o755)
        case .loop: try TestSupport.link(path, to: path)
        case .dangling: try TestSupport.link(path, to: path + "-nothing")
        case .socket: try Self.makeSocket(path)
        case .terminal: try TestSupport.link(path, to: Self.terminalPath)
        case .zero: try TestSupport.link(path, to: "/dev/zero")
        case .full: try TestSupport.link(path, to: "/dev/full")
        case .null: try TestSupport.link(path, to: "/dev/null")
        case .random: try TestSupport.link(path, to: "/dev/urandom")
        }
    }

    /// A terminal at which nobody sits, as long as the tests run: what reads from it waits for ever.
    private static let terminalPath: String = {
        let other = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        var (number, lock): (Int32, Int32) = (-1, 0)
        // What unlockpt and ptsname do; Linux has these numbers on all common processors.
        guard other >= 0, ioctl(other, 0x4004_5431, &lock) == 0, ioctl(other, 0x8004_5430, &number) == 0 else {
            return "/dev/tty"
        }
        return "/dev/pts/\(number)"
    }()

    private static func makeSocket(_ path: String) throws {
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes.prefix($0.count - 1)) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw UnusableRun(command: "making a socket", errors: path) }
    }
}
