import BenchmarkSupport
import Foundation

/// Seconds of merges and of copying the same files, alternating in one run: warm (the inputs in memory) and cold
/// (dropped from it before each run). Every output is removed before the next run.
struct MergeRates {
    let options: Options

    /// One way to make the output.
    private struct Contestant {
        let name: String
        /// Whether what it makes is compared with ours.
        var isPeer = false
        /// The program and its arguments, given where the output goes.
        let command: (_ output: String) -> [String]
        /// Whether it takes part in cold runs too.
        var runsCold = false
    }

    func run() throws {
        try makeInputs()
        let folder = options.work + "/merge-rates-\(getpid())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let bytes = try inputs().reduce(0) { $0 + (try size($1)) }
        let contestants = contestants(bytes: bytes)
        let ours = folder + "/ours"
        // A copy of it is kept only where others are held against it.
        if !options.peers.isEmpty { try make(contestants[1], ours) }
        print(
            "\(bytes >> 20) MiB, adapter in F32 or as it is; median of \(options.rounds) alternating rounds, "
                + "of which \"x copy\" and \"x tspeft\" are the median ratios within a round")
        print(
            "| way | seconds (min to max) | x copy | x tspeft | processor s | anonymous MiB | mapped MiB "
                + "| resident MiB | values that differ from ours |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for isCold in options.runsCold ? [false, true] : [false] {
            let ways = contestants.filter { !isCold || $0.runsCold }
            var results = [[ChildResult]](repeating: [], count: ways.count)
            var differences = [String](repeating: "-", count: ways.count)
            for _ in 0..<options.rounds {
                for (index, way) in ways.enumerated() {
                    try setCache(cold: isCold)
                    let output = folder + "/output"
                    results[index].append(try make(way, output))
                    if way.isPeer, differences[index] == "-" { differences[index] = try compare(output, ours) }
                    try FileManager.default.removeItem(atPath: output)
                    sync()
                }
            }
            for (index, way) in ways.enumerated() {
                printRow(
                    way.name + (isCold ? ", cold" : ""), results[index], Array(results[...1]), differences[index])
            }
        }
    }

    /// The model that is asked for, and an adapter on it.
    private func makeInputs() throws {
        guard let model = options.made else { return }
        if !MadeModel.isMade(in: options.base) { try model.write(to: options.base) }
        guard !FileManager.default.fileExists(atPath: options.adapter) else { return }
        try SafetensorsMaker().writeLoRA(
            on: model.weights(of: options.adapted.modules), rank: options.adapted.rank, to: options.adapter)
    }

    /// Everything that is timed: the copy first, then ours.
    private func contestants(bytes: Int) -> [Contestant] {
        var contestants = [
            Contestant(
                name: "cp -r, sync -f",
                command: { ["sh", "-c", "cp -r \"$0\" \"$1\" && sync -f \"$1\"", options.base, $0] }, runsCold: true)
        ]
        let programs = [("", options.tspeft)] + (options.before.map { [(" of \($0)", $0)] } ?? [])
        for (suffix, program) in programs {
            contestants.append(
                Contestant(
                    name: "tspeft merge" + suffix,
                    command: { [program, "merge", options.base, "--adapter", options.adapter, "-o", $0] },
                    runsCold: suffix.isEmpty))
        }
        for (suffix, program) in programs where options.converts {
            contestants.append(
                Contestant(name: "tspeft convert --type f16" + suffix) {
                    [program, "convert", options.base, "--type", "f16", "-o", $0]
                })
        }
        for script in options.peers {
            contestants.append(
                Contestant(name: (script as NSString).lastPathComponent, isPeer: true) {
                    [options.python, script, "--base", options.base, "--adapter", options.adapter, "--out", $0]
                })
        }
        guard options.timesDisk else { return contestants }
        // What the disk itself takes for as many bytes, past the kernel's memory: nobody who syncs can be faster.
        contestants.append(
            Contestant(name: "the disk (dd, direct)") {
                [
                    "sh", "-c",
                    "mkdir \"$0\" && dd if=/dev/zero of=\"$0\"/zeros bs=16M count=\(bytes >> 24) oflag=direct "
                        + "conv=fsync status=none", $0,
                ]
            })
        return contestants
    }

    /// - Parameter others: the copy's runs, and ours.
    private func printRow(
        _ name: String, _ runs: [ChildResult], _ others: [[ChildResult]], _ difference: String
    ) {
        let seconds = runs.map(\.wallSeconds)
        let ratios = others.map { other in median(zip(seconds, other.map(\.wallSeconds)).map { $0 / $1 }) }
        func most(_ bytes: KeyPath<ChildResult, Int>) -> Int { (runs.map { $0[keyPath: bytes] }.max() ?? 0) >> 20 }
        print(
            "| \(name) | "
                + String(format: "%.2f (%.2f to %.2f)", median(seconds), seconds.min()!, seconds.max()!)
                + String(format: " | %.2f | %.2f", ratios[0], ratios[1])
                + String(format: " | %.2f", median(runs.map(\.processorSeconds)))
                + " | \(most(\.peakAnonymousBytes)) | \(most(\.peakFileBytes)) | \(most(\.peakResidentBytes)) "
                + "| \(difference) |")
    }

    @discardableResult
    private func make(_ way: Contestant, _ output: String) throws -> ChildResult {
        let result = try runChild(way.command(output), environment: ["HF_HUB_OFFLINE": "1"])
        guard result.status == 0 else { throw ChildFailure(description: "\(way.name) failed") }
        return result
    }

    /// The files that are read.
    private func inputs() throws -> [String] {
        try [options.base, options.adapter].flatMap { folder in
            try FileManager.default.contentsOfDirectory(atPath: folder).map { folder + "/" + $0 }
        }
    }

    private func size(_ path: String) throws -> Int {
        (try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? 0
    }

    /// Drops every input from the kernel's memory, or reads it in.
    private func setCache(cold: Bool) throws {
        for path in try inputs() {
            guard let file = FileHandle(forReadingAtPath: path) else { continue }
            if cold {
                posix_fadvise(file.fileDescriptor, 0, 0, POSIX_FADV_DONTNEED)
            } else {
                while let chunk = try file.read(upToCount: 1 << 24), !chunk.isEmpty {}
            }
            try file.close()
        }
    }

    /// How many 16-bit values of two checkpoints' tensors differ.
    private func compare(_ left: String, _ right: String) throws -> String {
        let (left, right) = (try tensors(left), try tensors(right))
        var (differing, total) = (0, 0)
        for (name, mine) in right {
            guard let other = left[name], other.count == mine.count else {
                return "'\(name)' is not there or of another size"
            }
            total += mine.count / 2
            if mine == other { continue }
            mine.withUnsafeBytes { mine in
                other.withUnsafeBytes { other in
                    for place in stride(from: 0, to: mine.count, by: 2)
                    where mine.loadUnaligned(fromByteOffset: place, as: UInt16.self)
                        != other.loadUnaligned(fromByteOffset: place, as: UInt16.self)
                    {
                        differing += 1
                    }
                }
            }
        }
        return "\(differing) of \(total)"
    }

    /// The bytes of every tensor in a directory's safetensors files, mapped.
    private func tensors(_ folder: String) throws -> [String: Data] {
        struct Entry: Decodable {
            let offsets: [Int]
            enum CodingKeys: String, CodingKey { case offsets = "data_offsets" }
        }
        var tensors: [String: Data] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: folder) where name.hasSuffix(".safetensors") {
            let data = try Data(contentsOf: URL(fileURLWithPath: folder + "/" + name), options: .alwaysMapped)
            let length = data.withUnsafeBytes { Int($0.loadUnaligned(as: UInt64.self)) }
            var header = try JSONSerialization.jsonObject(with: data[8..<8 + length]) as? [String: Any] ?? [:]
            header["__metadata__"] = nil
            let entries = try JSONDecoder().decode(
                [String: Entry].self, from: JSONSerialization.data(withJSONObject: header))
            for (tensor, entry) in entries {
                tensors[tensor] = data[8 + length + entry.offsets[0]..<8 + length + entry.offsets[1]]
            }
        }
        return tensors
    }
}
