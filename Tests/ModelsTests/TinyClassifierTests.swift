import CheckpointIO
import Compute
import Models
import TensorCore
import TestSupport
import Testing

/// Small decoders with a head for sequences, as transformers computes with them.
@Suite struct TinyClassifierTests {
    static let names = TinyDecoders.names.filter { $0 != "granite" }

    @Test(arguments: names) func transformersScoresAreReproduced(_ name: String) throws {
        let reference = try SafetensorsFile.open(fixture("tiny-classifiers/\(name).safetensors"))
        let checkpoint = try ModelCheckpoint.open(
            fixture("tiny-decoders/\(name)"), as: SequenceTask(classCount: 3))
        let model = try checkpoint.makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        let tensor = try #require(model.tensors.head.first)
        let value = model.context.tensor(tensor.shape, .f32)
        value.copy(from: try reference.floats(of: reference.requiredRecord(tensor.name)))
        model.train(tensor, TrainableWeight(value, model.context))
        let lengths = try reference.integers("lengths")
        let ids = try reference.integers("tokens")
        let width = ids.count / lengths.count
        let tokens = lengths.indices.flatMap { row in ids[row * width..<row * width + lengths[row]].map(Int32.init) }
        let pass = Pass(Tape(model.context, isRecording: false))
        let found = try model.scores(tokens, TokenLayout(lengths: lengths), in: pass).value.toArray()
        let expected = try reference.floats(of: reference.requiredRecord("scores"))
        let largest = expected.reduce(0) { max($0, abs($1)) }
        let worst = zip(found, expected).reduce(0) { max($0, abs($1.0 - $1.1)) }
        // In plain C the delta rule's sums round to 1.6e-5.
        let tolerance: Float = name == "qwen3_5_text" ? 2e-5 : 1e-5
        #expect(found.count == expected.count && worst <= tolerance * largest, "\(name): \(worst / largest)")
    }

    /// transformers has no such class of Granite's.
    @Test func modelsWithoutSuchAClassAreRefused() throws {
        let base = try ModelCheckpoint.open(fixture("tiny-decoders/granite"), as: .regression)
        let problem = try #require(base.graphProblem)
        #expect(problem.description.contains("granite") && problem.exitStatus == .unsupported)
    }
}
