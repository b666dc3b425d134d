import CheckpointIO
import Glibc
import TensorCore
import TestSupport
import Testing
import Training

@testable import TSPEFT

/// What a run that goes on writes into its log, its table and its events: what is new, and nothing else.
@Suite struct RunRecordTests {
    private func training(_ body: (TinyTraining) throws -> Void) throws {
        try withTemporaryFolder { try body(try TinyTraining($0)) }
    }

    /// A run of six steps with an evaluation on the way and one at the end.
    private func request(
        _ tiny: TinyTraining, _ name: String = "run", table: String = "steps.csv", board: String = "board",
        isMore: Bool = false
    ) -> TrainRequest {
        tiny.request(name) {
            $0.validationSplit = .count(3)
            $0.evaluationInterval = 2
            $0.training.accumulation = 1
            $0.training.length = .steps(6)
            $0.tablePath = tiny.folder + "/" + table
            $0.eventFolder = tiny.folder + "/" + board
            $0.resumes = isMore
        }
    }

    private func records(_ tiny: TinyTraining) throws -> [[UInt8]] {
        try ["run/log.jsonl", "steps.csv", "board/" + EventFile.fileName].map { try readFile(tiny.folder + "/" + $0) }
    }

    private func lines(_ tiny: TinyTraining, _ name: String) throws -> [Substring] {
        String(decoding: try readFile(tiny.folder + "/" + name), as: UTF8.self).split(separator: "\n")
    }

    @Test func aFinishedRunThatGoesOnWritesNothing() throws {
        try training { tiny in
            #expect(try tiny.train(request(tiny)).error == nil)
            let (before, adapter) = (try records(tiny), try tiny.result("run"))
            for _ in 0..<2 { #expect(try tiny.train(request(tiny, isMore: true)).error == nil) }
            #expect(try records(tiny) == before)
            #expect(try tiny.result("run") == adapter)
            // A set that it was not evaluated on is new.
            var other = request(tiny, isMore: true)
            other.validationSplit = nil
            other.evaluationPaths = [tiny.records]
            #expect(try tiny.train(other).error != nil, "its data are others")
        }
    }

    /// Ended while it measured, a run tells of its last evaluation once, when it goes on.
    @Test func whatWasNotSaidIsSaidOnce() throws {
        try training { tiny in
            var isMeasuring = false
            #expect(throws: TrainingError.self) {
                _ = try trainAdapter(
                    request(tiny),
                    progress: { event in
                        if case .measuring = event { isMeasuring = true }
                    }, shouldStop: { isMeasuring })
            }
            let before = try lines(tiny, "steps.csv").count
            for _ in 0..<2 { #expect(try tiny.train(request(tiny, isMore: true)).error == nil) }
            #expect(try lines(tiny, "steps.csv").count == before + 1)
            #expect(try tiny.log("run", "evaluation", "step").suffix(1) == [.integer(6)])
            #expect(try tiny.log("run", "evaluation", "step").count == 3)
            #expect(try tiny.log("run", "end", "steps") == [.integer(6)])
        }
    }

    @Test(arguments: [2, 3, 5]) func aNewTableHoldsTheWholeRun(_ stop: Int) throws {
        try training { tiny in
            var first = request(tiny)
            first.tablePath = nil
            first.eventFolder = nil
            #expect(try tiny.train(first, stopAfter: stop).error != nil)
            #expect(try tiny.train(request(tiny, table: "late.csv", board: "late", isMore: true)).error == nil)
            #expect(try tiny.train(request(tiny, "whole")).error == nil)
            let table = { (name: String) -> [String] in
                try lines(tiny, name).map { line in
                    // But for the seconds.
                    var fields = line.split(separator: ",", omittingEmptySubsequences: false)
                    fields.remove(at: 14)
                    return fields.joined(separator: ",")
                }
            }
            #expect(try table("late.csv") == table("steps.csv"))
            #expect(try table("late.csv").count == 1 + 6 + 3)
            let size = { (name: String) in
                try readFile(tiny.folder + "/\(name)/" + EventFile.fileName).count
            }
            #expect(try size("late") == size("board"))
            // What a table lacks is added, where it is that of this run.
            let all = try readFile(tiny.folder + "/late.csv")
            let some = try lines(tiny, "late.csv").prefix(3).joined(separator: "\n") + "\n"
            try writeFile(tiny.folder + "/late.csv", some)
            #expect(try tiny.train(request(tiny, table: "late.csv", board: "late", isMore: true)).error == nil)
            #expect(try readFile(tiny.folder + "/late.csv") == all)
        }
    }

    @Test func filesThatAreNotTheRunsStayAsTheyAre() throws {
        try training { tiny in
            #expect(try tiny.train(request(tiny), stopAfter: 3).error != nil)
            var other = request(tiny, "other", table: "other.csv", board: "other-board")
            other.learningRate = 1e-4
            #expect(try tiny.train(other).error == nil)
            try writeFile(tiny.folder + "/notes.txt", "what I must not forget\n")
            let config = try readFile(tiny.folder + "/other.csv")
            for table in ["notes.txt", "other.csv"] {
                let before = try readFile(tiny.folder + "/" + table)
                let error = try tiny.train(request(tiny, table: table, isMore: true)).error as? any ReportableError
                #expect(error?.exitStatus == .cannotCreate, "\(String(describing: error))")
                #expect("\(error!)".contains("something else than the figures of this run"), "\(error!)")
                #expect(try readFile(tiny.folder + "/" + table) == before)
            }
            let board = tiny.folder + "/other-board/" + EventFile.fileName
            let events = try readFile(board)
            #expect(try tiny.train(request(tiny, board: "other-board", isMore: true)).error is WorkflowError)
            #expect(try readFile(board) == events && readFile(tiny.folder + "/other.csv") == config)
            #expect(try tiny.train(request(tiny, isMore: true)).error == nil)
        }
    }

    /// What cannot be made is told before anything is computed, by a dry run too.
    @Test func placesAreLookedAtFirst() throws {
        try training { tiny in
            try writeFile(tiny.folder + "/file", "")
            try AtomicDirectory(tiny.folder + "/folder").commit()
            for (table, board) in [
                ("none/steps.csv", "board"), ("file/steps.csv", "board"), ("folder", "board"),
                ("steps.csv", "none/board"), ("steps.csv", "file"), ("steps.csv", "file/board"),
            ] {
                for isMore in [false, true] {
                    if isMore { #expect(try tiny.train(request(tiny, "run", table: "a.csv", board: "a")).error == nil) }
                    let request = request(tiny, table: table, board: board, isMore: isMore)
                    var isLoaded = false
                    let run = #expect(throws: CheckpointError.self) {
                        _ = try trainAdapter(request) { if case .loaded = $0 { isLoaded = true } }
                    }
                    let rehearsal = #expect(throws: CheckpointError.self) { _ = try dryRun(of: request) }
                    #expect(run?.description == rehearsal?.description && !isLoaded, "\(table) \(board)")
                    #expect(run?.exitStatus == .cannotCreate, "\(String(describing: run))")
                }
                for path in ["run", "a.csv", "a"] { removeTree(tiny.folder + "/" + path) }
            }
            // What is no file is not put aside, nor is a link.
            for (name, target) in [("device", "/dev/null"), ("link", "a-file")] {
                try writeFile(tiny.folder + "/a-file", "mine")
                #expect(symlink(target, tiny.folder + "/" + name) == 0)
                var forced = request(tiny, table: name)
                forced.replaces = true
                #expect(throws: CheckpointError.self) { _ = try trainAdapter(forced) }
                #expect(try readFile(tiny.folder + "/a-file") == Array("mine".utf8))
                #expect(isNamed(tiny.folder + "/" + name))
            }
            // A run's own directory is a good place, which is not there before.
            let inside = request(tiny, table: "run/steps.csv", board: "run/board")
            _ = try dryRun(of: inside)
            #expect(try tiny.train(inside).error == nil)
            #expect(try lines(tiny, "run/steps.csv").count == 1 + 6 + 3)
        }
    }
}
