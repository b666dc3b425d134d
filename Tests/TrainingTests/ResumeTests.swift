import Adapters
import CheckpointIO
import Data
import ModelTestSupport
import TensorCore
import Testing
import Training

/// The same bits from the same inputs, stopped on the way or not.
@Suite struct ResumeTests {
    /// A state as it comes back from text and tensors.
    private func throughFiles(_ state: TrainingState) throws -> TrainingState {
        try TrainingState(
            record: JSONValue.parse(state.record.text(indent: 2)), tensors: state.tensors,
            momentTensors: state.momentTensors.reversed(), source: "checkpoint")
    }

    /// Composed and decomposed, é makes two names.
    @Test func momentsAreFoundByTheBytesOfTheirNames() throws {
        let tensors = ["caf\u{E9}", "cafe\u{301}"].map { AdapterTensor($0, [1], [0]) }
        let record = try savedState().record
        let moments = tensors.enumerated().flatMap { place, tensor in
            TrainingState.momentNames(of: tensor.name).enumerated().map {
                AdapterTensor($0.element, [1], [Float(10 * place + $0.offset)])
            }
        }
        let state = try TrainingState(
            record: record, tensors: tensors, momentTensors: moments, source: "checkpoint")
        #expect(state.moments.map(\.mean) == [[0], [10]] && state.moments.map(\.meanSquare) == [[1], [11]])
        #expect(state.scheduleTensors.isEmpty)
    }

    @Test(arguments: [1, 2]) func sameSeedGivesTheSameBits(threads: Int) throws {
        let runs = try (0..<2).map { _ in try TrainingBench { $0.threadCount = threads } }
        let losses = try runs.map { try $0.run() }
        #expect(losses[0] == losses[1] && losses[0].count == 6)
        #expect(sameBits(runs[0].loop.state, runs[1].loop.state))

        var configuration = TrainingBench.configuration
        configuration.seed = 4
        #expect(try TrainingBench(configuration).run() != losses[0])
    }

    @Test func somethingIsTrained() throws {
        let bench = try TrainingBench()
        let before = bench.loop.state
        let losses = try bench.run()
        let after = bench.loop.state
        #expect(losses.last! < losses.first!)
        #expect(zip(before.tensors, after.tensors).allSatisfy { $0.values != $1.values })
        #expect(after.thresholds.contains { $0.tau != 0 })
    }

    /// Steps 2 and 4 end an epoch; 1, 3 and 5 lie inside of one.
    @Test(arguments: 1...5) func resumedRunEndsWithTheSameBits(stop: Int) throws {
        let whole = try TrainingBench()
        let wholeLosses = try whole.run()

        let first = try TrainingBench()
        let firstLosses = try (0..<stop).map { _ in try first.loop.takeStep().loss }
        let saved = try throughFiles(first.loop.state)
        #expect(sameBits(saved, first.loop.state))

        // Another beginning, to see that all of it is overwritten.
        let second = try TrainingBench {
            $0.updateSize = 0.3
            $0.tau = 0.1
        }
        try second.loop.restore(saved, source: "checkpoint")
        #expect(second.loop.step == stop)
        #expect(firstLosses + (try second.run()) == wholeLosses)
        #expect(sameBits(second.loop.state, whole.loop.state))
    }

    @Test func denseRunResumesToo() throws {
        let whole = try TrainingBench { $0.isGated = false }
        _ = try whole.run()
        let first = try TrainingBench { $0.isGated = false }
        for _ in 0..<3 { _ = try first.loop.takeStep() }
        let second = try TrainingBench { $0.isGated = false }
        try second.loop.restore(throughFiles(first.loop.state), source: "checkpoint")
        _ = try second.run()
        #expect(sameBits(second.loop.state, whole.loop.state))
    }

    /// The warnings of a run of 60 steps by the step at which they come, stopped and resumed after `stop`.
    private func warnings(s: Double, lambda: Double, stop: Int?) throws -> [Int: [String]] {
        var configuration = TrainingBench.configuration
        configuration.length = .steps(60)
        configuration.batchSize = 1
        configuration.accumulation = 1
        configuration.thresholds = ThresholdSettings(stepSize: s, lambda: lambda)
        var warnings: [Int: [String]] = [:]
        var step = 0
        var saved: TrainingState?
        let callbacks = TrainingCallbacks(
            report: { event in
                if case .step(let report) = event { step = report.step }
                if case .warning(let text) = event { warnings[step, default: []].append(text.description) }
            },
            save: { state in
                saved = state
                return "checkpoint"
            }, shouldStop: { step == stop })
        if let stop {
            #expect(throws: TrainingError.interrupted(step: stop, savedAt: "checkpoint")) {
                try TrainingBench(configuration).run(callbacks)
            }
        }
        let bench = try TrainingBench(configuration)
        if let saved { try bench.loop.restore(throughFiles(saved), source: "checkpoint") }
        step = 0
        _ = try bench.run(callbacks)
        return warnings
    }

    /// Thresholds that outrun r, which is reported after 20 steps, and some that cannot reach it, which is reported
    /// after a quarter of the run.
    @Test(arguments: [(10, 100, 10), (10, 100, 30), (1e-7, 0, 20)])
    func resumedRunWarnsWhenTheWholeOneDoes(s: Double, lambda: Double, stop: Int) throws {
        let whole = try warnings(s: s, lambda: lambda, stop: nil)
        #expect(whole.values.reduce(0) { $0 + $1.count } == 1)
        #expect(try warnings(s: s, lambda: lambda, stop: stop) == whole)
    }

    @Test func stateOfAnOlderVersionKnowsOfNoWarnings() throws {
        let state = try savedState()
        var record = try #require(state.record.objectValue)
        record["ratios_compared"] = nil
        record["thresholds"] = .array(
            try #require(record["thresholds"]?.arrayValue).map { entry in
                var entry = try #require(entry.objectValue)
                entry["silent_steps"] = nil
                entry["reported"] = nil
                return .object(entry)
            })
        let old = try TrainingState(
            record: .object(record), tensors: state.tensors, momentTensors: state.momentTensors, source: "c")
        #expect(!old.hasComparedRatios && old.thresholds.count == state.thresholds.count)
        #expect(old.thresholds.allSatisfy { $0.silentSteps == 0 && !$0.isReported })
        #expect(zip(old.thresholds, state.thresholds).allSatisfy { $0.optimizer == $1.optimizer && $0.tau == $1.tau })
    }

    @Test(arguments: [-1, 2, Int.max]) func impossibleCountOfSilentStepsIsRefused(count: Int) throws {
        let state = try savedState()
        var record = try #require(state.record.objectValue)
        var entries = try #require(record["thresholds"]?.arrayValue)
        var entry = try #require(entries[1].objectValue)
        entry["silent_steps"] = .integer(count)
        entries[1] = .object(entry)
        record["thresholds"] = .array(entries)
        #expect(
            throws: TrainingError.badState(path: "c", problem: "'silent_steps' is \(count), not from 0 to 1")
        ) {
            try TrainingState(
                record: .object(record), tensors: state.tensors, momentTensors: state.momentTensors, source: "c")
        }
    }

    /// The state of the standard run after its first step.
    private func savedState() throws -> TrainingState {
        let bench = try TrainingBench()
        _ = try bench.loop.takeStep()
        return bench.loop.state
    }

    @Test func stateOfOtherSettingsIsRefused() throws {
        let state = try savedState()
        var other = TrainingBench.configuration
        other.learningRate = 2e-2
        let expected = TrainingError.stateMismatch(
            path: "checkpoint", what: "learning_rate", saved: "0.01", given: "0.02")
        #expect(throws: expected) { try TrainingBench(other).loop.restore(state, source: "checkpoint") }
        #expect(expected.exitStatus == .badData)

        var longer = TrainingBench.configuration
        longer.length = .steps(6)
        #expect(
            throws: TrainingError.stateMismatch(path: "c", what: "steps", saved: "not there", given: "6")
        ) { try TrainingBench(longer).loop.restore(state, source: "c") }

        var stranger = state
        stranger.configuration["momentum"] = .integer(1)
        #expect(
            throws: TrainingError.stateMismatch(path: "c", what: "momentum", saved: "1", given: "not there")
        ) { try TrainingBench().loop.restore(stranger, source: "c") }
    }

    @Test func stateOfOtherTensorsOrDataIsRefused() throws {
        let state = try savedState()
        func problem(_ bench: TrainingBench) -> String? {
            do {
                try bench.loop.restore(state, source: "c")
                return nil
            } catch {
                guard case .badState("c", let problem) = error else { return "\(error)" }
                return problem
            }
        }
        #expect(problem(try TrainingBench { $0.rank = 5 }) == "its tensors are not those of the adapter")
        #expect(problem(try TrainingBench { $0.targets = "q_proj" }) == "its tensors are not those of the adapter")
        #expect(problem(try TrainingBench { $0.isGated = false }) == "its thresholds are not those of the adapter")
        let few = try TrainingBench(examples: Array(TrainingBench.examples.prefix(3)))
        #expect(problem(few) == "its place in the data lies beyond the data's end")
        #expect(problem(try TrainingBench()) == nil)
    }

    @Test func refusedStateLeavesTheRunAsItWas() throws {
        let bench = try TrainingBench { $0.isGated = false }
        let before = bench.loop.state
        #expect(throws: TrainingError.self) { try bench.loop.restore(savedState(), source: "c") }
        #expect(sameBits(bench.loop.state, before))
    }

    @Test(arguments: ["step", "epoch", "next_example", "configuration", "thresholds", "ratios_compared"])
    func recordWithoutAFieldIsRefused(field: String) throws {
        let state = try savedState()
        var record = try #require(state.record.objectValue)
        record[field] = .string("x")
        #expect(
            throws: TrainingError.badState(path: "c", problem: "'\(field)' is missing or has the wrong type")
        ) {
            try TrainingState(
                record: .object(record), tensors: state.tensors, momentTensors: state.momentTensors, source: "c")
        }
    }

    @Test(arguments: ["module", "tau", "mean", "mean_square", "steps", "silent_steps", "reported"])
    func thresholdWithoutAFieldIsRefused(field: String) throws {
        let state = try savedState()
        var record = try #require(state.record.objectValue)
        var entries = try #require(record["thresholds"]?.arrayValue)
        var entry = try #require(entries[2].objectValue)
        entry[field] = .null
        entries[2] = .object(entry)
        record["thresholds"] = .array(entries)
        #expect(
            throws: TrainingError.badState(path: "c", problem: "'\(field)' is missing or has the wrong type")
        ) {
            try TrainingState(
                record: .object(record), tensors: state.tensors, momentTensors: state.momentTensors, source: "c")
        }
    }

    /// What would make every weight NaN from the next step on.
    @Test(arguments: [("mean", "1e999"), ("mean", "-1e999"), ("mean_square", "1e999"), ("mean_square", "-1e-9")])
    func thresholdWithANumberThatNoRunLeavesIsRefused(field: String, number: String) throws {
        let state = try savedState()
        var record = try #require(state.record.objectValue)
        var entries = try #require(record["thresholds"]?.arrayValue)
        var entry = try #require(entries[1].objectValue)
        entry[field] = .number(number)
        entries[1] = .object(entry)
        record["thresholds"] = .array(entries)
        #expect(
            throws: TrainingError.badState(path: "c", problem: "'\(field)' is \(number), which no run leaves")
        ) {
            try TrainingState(
                record: .object(record), tensors: state.tensors, momentTensors: state.momentTensors, source: "c")
        }
    }

    @Test(arguments: [(2, Float.nan), (2, .infinity), (3, .nan), (3, -1)])
    func momentThatNoRunLeavesIsRefused(index: Int, number: Float) throws {
        let state = try savedState()
        var moments = state.momentTensors
        moments[index].values[1] = number
        #expect(
            throws: TrainingError.badState(
                path: "c", problem: "the moments of '\(state.tensors[1].name)' hold a number that no run leaves")
        ) {
            try TrainingState(record: state.record, tensors: state.tensors, momentTensors: moments, source: "c")
        }
    }

    @Test func stateWithoutAMomentIsRefused() throws {
        let state = try savedState()
        let name = state.tensors[1].name
        for index in [2, 3] {
            var moments = state.momentTensors
            moments.remove(at: index)
            #expect(throws: TrainingError.badState(path: "c", problem: "the moments of '\(name)' are missing")) {
                try TrainingState(
                    record: state.record, tensors: state.tensors, momentTensors: moments, source: "c")
            }
        }
    }
}
