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

    static let usage = """
        usage: swift run -c release MergeRates --base DIR --adapter DIR [--work DIR] [--tspeft FILE] [--rounds N]
                 [--peer merge_script.py]... [--python FILE]
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
            case "--rounds": rounds = max(1, Int(value) ?? 3)
            default: throw ChildFailure(description: "unknown option \(name)\n" + Self.usage)
            }
        }
        guard !base.isEmpty, !adapter.isEmpty else { throw ChildFailure(description: Self.usage) }
    }
}

do {
    try MergeRates(options: Options(Array(CommandLine.arguments.dropFirst()))).run()
} catch {
    FileHandle.standardError.write(Data("merge rates: \(error)\n".utf8))
    exit(1)
}
