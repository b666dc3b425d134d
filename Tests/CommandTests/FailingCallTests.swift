import CheckpointIO
import Foundation
import TestSupport
import Testing

/// One system call after another fails, of those that write and of those that read.
@Suite(.serialized, .enabled(if: FailingCalls.library != nil, "needs clang")) struct FailingCallTests {
    private typealias Fault = FailingCalls.Fault

    private func withPlaces(
        _ body: (_ inputs: FaultInputs, _ work: String, _ whole: String, _ old: String) throws -> Void
    ) throws {
        try withTemporaryFolder { folder in
            for name in ["work", "whole", "old"] { mkdir(folder + "/" + name, 0o755) }
            try body(try FaultInputs.shared.get(), folder + "/work", folder + "/whole", folder + "/old")
        }
    }

    /// A disk with an error, a full one and a quota that is used up, at each call; what was there before stays unless
    /// the last file has its name already, and then the new output is whole.
    @Test(arguments: WritingCommand.chosen) func callThatFailsLeavesTheOldOutput(_ command: WritingCommand) throws {
        try withPlaces { inputs, work, whole, old in
            let new = try command.writeWhole(in: whole, inputs)
            try command.writeOld(in: old, likeThoseIn: whole, inputs)
            let before = try snapshot(of: old)
            let arguments = command.arguments(inputs) + ["--force"]
            try replaceContents(of: work, byThoseOf: old)
            let sound = try FailingCalls.run(arguments, Fault(), in: work, watched: work)
            try #require(sound.outcome.status == 0, "\(sound.outcome.errors)")
            let isWhole = try snapshot(of: work) == new
            #expect(isWhole)
            let lastRename = try #require(sound.calls.lastIndex { $0.hasPrefix("renameat2 ") }) + 1
            try replaceContents(of: work, byThoseOf: old)
            let faults = [Fault(code: EIO), Fault(code: ENOSPC, stays: true), Fault(code: EDQUOT, stays: true)]
            var runs = 0
            for (turn, number) in FailingCalls.chosen(sound.calls).enumerated() {
                for var fault in Faults.asked ?? 0 < 100 ? [faults[turn % faults.count]] : faults {
                    fault.at = number
                    runs += 1
                    let run = try FailingCalls.run(arguments, fault, in: work, watched: work)
                    let errors = run.outcome.errors
                    let what: Comment = "\(run.calls.last ?? "") \(fault): \(run.outcome.status) \(errors)"
                    #expect(run.outcome.status == 74, what)
                    #expect(run.outcome.errorLines.count == 1, what)
                    #expect(errors.contains(": \(systemMessage(fault.code))"), what)
                    #expect(["tspeft: out", work + "/out"].contains { errors.contains($0) }, what)
                    #expect(!errors.contains(".tspeft-"), what)
                    let left = try snapshot(of: work)
                    let (isOld, isNew) = (left == before, left == new)
                    #expect(isOld || isNew && number > lastRename, "\(left.keys.sorted()) \(what)")
                    #expect(try names(in: work) == names(in: old), what)
                    if !isOld { try replaceContents(of: work, byThoseOf: old) }
                }
            }
            if Faults.asked != nil { print("\(command): \(runs) runs, \(sound.calls.count) calls that write") }
        }
    }

    /// Parts of a split file are worth something together only: where nothing stood before, or some of them, so it is
    /// again, whichever call fails.
    @Test(arguments: [[], [1], [0, 2]]) func splitFileThatFailsLeavesNoPartOfIt(_ oldParts: [Int]) throws {
        try withPlaces { inputs, work, whole, old in
            let command = try #require(WritingCommand.all.first { $0.line.contains("MB --threads 1 -o out.gguf") })
            let new = try command.writeWhole(in: whole, inputs)
            let parts = try names(in: whole)
            #expect(parts.count > 2 && new.count == parts.count)
            for part in oldParts { try writeFile(old + "/" + parts[part], Array("old".utf8)) }
            let before = try snapshot(of: old)
            let arguments = command.arguments(inputs) + (oldParts.isEmpty ? [] : ["--force"])
            try replaceContents(of: work, byThoseOf: old)
            let sound = try FailingCalls.run(arguments, Fault(), in: work, watched: work)
            try #require(sound.outcome.status == 0, "\(sound.outcome.errors)")
            // From the first rename on; what fails before is the same for all outputs.
            let first = try #require(sound.calls.firstIndex { $0.hasPrefix("rename") }) + 1
            for number in first...sound.calls.count {
                try replaceContents(of: work, byThoseOf: old)
                let run = try FailingCalls.run(arguments, Fault(at: number), in: work, watched: work)
                let what: Comment = "\(sound.calls[number - 1]): \(run.outcome.status) \(run.outcome.errors)"
                let left = try snapshot(of: work)
                #expect(run.outcome.status == 74 ? left == before : run.outcome.status == 0 && left == new, what)
                #expect(try names(in: work) == (run.outcome.status == 74 ? names(in: old) : parts), what)
            }
        }
    }

    /// Training keeps the checkpoints that it has saved; a run with none leaves nothing.
    @Test func callThatFailsLeavesATrainingThatCanBeResumed() throws {
        try withPlaces { inputs, work, _, _ in
            let arguments = [
                "train", inputs.folder + "/base", "--adapter", inputs.folder + "/new", "--data",
                inputs.folder + "/records.json", "--steps", "2", "--save-every", "1", "--batch-size", "1", "--dtype",
                "f32", "--threads", "1", "-o", "out",
            ]
            let sound = try FailingCalls.run(arguments, Fault(), in: work, watched: work)
            try #require(sound.outcome.status == 0, "\(sound.outcome.errors)")
            let tensors = try readFile(work + "/out/adapter_model.safetensors")
            var (resumed, runs) = (0, 0)
            for (turn, number) in FailingCalls.chosen(sound.calls).enumerated() {
                removeTree(work + "/out")
                runs += 1
                let fault = Fault(at: number, code: turn % 2 == 0 ? EIO : EDQUOT, stays: turn % 2 == 1)
                let run = try FailingCalls.run(arguments, fault, in: work, watched: work)
                let what: Comment = "\(run.calls.last ?? "") \(fault): \(run.outcome.status) \(run.outcome.errors)"
                #expect(run.outcome.status == 74, what)
                let last = run.outcome.errorLines.last ?? ""
                #expect(last.contains("tspeft: out") && last.contains(systemMessage(fault.code)), what)
                #expect(!last.contains(".tspeft-"), what)
                #expect(!contents(of: work).contains { $0.contains(".tspeft-") }, "\(contents(of: work)) \(what)")
                guard try !names(in: work).isEmpty else { continue }
                resumed += 1
                let again = try Program(folder: work).run(arguments + ["--resume"])
                #expect(again.status == 0, "\(again.errors) after \(what)")
                let isSame = try readFile(work + "/out/adapter_model.safetensors") == tensors
                #expect(isSame, what)
            }
            #expect(resumed > 0 && resumed < runs)
            if Faults.asked != nil { print("train: \(runs) runs, \(resumed) of them resumed") }
        }
    }

    /// Every call that a signal may interrupt is interrupted once, and every write, copy or read does half.
    @Test(arguments: WritingCommand.chosen, ["interrupt", "short"])
    func interruptedAndShortCallsAreRepeated(_ command: WritingCommand, _ kind: String) throws {
        try withPlaces { inputs, work, whole, _ in
            let new = try command.writeWhole(in: whole, inputs)
            for calls in ["write", "read"] {
                let run = try FailingCalls.run(
                    command.arguments(inputs), Fault(calls: calls, kind: kind), in: work,
                    watched: calls == "read" ? inputs.folder : work)
                #expect(run.outcome.status == 0, "\(calls): \(run.outcome.errors)")
                #expect(!run.calls.isEmpty)
                let isWhole = try snapshot(of: work) == new
                #expect(isWhole, "\(calls)")
                for name in try names(in: work) { removeTree(work + "/" + name) }
            }
        }
    }

    /// An input's disk has an error at each call that looks for it or reads it.
    @Test(arguments: WritingCommand.chosen) func inputThatCannotBeReadIsNamed(_ command: WritingCommand) throws {
        try withPlaces { inputs, work, whole, _ in
            let new = try command.writeWhole(in: whole, inputs)
            let arguments = command.arguments(inputs)
            let sound = try FailingCalls.run(arguments, Fault(calls: "read"), in: work, watched: inputs.folder)
            try #require(sound.outcome.status == 0, "\(sound.outcome.errors)")
            for name in try names(in: work) { removeTree(work + "/" + name) }
            var (runs, refused) = (0, 0)
            for number in FailingCalls.chosen(sound.calls) {
                let run = try FailingCalls.run(
                    arguments, Fault(calls: "read", at: number), in: work, watched: inputs.folder)
                let what: Comment = "\(sound.calls[number - 1]): \(run.outcome.status) \(run.outcome.errors)"
                runs += 1
                if run.outcome.status == 0 {
                    // It was not needed.
                    let isWhole = try snapshot(of: work) == new
                    #expect(isWhole, what)
                    for name in try names(in: work) { removeTree(work + "/" + name) }
                } else {
                    refused += 1
                    #expect(run.outcome.status == 74, what)
                    #expect(run.outcome.errorLines.count == 1, what)
                    #expect(run.outcome.errors.contains(inputs.folder), what)
                    #expect(run.outcome.errors.contains(systemMessage(EIO)), what)
                }
                #expect(try names(in: work).isEmpty, what)
            }
            #expect(refused > 0)
            if Faults.asked != nil { print("\(command): \(runs) calls that read, \(refused) of the runs refused") }
        }
    }

    /// The threads of every parallel region are those that were asked for, not the machine's.
    @Test(arguments: [
        "merge IN/base --adapter IN/tuned -o out", "merge IN/base.gguf --adapter IN/ggufTuned -o out.gguf",
        "convert IN/base --type f16 -o out", "convert IN/base --type f16 -o out.gguf",
        "convert IN/base --type f16 -o out.safetensors.zst", "convert IN/tuned -o out.tspeft.zst",
        "convert IN/tuned.tspeft.zst -o out", "eval IN/base --data IN/records.json",
        "train IN/base --adapter IN/new --data IN/records.json --steps 1 -o out",
        "generate IN/base --prompt film --max-tokens 2",
    ])
    func threadsAreAsManyAsAskedFor(_ line: String) throws {
        try withPlaces { inputs, work, _, _ in
            for count in [1, 3] {
                let arguments = WritingCommand(line: line).arguments(inputs) + ["--threads", "\(count)"]
                let run = try FailingCalls.run(arguments, Fault(), in: work, watched: work)
                #expect(run.outcome.status == 0, "\(run.outcome.errors)")
                // One thread needs no region; a short piece of work may have fewer parts than there are threads.
                #expect(run.threads.allSatisfy { (1...count).contains($0) }, "\(Set(run.threads))")
                let isSmall = line.contains("zst -o") || line.hasPrefix("generate")
                #expect(count == 1 || isSmall || run.threads.contains(count), "\(Set(run.threads))")
                for name in try names(in: work) { removeTree(work + "/" + name) }
            }
        }
    }
}
