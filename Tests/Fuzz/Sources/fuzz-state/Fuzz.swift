import Adapters
import CheckpointIO
import Compute
import Data
import FuzzAdapter
import FuzzSupport
import Models
import TensorCore
import Training

/// A run of four steps on two examples, at its start.
private struct Run {
    let loop: TrainingLoop
    let beginning: TrainingState

    init() throws {
        let gated = try GatedAdapter()
        let model = try gated.base.makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        let adapter = try InjectedAdapter(
            into: model, gated.adapter.configuration, tensors: gated.adapter.tensors,
            thresholds: gated.adapter.thresholds, source: "adapter")
        var configuration = TrainingConfiguration()
        configuration.batchSize = 1
        configuration.length = .steps(4)
        let examples = [[1, 2, 3], [4, 5]].map { (tokens: [Int32]) in
            Example(tokens: tokens, scored: tokens.map { _ in true })
        }
        loop = try TrainingLoop(model, adapter, examples: examples, source: "examples", configuration)
        beginning = loop.state
    }
}

/// Made once, for the one thread that tries inputs; a state that is restored changes it for those that follow, which must not
/// matter.
private nonisolated(unsafe) let run: Run = {
    do { return try Run() } catch { fatalError("the fixture is not as it was: \(error)") }
}()

/// The bytes as the training_state.json of a checkpoint beside sound tensors; a run that takes it goes on to its end.
@main
enum Fuzz {
    static func main() {
        fuzz { start, count in
            let path = placeInput(start, count, as: TrainingState.recordFile) + "/" + TrainingState.recordFile
            guard let read = try? JSONValue.parse(readSmallFile(path, limit: 1 << 20)) else { return -1 }
            // An input without settings has the run's, which are far from what mutations find.
            var record = read
            if var object = read.objectValue, object["configuration"] == nil {
                object["configuration"] = .object(run.beginning.configuration)
                record = .object(object)
            }
            reading {
                let state = try TrainingState(
                    record: record, tensors: run.beginning.tensors, momentTensors: run.beginning.momentTensors,
                    source: "checkpoint")
                try run.loop.restore(state, source: "checkpoint")
                let again = try TrainingState(
                    record: run.loop.state.record, tensors: state.tensors, momentTensors: state.momentTensors,
                    source: "again")
                precondition(again.thresholds == state.thresholds && again.step == state.step)
                try run.loop.run(TrainingCallbacks())
                precondition(run.loop.step == 4, "a run that ends at another step")
            }
            return 0
        }
    }
}
