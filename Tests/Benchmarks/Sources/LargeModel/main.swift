import BenchmarkSupport
import Foundation

/// What is trained, and how.
struct Options {
    /// The program.
    var tspeft = "../../.build/release/tspeft"
    /// Where the checkpoint is or is made; it is kept.
    var base = ""
    /// The folder whose tokenizer a new checkpoint gets.
    var tokenizer = "../../Fixtures/tiny-llama"
    /// The processor level the program is held to, or the machine's own.
    var level: String?
    /// Optimizer steps of one sequence each.
    var steps = 3
    /// Tokens of a sequence.
    var tokens = 512

    static let usage = """
        usage: swift run -c release LargeModel --base DIR [--tspeft FILE] [--tokenizer DIR] [--level avx2]
                 [--steps N] [--tokens N]
        """

    init(_ arguments: [String]) throws {
        var rest = arguments[...]
        while let name = rest.popFirst() {
            guard let value = rest.popFirst() else { throw ChildFailure(description: Self.usage) }
            switch name {
            case "--tspeft": tspeft = value
            case "--base": base = value
            case "--tokenizer": tokenizer = value
            case "--level": level = value
            case "--steps": steps = max(1, Int(value) ?? 3)
            case "--tokens": tokens = max(1, Int(value) ?? 512)
            default: throw ChildFailure(description: "unknown option \(name)\n" + Self.usage)
            }
        }
        guard !base.isEmpty else { throw ChildFailure(description: Self.usage) }
    }
}

do {
    try LargeModel(options: Options(Array(CommandLine.arguments.dropFirst()))).run()
} catch {
    FileHandle.standardError.write(Data("large model: \(error)\n".utf8))
    exit(1)
}
