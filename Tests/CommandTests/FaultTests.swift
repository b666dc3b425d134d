import CheckpointIO
import Foundation
import TestSupport
import Testing

/// Disks that are full, programs that are killed, inputs that change: what is left is the old output or the new one.
@Suite(.serialized) struct FaultTests {
    /// Bytes on a disk with 4 KiB pages.
    private func space(of files: [String: [UInt8]]) -> Int {
        files.values.reduce(0) { $0 + ($1.count + 4095) / 4096 * 4096 }
    }

    /// A tmpfs that holds the old output and `free` bytes and `files` names more; what the program says and leaves
    /// there.
    private func runOnSmallDisk(
        _ arguments: String, old: String, size: Int, inodes: Int, in folder: String
    ) throws -> (outcome: Program.Outcome, names: String, isOld: Bool) {
        let script = """
            mount -t tmpfs -o size=$SIZE,nr_inodes=$INODES none "$M" || exit 99
            cp -r "$OLD/." "$M" || exit 98
            cd "$M"
            "$T" \(arguments) --force > "$W/said"
            status=$?
            ls -A > "$W/names"
            diff -r "$OLD" . > "$W/difference" && echo same > "$W/difference"
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
    @Test(.enabled(if: Faults.canMount, "needs a user who may mount a tmpfs"), arguments: WritingCommand.chosen)
    func fullDiskLeavesTheOldOutputWhereverItIsFull(_ command: WritingCommand) throws {
        let inputs = try FaultInputs.shared.get()
        try withTemporaryFolder { folder in
            for name in ["whole", "old"] { mkdir(folder + "/" + name, 0o755) }
            let (whole, old) = (folder + "/whole", folder + "/old")
            let wholeFiles = try command.writeWhole(in: whole, inputs)
            try command.writeOld(in: old, likeThoseIn: whole, inputs)
            let arguments = command.arguments(inputs).joined(separator: " ")
            let (taken, needed) = (space(of: try snapshot(of: old)), space(of: wholeFiles))
            let page = 4096
            // In the middle one file takes all the room at once.
            let pages = needed / page
            let edges = Array(0...min(pages + 2, 40)) + Array(max(0, pages - 60)...pages + 2)
            let step = Faults.asked == nil ? 31 : 1
            let sizes = Set(edges.filter { $0 % step == 0 }).sorted().map { (free: $0 * page, inodes: 1000) }
            // So many it has with the old output: its files and directories, the root and one that tmpfs keeps.
            let present = contents(of: old).count + 2
            let names = stride(from: 0, through: contents(of: whole).count + 2, by: Faults.asked == nil ? 3 : 1).map {
                (free: needed + (1 << 20), inodes: present + $0)
            }
            let before = try TestSupport.names(in: old).map { $0 + "\n" }.joined()
            var failures = 0
            for (free, inodes) in sizes + names {
                let (outcome, left, isOld) = try runOnSmallDisk(
                    arguments, old: old, size: taken + free, inodes: inodes, in: folder)
                let place: Comment = "\(free) bytes free, \(inodes) names: \(outcome.status) \(outcome.errors) \(left)"
                #expect(left == before, place)
                if outcome.status == 0 {
                    #expect(!isOld, place)
                } else {
                    failures += 1
                    #expect(outcome.status == 74 && isOld, place)
                    #expect(outcome.errorLines.count == 1, place)
                    #expect(outcome.errors.contains("cannot be written: No space left on device"), place)
                }
            }
            #expect(failures > 0 && failures < sizes.count + names.count)
            if Faults.asked != nil {
                print("\(command): \(failures) of \(sizes.count + names.count) disks were too full")
            }
        }
    }

    /// The limit on the size of a file needs no rights: the write that crosses it fails with EFBIG.
    @Test(arguments: WritingCommand.chosen) func fileTooLargeLeavesTheOldOutput(_ command: WritingCommand) throws {
        let inputs = try FaultInputs.shared.get()
        try withTemporaryFolder { folder in
            for name in ["whole", "old", "work"] { mkdir(folder + "/" + name, 0o755) }
            let wholeFiles = try command.writeWhole(in: folder + "/whole", inputs)
            try command.writeOld(in: folder + "/old", likeThoseIn: folder + "/whole", inputs)
            try replaceContents(of: folder + "/work", byThoseOf: folder + "/old")
            let (old, largest) = (try snapshot(of: folder + "/old"), wholeFiles.values.map(\.count).max() ?? 0)
            let line = command.arguments(inputs).joined(separator: " ")
            for blocks in [0, 1, 2, 3, 8, 20, 200] where blocks * 512 < largest {
                let outcome = try Program(folder: folder + "/work").shell(
                    "(ulimit -f \(blocks); exec \"$T\" \(line) --force) 2>&1 | cat")
                #expect(outcome.output.contains(": File too large"), "\(blocks): \(outcome.output)")
                #expect(outcome.output.split(separator: "\n").count == 1, "\(blocks): \(outcome.output)")
                let isOld = try snapshot(of: folder + "/work") == old
                #expect(isOld, "\(blocks)")
                #expect(try names(in: folder + "/work") == names(in: folder + "/old"))
            }
        }
    }

    /// Commands that write one output in two ways.
    static let pairs = [
        (
            "merge IN/base --adapter IN/tuned:2 --threads 1 -o out",
            "merge IN/base --adapter IN/tuned --threads 1 -o out"
        ),
        (
            "merge IN/base.gguf --adapter IN/ggufTuned:2 --threads 1 -o out.gguf",
            "merge IN/base.gguf --adapter IN/ggufTuned --threads 1 -o out.gguf"
        ),
        (
            "merge IN/parts-00001-of-00003.gguf --adapter IN/ggufTuned:2 --threads 1 -o out.gguf",
            "merge IN/parts-00003-of-00003.gguf --adapter IN/ggufTuned --threads 1 -o out.gguf"
        ),
        ("convert IN/base --type f16 --threads 1 -o out", "convert IN/base --type f32 --threads 1 -o out"),
        ("convert IN/base --type q8_0 --threads 1 -o out.gguf", "convert IN/base --type f16 --threads 1 -o out.gguf"),
        (
            "convert IN/base --type f16 --max-shard-size 2MB --threads 1 -o out.gguf",
            "convert IN/base --max-shard-size 2MB --threads 1 -o out.gguf"
        ),
        (
            "convert IN/base --type f16 --threads 1 -o out.safetensors.zst",
            "convert IN/base --threads 1 -o out.safetensors.zst"
        ),
        ("convert IN/tuned --threads 1 -o out.tspeft.zst", "convert IN/new --threads 1 -o out.tspeft.zst"),
        ("export IN/tuned --to peft --gates drop -o out", "export IN/tuned --to torch -o out"),
        ("prune IN/tuned --keep 50% -o out", "prune IN/tuned --keep 25% -o out"),
        ("inject IN/base --rank 2 -o out", "inject IN/base --rank 3 -o out"),
    ].map { (first: WritingCommand(line: $0.0), second: WritingCommand(line: $0.1)) }

    /// Those of the pairs that tests go through: all if that was asked for.
    static let chosenPairs = Faults.asked == nil ? [0, 1, 5, 6] : Array(pairs.indices)

    /// What a killed run may leave aside of the parts of a split file, by the names that they had; `files` is without
    /// them.
    private func takeAside(_ files: inout [String: [UInt8]]) -> [String: [UInt8]] {
        var aside: [String: [UInt8]] = [:]
        for (name, bytes) in files where name.hasPrefix(".out-") {
            files[name] = nil
            aside[String(name.dropFirst().prefix { $0 != "." }) + ".gguf"] = bytes
        }
        return aside
    }

    /// `kill -9` at random moments of a run that replaces an earlier output.
    @Test(arguments: chosenPairs) func killedRunLeavesTheOldOutputOrTheNew(_ index: Int) throws {
        let inputs = try FaultInputs.shared.get()
        let commands = [Self.pairs[index].first, Self.pairs[index].second]
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            func arguments(_ which: Int) -> [String] { commands[which].arguments(inputs) + ["--force"] }
            var outputs: [[String: [UInt8]]] = []
            var duration = 0.0
            for which in [0, 1] {
                let start = ContinuousClock.now
                let outcome = try program.run(arguments(which))
                duration = (ContinuousClock.now - start) / .seconds(1)
                try #require(outcome.status == 0, "\(outcome.errors)")
                outputs.append(try snapshot(of: folder))
            }
            try #require(outputs[0].keys == outputs[1].keys || commands[0].line.hasPrefix("export"))
            let isPair = outputs[0] == outputs[1]
            try #require(!isPair)
            let visible = try names(in: folder)
            var (now, kills, exchanges, halves) = (1, 0, 0, 0)
            let wanted = Faults.asked ?? 2
            var attempts = 0
            while kills < wanted {
                attempts += 1
                try #require(attempts < 20 * wanted, "it is always done before it can be killed")
                let running = try program.begin(arguments(1 - now))
                usleep(UInt32.random(in: 0...UInt32(duration * 1.1e6)))
                running.kill()
                let outcome = try running.finish()
                #expect(outcome.status == -SIGKILL || outcome.status == 0)
                kills += outcome.status == 0 ? 0 : 1
                var left = try snapshot(of: folder).filter { !$0.key.hasPrefix(".tspeft-") }
                let aside = takeAside(&left)
                if left["out-00001-of-00003.gguf"] == nil, commands[0].line.contains("shard") {
                    // Killed while parts were exchanged: no reader takes what is there, and the old ones are there
                    // still.
                    halves += 1
                    let isOld = aside.merging(left) { old, _ in old } == outputs[now]
                    try #require(isOld, "\(left.keys.sorted()) \(aside.keys.sorted())")
                    try #require(try program.run(arguments(now)).status == 0)
                }
                for name in try names(in: folder) where name.hasPrefix(".out-") { removeTree(folder + "/" + name) }
                left = try snapshot(of: folder).filter { !$0.key.hasPrefix(".tspeft-") }
                let (isNow, isOther) = (left == outputs[now], left == outputs[1 - now])
                try #require(isNow || isOther)
                if isOther {
                    now = 1 - now
                    exchanges += outcome.status == 0 ? 0 : 1
                }
            }
            let left = try names(in: folder).filter { !visible.contains($0) }
            #expect(left.allSatisfy { $0.hasPrefix(".tspeft-") && $0.hasSuffix(".tmp") }, "\(left)")
            // What they left disturbs nobody.
            let last = try program.run(arguments(1 - now))
            #expect(last.status == 0, "\(last.errors)")
            let isOther = try snapshot(of: folder).filter { !$0.key.hasPrefix(".") } == outputs[1 - now]
            #expect(isOther)
            if Faults.asked != nil {
                print(
                    "\(commands[0]): killed \(kills) times, \(exchanges) of them after the new output had its name, "
                        + "\(halves) between; \(left.count) temporaries left")
            }
        }
    }

    /// Commands that read the wide model for a while, and the file that changes.
    static let readers = [
        ("merge wide --adapter adapter --threads 1 -o out", "wide/model.safetensors"),
        ("merge wide.gguf --adapter ggufAdapter --threads 1 -o out.gguf", "wide.gguf"),
        ("convert wide --type bf16 --threads 1 -o out", "wide/model.safetensors"),
        ("convert wide --type q8_0 --threads 1 -o out.gguf", "wide/model.safetensors"),
        ("convert wide --max-shard-size 9MB --threads 1 -o out.gguf", "wide/model.safetensors"),
        ("convert wide --threads 1 -o out.safetensors.zst", "wide/model.safetensors"),
    ]

    /// An input is cut short, or written to, while it is read.
    @Test(arguments: Faults.asked == nil ? [0, 1] : Array(readers.indices), [true, false])
    func inputThatChangesDuringARunEndsItInOrder(_ index: Int, _ isCut: Bool) throws {
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            _ = try WideModel(in: folder)
            let (line, file) = Self.readers[index]
            if file.hasSuffix(".gguf") { try WideModel.addGGUF(in: folder) }
            let arguments = line.split(separator: " ").map(String.init)
            let weights = folder + "/" + file
            let size = try #require(fileSize(weights))
            try FileManager.default.copyItem(atPath: weights, toPath: folder + "/copy")
            let before = try names(in: folder)
            let start = ContinuousClock.now
            let whole = try program.run(arguments)
            let duration = (ContinuousClock.now - start) / .seconds(1)
            try #require(whole.status == 0, "\(whole.errors)")
            let outputs = try names(in: folder).filter { !before.contains($0) }
            func written() throws -> [String: [UInt8]] {
                try outputs.reduce(into: [:]) { files, name in
                    let path = folder + "/" + name
                    if pathKind(path) == .directory {
                        files.merge(try snapshot(of: path)) { $1 }
                    } else {
                        files[name] = try readFile(path)
                    }
                }
            }
            let expected = try written()
            for name in outputs { removeTree(folder + "/" + name) }

            var stopped = 0
            let attempts = Faults.asked.map { $0 / (index == 0 ? 2 : 8) } ?? (index == 0 ? 2 : 1)
            var tries = 0
            while tries < attempts || stopped == 0 {
                tries += 1
                try #require(tries < attempts + 20, "it is always done before the input changes")
                let running = try program.begin(arguments)
                while running.isRunning, try names(in: folder) == before { usleep(500) }
                usleep(UInt32.random(in: 0...UInt32(duration * 0.5e6)))
                if isCut {
                    truncate(weights, tries % 2 == 0 ? 4096 : size / 2)
                } else {
                    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: weights))
                    try file.seek(toOffset: UInt64.random(in: UInt64(size / 2)..<UInt64(size)))
                    try file.write(contentsOf: [1])
                    try file.close()
                }
                let outcome = try running.finish()
                if outcome.status == 0 {
                    // It was done before.
                    let isWhole = try written() == expected
                    #expect(isWhole)
                    for name in outputs { removeTree(folder + "/" + name) }
                } else {
                    stopped += 1
                    #expect(outcome.status == 74, "\(outcome.errors)")
                    #expect(outcome.errorLines.count == 1, "\(outcome.errors)")
                    let words = ["was truncated or could not be read while in use", "was changed while in use"]
                    #expect(words.contains { outcome.errors.contains("\(file): \($0)") }, "\(outcome.errors)")
                    #expect(outcome.output.isEmpty)
                }
                #expect(try names(in: folder) == before)
                removeTree(weights)
                try FileManager.default.copyItem(atPath: folder + "/copy", toPath: weights)
            }
            if Faults.asked != nil {
                print("\(line), \(isCut ? "cut" : "written to"): \(stopped) of \(tries) runs stopped")
            }
        }
    }

    @Test(arguments: chosenPairs, [false, true])
    func runsThatWriteOneOutputAtOnceLeaveAWholeOne(_ index: Int, _ isForced: Bool) throws {
        let inputs = try FaultInputs.shared.get()
        let commands = [Self.pairs[index].first, Self.pairs[index].second]
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            func arguments(_ which: Int) -> [String] {
                commands[which % 2].arguments(inputs) + (isForced ? ["--force"] : [])
            }
            var outputs: [[String: [UInt8]]] = []
            func empty() throws { for name in try names(in: folder) { removeTree(folder + "/" + name) } }
            for which in 0..<2 {
                try #require(try program.run(arguments(which)).status == 0)
                outputs.append(try snapshot(of: folder))
                try empty()
            }
            let rounds = Faults.asked.map { $0 / 10 } ?? 1
            for _ in 0..<rounds {
                let running = try (0..<3).map { try program.begin(arguments($0)) }
                let outcomes = try running.map { try $0.finish() }
                for outcome in outcomes where outcome.status != 0 {
                    #expect(!isForced && outcome.status == 73, "\(outcome.errors)")
                    #expect(outcome.errors.contains("exists already"), "\(outcome.errors)")
                }
                #expect(outcomes.count { $0.status == 0 } == (isForced ? 3 : 1))
                let isWhole = outputs.contains(try snapshot(of: folder))
                #expect(isWhole)
                try empty()
            }
            if Faults.asked != nil { print("\(commands[0]): \(rounds) rounds, forced: \(isForced)") }
        }
    }
}
