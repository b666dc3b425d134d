import BenchmarkSupport
import Foundation

/// Steps of ts-lora on a model of 8 billion weights: seconds, memory by kind, and what is read from the disk.
struct LargeModel {
    let options: Options

    /// What /proc tells of a process; bytes.
    private struct Sample {
        var anonymous = 0
        var file = 0
        var peak = 0
        var read = 0
    }

    /// What a run left.
    private struct Figures {
        /// When the program said what it trains: the base and the adapter are open, the first step has hardly begun.
        var opened = Sample()
        /// At the end of each step.
        var steps: [Sample] = []
        /// The largest of each over the run; `read` is the last.
        var peaks = Sample()
        /// The largest sum of anonymous and file memory.
        var together = 0
    }

    func run() throws {
        let checkpoint = MadeModel.llama8B
        if !MadeModel.isMade(in: options.base) {
            let start = ContinuousClock.now
            try checkpoint.write(to: options.base)
            note("wrote \(checkpoint.bytes >> 20) MiB in \(ContinuousClock.now - start)")
        }
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            let target = options.base + "/" + name
            guard !FileManager.default.fileExists(atPath: target) else { continue }
            try FileManager.default.copyItem(atPath: options.tokenizer + "/" + name, toPath: target)
        }
        let work = options.base + "-run-\(getpid())"
        try FileManager.default.createDirectory(atPath: work, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: work) }
        let data = work + "/text.jsonl"
        try writeText(to: data)
        let made = try runChild([
            options.tspeft, "inject", options.base, "--method", "ts-lora", "--rank", "32", "--targets",
            "q_proj,k_proj,v_proj,up_proj,down_proj", "-o", work + "/adapter",
        ])
        guard made.status == 0 else { throw ChildFailure(description: "tspeft inject failed") }
        note(String(format: "inject: %.1f s, %d MiB anonymous", made.wallSeconds, made.peakAnonymousBytes >> 20))
        let output = work + "/run"
        let figures = try train(
            [
                "train", options.base, "--adapter", work + "/adapter", "--data", data, "-o", output, "--steps",
                String(options.steps), "--batch-size", "1", "--max-length", String(options.tokens),
                "--train-on-prompt", "--dtype", "bf16", "--log-every", "1",
            ], log: output + "/log.jsonl", messages: work + "/messages.txt")
        let weights = try FileManager.default.attributesOfItem(atPath: work + "/adapter/adapter_model.safetensors")
        note("the adapter's file: \((weights[.size] as? Int ?? 0) >> 20) MiB")
        try printTable(figures, log: output + "/log.jsonl", checkpointBytes: checkpoint.bytes)
    }

    /// Records that are longer than the steps' sequences, so that --max-length cuts each to exactly that.
    private func writeText(to path: String) throws {
        let words = "the river carries small stones from every mountain into a wide sea".split(separator: " ")
        var state = 1
        var lines = ""
        for _ in 0..<options.steps {
            let text = (0..<options.tokens * 2).map { _ in
                state = state * 16807 % 2_147_483_647
                return words[state % words.count]
            }
            lines += "{\"text\": \"\(text.joined(separator: " "))\"}\n"
        }
        try lines.write(toFile: path, atomically: true, encoding: .utf8)
    }

    /// Runs the program and looks at it every few milliseconds.
    private func train(_ arguments: [String], log: String, messages path: String) throws -> Figures {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: options.tspeft)
        process.arguments = arguments
        var environment = ProcessInfo.processInfo.environment
        if let level = options.level { environment["TSPEFT_CPU_LEVEL"] = level }
        process.environment = environment
        process.standardOutput = FileHandle.standardError
        try Data().write(to: URL(fileURLWithPath: path))
        process.standardError = FileHandle(forWritingAtPath: path)
        let messages = { (try? String(contentsOfFile: path, encoding: .utf8)) ?? "" }
        defer { note(messages()) }
        try process.run()
        var figures = Figures()
        var isOpen = false
        while process.isRunning {
            let lines = (try? String(contentsOfFile: log, encoding: .utf8))?.split(separator: "\n") ?? []
            let ended = lines.count { $0.contains("\"event\":\"step\"") || $0.contains("\"event\": \"step\"") }
            if let sample = look(at: process.processIdentifier) {
                if !isOpen, messages().contains("\ntraining ") {
                    figures.opened = sample
                    isOpen = true
                }
                while figures.steps.count < ended { figures.steps.append(sample) }
                figures.peaks.anonymous = max(figures.peaks.anonymous, sample.anonymous)
                figures.peaks.file = max(figures.peaks.file, sample.file)
                figures.peaks.peak = max(figures.peaks.peak, sample.peak)
                figures.peaks.read = sample.read
                figures.together = max(figures.together, sample.anonymous + sample.file)
            }
            usleep(20_000)
        }
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw ChildFailure(
                description: "tspeft train ended with \(process.terminationStatus) after \(figures.steps.count) steps; "
                    + "at most \(figures.peaks.anonymous >> 20) MiB anonymous, \(figures.peaks.file >> 20) MiB of "
                    + "files")
        }
        return figures
    }

    private func look(at process: pid_t) -> Sample? {
        func fields(_ name: String) -> [Substring: Int] {
            let text = (try? String(contentsOfFile: "/proc/\(process)/\(name)", encoding: .utf8)) ?? ""
            var fields: [Substring: Int] = [:]
            for line in text.split(separator: "\n") {
                let parts = line.split(whereSeparator: { $0 == ":" || $0 == " " || $0 == "\t" })
                if parts.count > 1, let value = Int(parts[1]) { fields[parts[0]] = value }
            }
            return fields
        }
        let status = fields("status")
        guard let anonymous = status["RssAnon"], let file = status["RssFile"], let peak = status["VmHWM"] else {
            return nil
        }
        return Sample(
            anonymous: anonymous << 10, file: file << 10, peak: peak << 10, read: fields("io")["read_bytes"] ?? 0)
    }

    private func printTable(_ figures: Figures, log: String, checkpointBytes: Int) throws {
        struct Event: Decodable {
            let event: String
            let loss: Double?
            let tokensPerSecond: Double?
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let steps = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
            .map { try decoder.decode(Event.self, from: Data($0.utf8)) }.filter { $0.event == "step" }
        let mebibytes = { (bytes: Int) in String(format: "%.0f", Double(bytes) / 1_048_576) }
        print(
            "ts-lora, rank 32, q k v up down, \(options.tokens) tokens a step, bf16, "
                + "level \(options.level ?? "the machine's"); checkpoint \(mebibytes(checkpointBytes)) MiB")
        print(
            "| step | tokens/s | seconds | read from disk, MiB (of the checkpoint) | anonymous at its end, MiB "
                + "| file at its end, MiB |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        var before = 0
        for (index, (step, sample)) in zip(steps, figures.steps).enumerated() {
            let speed = step.tokensPerSecond ?? .nan
            let read = sample.read - before
            before = sample.read
            print(
                String(
                    format: "| %d | %.2f | %.1f | %.0f (%.2f %%) | ", index + 1, speed, Double(options.tokens) / speed,
                    Double(read) / 1_048_576, 100 * Double(read) / Double(checkpointBytes))
                    + "\(mebibytes(sample.anonymous)) | \(mebibytes(sample.file)) |")
        }
        print(
            "opened: \(mebibytes(figures.opened.anonymous)) MiB anonymous, \(mebibytes(figures.opened.file)) MiB file; "
                + "peak: \(mebibytes(figures.together)) MiB together (VmHWM \(mebibytes(figures.peaks.peak))), "
                + "\(mebibytes(figures.peaks.anonymous)) anonymous, \(mebibytes(figures.peaks.file)) file")
    }

    private func note(_ text: String) {
        FileHandle.standardError.write(Data((text + "\n").utf8))
    }
}
