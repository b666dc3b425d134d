import Adapters
import CheckpointIO
import Data
import Foundation
import TensorCore
import TestSupport
import Testing
import Training

@testable import TSPEFT

/// The run's directory: its log, and how the finished adapter gets there.
@Suite(.serialized) struct TrainingOutputTests {
    private func training<R>(_ body: (TinyTraining) throws -> R) throws -> R {
        try withTemporaryFolder { try body(TinyTraining($0)) }
    }

    private func lines(_ tiny: TinyTraining) throws -> [Substring] {
        String(decoding: try readFile(tiny.folder + "/run/log.jsonl"), as: UTF8.self).split(
            separator: "\n", omittingEmptySubsequences: false)
    }

    /// Runs are resumed by later versions, so the hash of their records must stay what it was; the value is that of
    /// FNV-1a over 64-bit words by hand.
    @Test func hashOfRecordsIsAlwaysTheSame() {
        let examples = [
            Example(tokens: [1, 2, 3], scored: [false, true, true]),
            Example(tokens: [-1, 70000], scored: [false, true]),
        ]
        #expect(RunInputs.hash(of: examples) == 0x84E7_87E2_4B28_03AA)
    }

    @Test func everyLineOfTheLogIsAnEventWithItsFields() throws {
        try training { tiny in
            let run = try tiny.train(
                tiny.request("run") {
                    $0.evaluationPath = tiny.records
                    $0.evaluationLimit = 2
                    $0.training.evaluationInterval = 3
                })
            #expect(run.error == nil)
            let lines = try lines(tiny)
            #expect(lines.last == "")
            let events = try lines.dropLast().map { try JSONValue.parse(Array($0.utf8)) }
            var step = 0
            for event in events {
                switch try #require(event["event"]?.stringValue) {
                case "step":
                    step += 1
                    #expect(event["step"]?.intValue == step)
                    for name in ["loss", "learning_rate", "gradient_norm", "sparsity", "tau_min", "tau_max", "seconds"]
                    {
                        #expect(event[name]?.doubleValue?.isFinite == true, "\(name) of step \(step)")
                    }
                    #expect((event["tokens"]?.intValue ?? 0) > 0)
                    #expect((0...1).contains(try #require(event["sparsity"]?.doubleValue)))
                case "evaluation":
                    #expect(event["step"]?.intValue == step)
                    let loss = try #require(event["loss"]?.doubleValue)
                    #expect(abs(try #require(event["perplexity"]?.doubleValue) - exp(loss)) < 1e-9 * exp(loss))
                case "checkpoint":
                    #expect(event["step"]?.intValue == step)
                    #expect(event["path"]?.stringValue == "checkpoint-00000\(step)")
                case "warning": #expect(event["text"]?.stringValue?.isEmpty == false)
                case "end": #expect(event["steps"]?.intValue == 6)
                case let kind: Issue.record("an unknown kind \(kind)")
                }
            }
            #expect(step == 6)
            #expect(events.last?["event"]?.stringValue == "end")
        }
    }

    @Test func halfALineOfAKilledRunDoesNotSwallowTheNextOne() throws {
        try training { tiny in
            _ = try tiny.train(tiny.request("run"), stopAfter: 2)
            let log = tiny.folder + "/run/log.jsonl"
            try writeFile(log, try readFile(log) + Array(#"{"event":"step","step":3,"lo"#.utf8))
            #expect(try tiny.train(tiny.request("run") { $0.resumes = true }).error == nil)
            let lines = try lines(tiny).dropLast()
            let events = lines.compactMap { try? JSONValue.parse(Array($0.utf8)) }
            #expect(events.count == lines.count - 1)
            #expect(
                events.filter { $0["event"]?.stringValue == "step" }.compactMap { $0["step"]?.intValue }
                    == [1, 2, 3, 4, 5, 6])
        }
    }

    /// A user's own folder of that name, such as a copy of the adapter.
    @Test func folderNamedAdapterInTheRunDoesNotKeepItFromFinishing() throws {
        try training { tiny in
            _ = try tiny.train(tiny.request("run"), stopAfter: 2)
            let own = tiny.folder + "/run/adapter"
            try FileManager.default.createDirectory(atPath: own, withIntermediateDirectories: false)
            try writeFile(own + "/letter.txt", "dear")
            #expect(try tiny.train(tiny.request("run") { $0.resumes = true }).error == nil)
            #expect(try names(in: own) == ["letter.txt"])
            #expect(try names(in: tiny.folder + "/run").allSatisfy { !$0.hasPrefix(".") })
            _ = try AdapterDirectory.read(tiny.folder + "/run")
        }
    }

    /// The adapter is seen by its configuration, so a run that fails while it replaces the files must not have one.
    @Test func finishedRunThatIsResumedHasNoConfigurationUntilAllElseIsThere() throws {
        try training { tiny in
            #expect(try tiny.train(tiny.request("run")).error == nil)
            let configuration = tiny.folder + "/run/" + PEFTNames.configurationFile
            let before = try readFile(configuration)
            // A folder in the place of the tensors cannot be replaced by a file.
            let tensors = tiny.folder + "/run/" + PEFTNames.tensorFile
            #expect(removeFile(tensors))
            try FileManager.default.createDirectory(atPath: tensors, withIntermediateDirectories: false)
            let failed = try tiny.train(tiny.request("run") { $0.resumes = true })
            #expect((failed.error as? any ReportableError)?.exitStatus == .inputOutput)
            #expect(!pathExists(configuration))
            #expect(try names(in: tiny.folder + "/run").allSatisfy { !$0.hasPrefix(".") })

            #expect(rmdir(tensors) == 0)
            #expect(try tiny.train(tiny.request("run") { $0.resumes = true }).error == nil)
            #expect(try readFile(configuration) == before)
            _ = try AdapterDirectory.read(tiny.folder + "/run")
        }
    }

    @Test func refusalToForceTwiceSaysWhatToDo() throws {
        try training { tiny in
            _ = try tiny.train(tiny.request("run") { $0.training.length = .steps(1) })
            let forced = tiny.request("run") { $0.replaces = true }
            _ = try tiny.train(forced, stopAfter: 2)
            let refused = try tiny.train(forced).error as? WorkflowError
            #expect(refused?.description.contains("move it back or remove it") == true)
        }
    }
}
