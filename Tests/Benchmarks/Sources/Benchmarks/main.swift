import BenchmarkSupport
import Foundation

/// What is benchmarked, and with what.
struct Options {
    /// The program.
    var tspeft = "../../.build/release/tspeft"
    /// A Hugging Face directory (safetensors), which both programs can open.
    var base = "../Models/smollm2-hf"
    /// A JSON array of records with an `instruction`, for text.
    var textPath = "../../Fixtures/arc-easy/train.json"
    /// The script that times PyTorch + peft; nil for tspeft alone.
    var peerScript: String?
    /// The Python that has torch, transformers and peft.
    var python = "python3"
    /// Whether the peer's default setting takes part too.
    var includesStock = false
    /// The methods of ours that take part, with the ranks that `inject` gives them.
    var methods = ["lora", "ts-lora"]
    /// Alternating rounds.
    var rounds = 3
    /// Timed steps of a run.
    var steps = 6
    /// Sequences of a step.
    var batchSize = 8
    /// Tokens of a sequence.
    var sequenceLength = 256
    /// bf16 or f32.
    var dtype = "bf16"
    /// Whether ways of waiting take part in place of peers: as the program ships, and as libgomp is told otherwise.
    var comparesWaiting = false
    /// Busy loops that run beside, as other programs on the same processors would.
    var busyLoops = 0

    static let usage = """
        usage: swift run -c release Benchmarks [--base DIR] [--tspeft FILE] [--peer train_peft.py] [--python FILE]
                 [--stock] [--rounds N] [--steps N] [--batch N] [--seq N] [--dtype bf16|f32] [--text FILE]
                 [--methods lora,ts-lora,...] [--waiting] [--beside LOOPS]
        """

    init(_ arguments: [String]) throws {
        var rest = arguments[...]
        func number(_ text: String, _ name: String) throws -> Int {
            guard let value = Int(text), value > 0 else {
                throw ChildFailure(description: "\(name) must be a number above 0, not \(text)")
            }
            return value
        }
        while let name = rest.popFirst() {
            if name == "--stock" {
                includesStock = true
                continue
            }
            if name == "--waiting" {
                comparesWaiting = true
                continue
            }
            guard let value = rest.popFirst() else { throw ChildFailure(description: Self.usage) }
            switch name {
            case "--tspeft": tspeft = value
            case "--base": base = value
            case "--text": textPath = value
            case "--peer": peerScript = value
            case "--python": python = value
            case "--methods": methods = value.split(separator: ",").map(String.init)
            case "--dtype": dtype = value
            case "--rounds": rounds = try number(value, name)
            case "--steps": steps = try number(value, name)
            case "--batch": batchSize = try number(value, name)
            case "--seq": sequenceLength = try number(value, name)
            case "--beside": busyLoops = try number(value, name)
            default: throw ChildFailure(description: "unknown option \(name)\n" + Self.usage)
            }
        }
    }
}

do {
    try TrainingBenchmark(options: Options(Array(CommandLine.arguments.dropFirst()))).run()
} catch {
    FileHandle.standardError.write(Data("benchmarks: \(error)\n".utf8))
    exit(1)
}
