import CheckpointIO
import Compute
import Evaluation
import Foundation
import Models
import TensorCore
import TestSupport
import Testing
import Tokenization
import TSPEFT

/// Where `Tests/Scripts/fetch_smollm2.sh` puts the real model.
private let realModelPath = packageRoot + "/Tests/Models/smollm2.gguf"

/// SmolLM2-135M-Instruct against what transformers computes with the same dequantized weights in float32
/// (`Tests/Scripts/make_smollm2_reference.py`).
@Suite(
    .serialized,
    .enabled(if: pathExists(realModelPath), "SmolLM2 is not there; Tests/Scripts/fetch_smollm2.sh fetches it"))
struct RealModelTests {
    private struct Greedy: Decodable {
        let prompt: String
        let promptIds: [Int32]
        let generatedIds: [Int32]
    }

    /// The bound on logits of a float32 run that the project promises.
    private static let logitTolerance: Float = 1e-3

    private func reference() throws -> Greedy {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(
            Greedy.self, from: Data(contentsOf: URL(fileURLWithPath: fixture("smollm2/greedy.json"))))
    }

    @Test func logitsAgreeWithTransformersInF32() throws {
        let reference = try reference()
        let session = try ModelSession(basePath: realModelPath, ComputeOptions(precision: .f32, threadCount: 2))
        #expect(session.tokenizer.encode(reference.prompt) == reference.promptIds)
        let tape = Tape(session.context, isRecording: false)
        let hidden = try session.model.forward(
            reference.promptIds, TokenLayout(lengths: [reference.promptIds.count]), in: Pass(tape))
        let rows = reference.promptIds.indices.map(Int32.init)
        let logits = tape.logits(hidden, head: session.model.head!, rows: rows).toArray()
        let file = try SafetensorsFile.open(fixture("smollm2/logits.safetensors"))
        let expected = try file.floats(of: file.requiredRecord("logits"))
        try #require(logits.count == expected.count)
        let worst = zip(logits, expected).reduce(0) { max($0, abs($1.0 - $1.1)) }
        #expect(worst <= Self.logitTolerance, "largest difference \(worst)")
    }

    @Test(arguments: [ComputeOptions.Precision.f32, .bf16]) func greedyTextEqualsTransformers(
        precision: ComputeOptions.Precision
    ) throws {
        let reference = try reference()
        let session = try ModelSession(basePath: realModelPath, ComputeOptions(precision: precision, threadCount: 2))
        let result = try generate(
            session.model, prompt: session.tokenizer.encode(reference.prompt), limit: reference.generatedIds.count,
            endTokens: session.endTokens, .greedy)
        // BF16 rounds, so only the first words must agree there.
        let count = precision == .f32 ? reference.generatedIds.count : 2
        #expect(Array(result.tokens.prefix(count)) == Array(reference.generatedIds.prefix(count)))
    }
}
