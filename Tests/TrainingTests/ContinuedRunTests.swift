import Adapters
import CheckpointIO
import Data
import Testing
import Training

/// Runs that take up another run's state without its settings (`TrainingLoop.take`).
@Suite struct ContinuedRunTests {
    /// A run's state after `steps` steps.
    private func saved(after steps: Int) throws -> TrainingState {
        let bench = try TrainingBench()
        for _ in 0..<steps { _ = try bench.loop.takeStep() }
        return bench.loop.state
    }

    @Test func withTheSameSettingsItEndsWithTheSameBits() throws {
        let whole = try TrainingBench()
        _ = try whole.run()
        let second = try TrainingBench { $0.updateSize = 0.3 }
        #expect(try second.loop.take(saved(after: 3), source: "state").isEmpty)
        _ = try second.run()
        #expect(sameBits(second.loop.state, whole.loop.state))
    }

    @Test func otherSettingsAreToldAndTaken() throws {
        var configuration = TrainingBench.configuration
        configuration.learningRate = 5e-3
        configuration.thresholds.lambda = 2e-4
        let state = try saved(after: 2)
        let bench = try TrainingBench(configuration)
        #expect(throws: TrainingError.self) { try bench.loop.restore(state, source: "state") }
        let differences = try bench.loop.take(state, source: "state")
        #expect(differences == ["learning_rate was 0.01 and is now 0.005", "lambda was 0.0001 and is now 0.0002"])
        #expect(bench.loop.step == 2 && sameTensors(bench.loop.state, state))
        #expect(bench.loop.state.thresholds == state.thresholds)
        _ = try bench.loop.takeStep()
    }

    /// Other programs write numbers in other digits, tensors in another order, and only the settings that they know.
    @Test func anotherProgramsStateIsTaken() throws {
        let own = try saved(after: 2)
        var record = try #require(own.record.objectValue)
        record["configuration"] = .object(["lambda": .number("1.0e-04"), "weight_decay": .number("1e-2")])
        record["thresholds"] = .array(try #require(record["thresholds"]?.arrayValue).reversed())
        let state = try TrainingState(
            record: .object(record), tensors: own.tensors.reversed(), momentTensors: own.momentTensors,
            source: "state")
        let bench = try TrainingBench()
        #expect(try bench.loop.take(state, source: "state").isEmpty)
        #expect(sameTensors(bench.loop.state, own) && bench.loop.state.thresholds == own.thresholds)
    }

    @Test func aPlaceBeyondTheDataBeginsAnEpoch() throws {
        let state = try saved(after: 1)
        let bench = try TrainingBench(examples: Array(TrainingBench.examples.prefix(2)))
        let differences = try bench.loop.take(state, source: "state")
        #expect(differences.count == 1 && differences[0].contains("a new epoch begins"), "\(differences)")
        #expect(bench.loop.state.position == DataOrder.Position(epoch: 1, index: 0))
    }

    @Test func whatIsAnotherAdaptersIsRefused() throws {
        let dense = try TrainingBench { $0.isGated = false }
        #expect(throws: TrainingError.self) { try dense.loop.take(saved(after: 1), source: "state") }
        var configuration = TrainingBench.configuration
        configuration.length = .steps(2)
        let short = try TrainingBench(configuration)
        let error = #expect(throws: TrainingError.self) { try short.loop.take(saved(after: 3), source: "state") }
        #expect(error?.description.contains("after step 3, and the run has 2 steps") ?? false)
    }

    private func sameTensors(_ one: TrainingState, _ other: TrainingState) -> Bool {
        zip(one.tensors, other.tensors).allSatisfy { $0.name == $1.name && $0.values == $1.values }
            && zip(one.moments, other.moments).allSatisfy { $0.mean == $1.mean && $0.meanSquare == $1.meanSquare }
    }
}
