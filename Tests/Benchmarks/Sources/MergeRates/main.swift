import BenchmarkSupport
import Foundation

/// What is merged, and against what.
struct Options {
    /// The program.
    var tspeft = "../../.build/release/tspeft"
    /// A Hugging Face directory, in shards or one file.
    var base = ""
    /// A LoRA adapter of peft's.
    var adapter = ""
    /// Where outputs go; the file system that is measured.
    var work = FileManager.default.currentDirectoryPath
    /// Scripts that merge in Python, each taking --base, --adapter and --out; the first is PyTorch + peft's way.
    var peers: [String] = []
    /// The Python that has torch, transformers and peft.
    var python = "python3"
    /// Alternating rounds.
    var rounds = 3
    /// A model to be made in `base`, with an adapter on it in `adapter`, where they are not there yet; they stay.
    var made: MadeModel?
    /// The rank of the adapter, and the names of the modules that it is on.
    var adapted: (rank: Int, modules: Set<String>) = (8, [])
    /// Another program that merges and converts beside ours.
    var before: String?
    /// Whether conversions to F16 are timed too.
    var converts = false
    /// Whether runs with inputs that are not in memory are timed too.
    var runsCold = true
    /// Whether the disk itself is timed too.
    var timesDisk = true

    static let usage = """
        usage: swift run -c release MergeRates --base DIR --adapter DIR [--work DIR] [--tspeft FILE] [--rounds N]
                 [--peer merge_script.py]... [--python FILE] [--make experts|llama-1b|llama-8b] [--before FILE]
                 [--convert yes] [--cold no] [--disk no]
        """

    init(_ arguments: [String]) throws {
        var rest = arguments[...]
        while let name = rest.popFirst() {
            guard let value = rest.popFirst() else { throw ChildFailure(description: Self.usage) }
            switch name {
            case "--tspeft": tspeft = value
            case "--base": base = value
            case "--adapter": adapter = value
            case "--work": work = value
            case "--peer": peers.append(value)
            case "--python": python = value
            case "--make": try make(value)
            case "--before": before = value
            case "--convert": converts = value == "yes"
            case "--cold": runsCold = value == "yes"
            case "--disk": timesDisk = value == "yes"
            case "--rounds": rounds = max(1, Int(value) ?? 3)
            default: throw ChildFailure(description: "unknown option \(name)\n" + Self.usage)
            }
        }
        guard !base.isEmpty, !adapter.isEmpty else { throw ChildFailure(description: Self.usage) }
    }

    private static let usual: (Int, Set<String>) = (32, ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"])

    private mutating func make(_ name: String) throws {
        switch name {
        case "experts": (made, adapted) = (.experts, (8, ["gate_proj", "up_proj", "down_proj"]))
        case "llama-8b": (made, adapted) = (.llama8B, Self.usual)
        case "llama-1b": (made, adapted) = (.llama1B, Self.usual)
        default: throw ChildFailure(description: "unknown model \(name)\n" + Self.usage)
        }
    }
}

do {
    try MergeRates(options: Options(Array(CommandLine.arguments.dropFirst()))).run()
} catch {
    FileHandle.standardError.write(Data("merge rates: \(error)\n".utf8))
    exit(1)
}
