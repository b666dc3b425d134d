import BenchmarkSupport
import Foundation

/// One setting of one program.
struct Contestant {
    /// What the table calls it.
    let name: String
    /// Runs it once.
    let run: () throws -> TrainingFigures
}

/// What one run of a contestant measured.
struct TrainingFigures {
    /// Median over the timed steps.
    let tokensPerSecond: Double
    /// Largest resident memory of the process.
    let peakResidentBytes: Int
    /// Share of the steps' time spent in matrix products, where the program tells.
    let productShare: Double?
}

/// Tokens per second of adapter training at the size of a real model: tspeft against PyTorch + peft, alternating in one
/// run.
struct TrainingBenchmark {
    let options: Options

    /// Steps of a run that are not timed: caches fill, kernels are compiled. The peer's script has the same.
    private static let warmup = 2

    func run() throws {
        let work = FileManager.default.temporaryDirectory.appendingPathComponent("tspeft-bench-\(getpid())").path
        try FileManager.default.createDirectory(atPath: work, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: work) }
        let data = work + "/text.jsonl"
        try writeText(to: data)
        var contestants: [Contestant] = []
        for method in options.methods {
            let adapter = work + "/adapter-" + method
            let made = try runChild([options.tspeft, "inject", options.base, "--method", method, "-o", adapter])
            guard made.status == 0 else { throw ChildFailure(description: "tspeft inject failed") }
            for setting in settings {
                contestants.append(
                    Contestant(name: "tspeft \(method)" + setting.name) {
                        try runTSPEFT(setting, adapter: adapter, data: data, work: work)
                    })
            }
        }
        if let script = options.peerScript {
            contestants.append(Contestant(name: "PyTorch + peft, LoRA, compiled") { try runPeer(script, []) })
            contestants.append(
                Contestant(name: "PyTorch + peft, gate, compiled") { try runPeer(script, ["--mode", "ts"]) })
            if options.includesStock {
                contestants.append(Contestant(name: "PyTorch + peft, stock") { try runPeer(script, ["--stock"]) })
            }
        }
        let loops = try (0..<options.busyLoops).map { _ in try BusyLoop() }
        defer { for loop in loops { loop.stop() } }
        var figures = [[TrainingFigures]](repeating: [], count: contestants.count)
        for round in 1...options.rounds {
            for (index, contestant) in contestants.enumerated() {
                let figure = try contestant.run()
                figures[index].append(figure)
                let speed = String(format: "%.0f", figure.tokensPerSecond)
                FileHandle.standardError.write(
                    Data("round \(round)/\(options.rounds)  \(contestant.name): \(speed) tokens/s\n".utf8))
            }
        }
        printTable(contestants, figures)
    }

    /// How our program is run.
    private struct Setting {
        /// What the table adds to the program's name.
        var name = ""
        var environment: [String: String] = [:]
        var arguments: [String] = []
    }

    /// The program as it ships, and where they are compared, how else its threads could wait for each other.
    private var settings: [Setting] {
        let shipped = [Setting()]
        guard options.comparesWaiting else { return shipped }
        return shipped + [
            Setting(name: ", OMP_WAIT_POLICY=passive", environment: ["OMP_WAIT_POLICY": "passive"]),
            Setting(name: ", GOMP_SPINCOUNT=2000", environment: ["GOMP_SPINCOUNT": "2000"]),
            Setting(name: ", --threads 1", arguments: ["--threads", "1"]),
        ]
    }

    /// Records that are longer than the benchmark's sequences, so that --max-length cuts each to exactly that.
    private func writeText(to path: String) throws {
        struct Record: Decodable { let instruction: String }
        let records = try JSONDecoder().decode(
            [Record].self, from: Data(contentsOf: URL(fileURLWithPath: options.textPath)))
        let text = records.map(\.instruction).joined(separator: " ")
        // English has fewer than 8 characters a token.
        let length = options.sequenceLength * 8
        let characters = Array(text)
        var lines = ""
        for index in 0..<options.batchSize * 2 {
            let piece = (0..<length).map { characters[(index * 977 + $0) % characters.count] }
            let json = try JSONSerialization.data(withJSONObject: ["text": String(piece)])
            lines += String(decoding: json, as: UTF8.self) + "\n"
        }
        try lines.write(toFile: path, atomically: true, encoding: .utf8)
    }

    /// Reads the snake_case of logs.
    private var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }

    private func runTSPEFT(
        _ setting: Setting, adapter: String, data: String, work: String
    ) throws -> TrainingFigures {
        let output = work + "/run"
        try? FileManager.default.removeItem(atPath: output)
        let command = [
            options.tspeft, "train", options.base, "--adapter", adapter, "--data", data, "-o", output, "--steps",
            String(options.steps + Self.warmup), "--batch-size", String(options.batchSize), "--max-length",
            String(options.sequenceLength), "--train-on-prompt", "--dtype", options.dtype, "--log-every", "1000",
        ]
        let result = try runChild(command + setting.arguments, environment: setting.environment)
        guard result.status == 0 else { throw ChildFailure(description: "tspeft train failed") }
        struct Event: Decodable {
            let event: String
            let tokensPerSecond: Double?
            let productShare: Double?
        }
        let log = try String(contentsOfFile: output + "/log.jsonl", encoding: .utf8)
        let events = try log.split(separator: "\n").map { try decoder.decode(Event.self, from: Data($0.utf8)) }
        let speeds = events.filter { $0.event == "step" }.compactMap(\.tokensPerSecond).dropFirst(Self.warmup)
        return TrainingFigures(
            tokensPerSecond: median(Array(speeds)), peakResidentBytes: result.peakResidentBytes,
            productShare: events.last { $0.event == "end" }?.productShare)
    }

    private func runPeer(_ script: String, _ arguments: [String]) throws -> TrainingFigures {
        let result = try runChild(
            [
                options.python, script, "--model", options.base, "--batch", String(options.batchSize), "--seq",
                String(options.sequenceLength), "--steps", String(options.steps), "--warmup", String(Self.warmup),
                "--dtype", options.dtype,
            ] + arguments, environment: ["OMP_WAIT_POLICY": "PASSIVE"])
        guard result.status == 0 else { throw ChildFailure(description: "\(script) failed") }
        struct Figures: Decodable { let tokSMedian: Double }
        guard let line = result.output.split(separator: "\n").last else {
            throw ChildFailure(description: "\(script) printed nothing")
        }
        let figures = try decoder.decode(Figures.self, from: Data(line.utf8))
        return TrainingFigures(
            tokensPerSecond: figures.tokSMedian, peakResidentBytes: result.peakResidentBytes, productShare: nil)
    }

    private func printTable(_ contestants: [Contestant], _ figures: [[TrainingFigures]]) {
        print(
            "\(options.batchSize) x \(options.sequenceLength) tokens, q k v up down, inject's ranks, \(options.dtype); "
                + "median of \(options.rounds) alternating rounds, each the median of \(options.steps) steps, "
                + "beside \(options.busyLoops) busy loops")
        print(
            "| setting | tokens/s (min to max) | x \(options.comparesWaiting ? "passive" : "fastest peer") | peak memory | in products |"
        )
        print("| --- | --- | --- | --- | --- |")
        let speeds = figures.map { median($0.map(\.tokensPerSecond)) }
        let others = options.comparesWaiting ? "passive" : "PyTorch"
        let peers = zip(contestants, speeds).filter { $0.0.name.contains(others) }.map(\.1)
        for (index, contestant) in contestants.enumerated() {
            let all = figures[index].map(\.tokensPerSecond)
            let speed = String(format: "%.0f (%.0f to %.0f)", speeds[index], all.min() ?? .nan, all.max() ?? .nan)
            let ratio = peers.max().map { String(format: "%.2f", speeds[index] / $0) } ?? "-"
            let memory = String(
                format: "%.0f MiB", median(figures[index].map { Double($0.peakResidentBytes) }) / 1_048_576)
            let shares = figures[index].compactMap(\.productShare)
            let share = shares.isEmpty ? "-" : String(format: "%.0f %%", 100 * median(shares))
            print("| \(contestant.name) | \(speed) | \(ratio) | \(memory) | \(share) |")
        }
    }
}
