import CheckpointIO
import Foundation
import TestSupport
import Testing

/// Disks that are full, programs that are killed, inputs that change: what is left is the old output or the new one.
@Suite(.serialized) struct FaultTests {
    /// The commands that write, with `RUN` for the folder of `TinyRun` and `BASE` for the tiny model.
    static let writers = [
        "inject BASE --rank 2", "prune RUN/tuned --keep 50%", "export RUN/tuned --to peft --gates drop",
        "export RUN/tuned --to mlx --gates scale --base BASE", "merge BASE --adapter RUN/tuned",
    ]

    private func arguments(_ line: String, _ run: TinyRun) -> String {
        line.replacingOccurrences(of: "BASE", with: TinyRun.base).replacingOccurrences(of: "RUN", with: run.folder)
    }

    /// Bytes on a disk with 4 KiB pages.
    private func space(of files: [String: [UInt8]]) -> Int {
        files.values.reduce(0) { $0 + ($1.count + 4095) / 4096 * 4096 }
    }

    /// A tmpfs that holds the old output and `free` bytes and `files` names more; what the program says and leaves there.
    private func runOnSmallDisk(
        _ arguments: String, old: String, size: Int, inodes: Int, in folder: String
    ) throws -> (outcome: Program.Outcome, names: String, isOld: Bool) {
        let script = """
            mount -t tmpfs -o size=$SIZE,nr_inodes=$INODES none "$M" || exit 99
            cp -r "$OLD" "$M/out" || exit 98
            cd "$M"
            "$T" \(arguments) -o out --force > "$W/said"
            status=$?
            ls -A > "$W/names"
            diff -r "$OLD" out > "$W/difference" && echo same > "$W/difference"
            exit $status
            """
        mkdir(folder + "/disk", 0o755)
        try writeFile(folder + "/script", script)
        let outcome = try Program(folder: folder).shell(
            "exec unshare -m sh \(folder)/script",
            environment: [
                "M": folder + "/disk", "W": folder, "OLD": old, "SIZE": "\(size)", "INODES": "\(inodes)",
            ])
        func text(_ name: String) throws -> String {
            String(decoding: try readFile(folder + "/" + name), as: UTF8.self)
        }
        return (outcome, try text("names"), try text("difference") == "same\n")
    }

    /// Every page at which the disk can be full, from none free to enough; and every name that can be one too many.
    @Test(.enabled(if: Faults.canMount, "needs a user who may mount a tmpfs"), arguments: writers)
    func fullDiskLeavesTheOldOutputWhereverItIsFull(_ line: String) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            // The old output is the same thing with other contents, so that a mixture would show.
            let program = Program(folder: folder)
            let whole = try program.shell("\"$T\" \(arguments(line, run)) -o whole")
            try #require(whole.status == 0, "\(whole.errors)")
            let wholeFiles = try snapshot(of: folder + "/whole")
            let old = run.path("tuned")
            let oldFiles = try snapshot(of: old)
            let (taken, needed) = (space(of: oldFiles), space(of: wholeFiles))
            let page = 4096
            // In the middle one file takes all the room at once.
            let pages = needed / page
            let edges = Array(0...min(pages + 2, 40)) + Array(max(0, pages - 60)...pages + 2)
            let step = Faults.asked == nil ? 13 : 1
            let sizes = Set(edges.filter { $0 % step == 0 }).sorted().map { (free: $0 * page, inodes: 1000) }
            // So many it has with the old output: its files, their directory, the root and one that tmpfs keeps.
            let names = (0...wholeFiles.count + 2).map { (free: needed + (1 << 20), inodes: oldFiles.count + 3 + $0) }
            var failures = 0
            for (free, inodes) in sizes + names {
                let (outcome, left, isOld) = try runOnSmallDisk(
                    arguments(line, run), old: old, size: taken + free, inodes: inodes, in: folder)
                let place: Comment = "\(free) bytes free, \(inodes) names: \(outcome.status) \(outcome.errors) \(left)"
                #expect(left == "out\n", place)
                if outcome.status == 0 {
                    #expect(!isOld, place)
                } else {
                    failures += 1
                    #expect(outcome.status == 74 && isOld, place)
                    #expect(outcome.errorLines.count == 1, place)
                    #expect(outcome.errors.contains("cannot be written: No space left on device"), place)
                }
            }
            #expect(failures > 3 && failures < sizes.count + names.count)
            if Faults.asked != nil { print("\(line): \(failures) of \(sizes.count + names.count) disks were too full") }
        }
    }

    /// The limit on the size of a file needs no rights: the write that crosses it fails with EFBIG.
    @Test(arguments: writers) func fileTooLargeLeavesTheOldOutput(_ line: String) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let old = run.path("tuned")
            let program = Program(folder: folder)
            try FileManager.default.copyItem(atPath: old, toPath: folder + "/out")
            for blocks in [0, 1, 2, 3, 8, 20] {
                let outcome = try program.shell(
                    "(ulimit -f \(blocks); exec \"$T\" \(arguments(line, run)) -o out --force) 2>&1 | cat")
                #expect(outcome.output.contains("cannot be written: File too large"), "\(blocks): \(outcome.output)")
                #expect(outcome.output.split(separator: "\n").count == 1, "\(blocks): \(outcome.output)")
                #expect(try names(in: folder) == ["out"])
                #expect(try snapshot(of: folder + "/out") == snapshot(of: old))
            }
        }
    }

    /// `kill -9` at random moments of a merge that replaces an earlier one.
    @Test func killedMergeLeavesTheOldOutputOrTheNew() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            func merge(_ weight: Int) -> [String] {
                [
                    "merge", TinyRun.base, "--adapter", run.path("tuned") + ":\(weight)", "--threads", "1", "--force",
                    "-o", "out",
                ]
            }
            var outputs: [[String: [UInt8]]] = []
            var duration = 0.0
            for weight in [2, 1] {
                let start = ContinuousClock.now
                let outcome = try program.run(merge(weight))
                duration = (ContinuousClock.now - start) / .seconds(1)
                try #require(outcome.status == 0, "\(outcome.errors)")
                outputs.append(try snapshot(of: folder + "/out"))
            }
            try #require(outputs[0] != outputs[1])
            var (now, kills, exchanges) = (1, 0, 0)
            let wanted = Faults.asked ?? 8
            var attempts = 0
            while kills < wanted {
                attempts += 1
                try #require(attempts < 10 * wanted, "it is always done before it can be killed")
                let running = try program.begin(merge(now == 1 ? 2 : 1))
                usleep(UInt32.random(in: 0...UInt32(duration * 1.1e6)))
                running.kill()
                let outcome = try running.finish()
                #expect(outcome.status == -SIGKILL || outcome.status == 0)
                kills += outcome.status == 0 ? 0 : 1
                let left = try snapshot(of: folder + "/out")
                try #require(left == outputs[0] || left == outputs[1])
                if left != outputs[now] {
                    now = 1 - now
                    exchanges += outcome.status == 0 ? 0 : 1
                }
            }
            let left = try names(in: folder).filter { $0 != "out" }
            #expect(left.allSatisfy { $0.hasPrefix(".tspeft-") && $0.hasSuffix(".tmp") }, "\(left)")
            // What they left disturbs nobody.
            let last = try program.run(merge(now == 1 ? 2 : 1))
            #expect(last.status == 0, "\(last.errors)")
            #expect(try snapshot(of: folder + "/out") == outputs[1 - now])
            if Faults.asked != nil {
                print(
                    "killed \(kills) times, \(exchanges) of them after the new output had its name; "
                        + "\(left.count) temporaries left")
            }
        }
    }

    /// The base is cut short, or written to, while it is merged.
    @Test(arguments: [true, false]) func inputThatChangesDuringAMergeEndsItInOrder(_ isCut: Bool) throws {
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            _ = try WideModel(in: folder)
            let arguments = ["merge", WideModel.base, "--adapter", WideModel.adapter, "--threads", "1", "-o"]
            let weights = folder + "/" + WideModel.base + "/model.safetensors"
            let size = try SafetensorsFile.open(weights).tensors.map(\.byteRange.upperBound).max() ?? 0
            let start = ContinuousClock.now
            let whole = try program.run(arguments + ["whole"])
            let duration = (ContinuousClock.now - start) / .seconds(1)
            try #require(whole.status == 0, "\(whole.errors)")
            let expected = try snapshot(of: folder + "/whole")
            let before = try names(in: folder)

            var stopped = 0
            let attempts = Faults.asked.map { $0 / 2 } ?? 2
            for attempt in 0..<attempts {
                let running = try program.begin(arguments + ["out"])
                while running.isRunning, try names(in: folder) == before { usleep(500) }
                usleep(UInt32.random(in: 0...UInt32(duration * 0.7e6)))
                if isCut {
                    truncate(weights, attempt % 2 == 0 ? 4096 : size / 2)
                } else {
                    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: weights))
                    try file.seek(toOffset: UInt64.random(in: 4096..<UInt64(size)))
                    try file.write(contentsOf: [1])
                    try file.close()
                }
                let outcome = try running.finish()
                if outcome.status == 0 {
                    // It was done before.
                    #expect(try snapshot(of: folder + "/out") == expected)
                    removeTree(folder + "/out")
                } else {
                    stopped += 1
                    #expect(outcome.status == 74, "\(outcome.errors)")
                    #expect(outcome.errorLines.count == 1, "\(outcome.errors)")
                    let words = [
                        "model.safetensors: was truncated or could not be read while in use",
                        "model.safetensors: was changed while in use",
                    ]
                    #expect(words.contains { outcome.errors.contains($0) }, "\(outcome.errors)")
                    #expect(outcome.output.isEmpty)
                }
                #expect(try names(in: folder) == before)
                // The zeros come back as they were.
                if isCut {
                    let header = try readFile(weights).prefix(4096)
                    try writeFile(weights, Array(header))
                    truncate(weights, size)
                } else {
                    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: weights))
                    try file.truncate(atOffset: 4096)
                    try file.truncate(atOffset: UInt64(size))
                    try file.close()
                }
            }
            #expect(stopped > 0)
            if Faults.asked != nil {
                print("\(isCut ? "cut" : "written to"): \(stopped) of \(attempts) merges stopped")
            }
        }
    }

    @Test(arguments: [false, true]) func runsThatWriteOneOutputAtOnceLeaveAWholeOne(_ isForced: Bool) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            func merge(_ weight: Int, _ output: String) -> [String] {
                ["merge", TinyRun.base, "--adapter", run.path("tuned") + ":\(weight)", "--threads", "1", "-o", output]
                    + (isForced ? ["--force"] : [])
            }
            var outputs: [[String: [UInt8]]] = []
            for weight in 1...3 {
                try #require(try program.run(merge(weight, "whole")).status == 0)
                outputs.append(try snapshot(of: folder + "/whole"))
                removeTree(folder + "/whole")
            }
            for _ in 0..<(Faults.asked.map { $0 / 10 } ?? 1) {
                let running = try (1...3).map { try program.begin(merge($0, "out")) }
                let outcomes = try running.map { try $0.finish() }
                for outcome in outcomes where outcome.status != 0 {
                    #expect(!isForced && outcome.status == 73, "\(outcome.errors)")
                    #expect(outcome.errors.contains("out: exists already"), "\(outcome.errors)")
                }
                #expect(outcomes.count { $0.status == 0 } == (isForced ? 3 : 1))
                #expect(outputs.contains(try snapshot(of: folder + "/out")))
                #expect(try names(in: folder) == ["out"])
                removeTree(folder + "/out")
            }
        }
    }
}
