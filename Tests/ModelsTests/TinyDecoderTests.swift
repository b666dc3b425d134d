import CheckpointIO
import Compute
import Models
import TensorCore
import TestSupport
import Testing

/// A small model of each decoder, as transformers saved it and computes with it.
@Suite struct TinyDecoderTests {
    @Test(arguments: TinyDecoders.names) func transformersResultsAreReproduced(name: String) throws {
        try TransformersResults(fixture: "tiny-decoders/\(name)", tolerance: 1e-5).expectAgreement()
    }

    /// Half the digits, the same model; where a router has close scores another expert may come first.
    @Test(arguments: TinyDecoders.names) func resultsInBF16AreNear(name: String) throws {
        let path = fixture("tiny-decoders/\(name)")
        let tokens = (0..<20).map { Int32($0 * 37 % 400) }
        let logits = try [DType.f32, .bf16].map { dtype in
            let model = try ModelCheckpoint.open(path).makeModel(ComputeContext(dtype: dtype, threadCount: 1))
            let tape = Tape(model.context, isRecording: false)
            let hidden = try model.forward(tokens, TokenLayout(lengths: [20]), in: Pass(tape))
            return tape.logits(hidden, head: model.head!, rows: tokens.indices.map(Int32.init)).toArray()
        }
        let squares = { (values: [Float]) in values.reduce(0.0) { $0 + Double($1) * Double($1) } }
        let error = (squares(zip(logits[0], logits[1]).map { $0 - $1 }) / squares(logits[0])).squareRoot()
        let isMixture = ["mixtral", "qwen3_moe", "gpt_oss"].contains(name)
        #expect(error < (isMixture ? 0.3 : 0.05), "\(name): \(error)")
    }

    @Test func everyFixtureIsInTheTable() throws {
        #expect(try readDirectory(fixture("tiny-decoders")).sorted() == TinyDecoders.names.sorted())
    }

    /// A pass over all tokens and one token at a time through a cache are the same, also beyond windows, and a window's
    /// layer has no room for more than it needs.
    @Test func cacheOfAWindowKeepsWhatItSees() throws {
        let model = try ModelCheckpoint.open(fixture("tiny-decoders/mistral"))
            .makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        let tokens = (0..<120).map { Int32($0 * 37 % 400) }
        let tape = Tape(model.context, isRecording: false)
        let whole = try model.forward(tokens, TokenLayout(lengths: [tokens.count]), in: Pass(tape)).value.toArray()
        let cache = model.makeCache(capacity: tokens.count)
        var parts: [Float] = []
        for part in [tokens[..<90], tokens[90..<93]] + (93..<120).map({ tokens[$0..<$0 + 1] }) {
            let hidden = try model.forward(
                Array(part), TokenLayout(lengths: [part.count]), in: Pass(tape), cache: cache)
            parts += hidden.value.toArray()
        }
        let largest = whole.reduce(0) { max($0, abs($1)) }
        let worst = zip(whole, parts).reduce(0) { max($0, abs($1.0 - $1.1)) }
        #expect(parts.count == whole.count && worst <= 1e-5 * largest)
        #expect(cache.count == 120 && cache.rooms == [64, 64])
        cache.truncate(to: 0)
        let again = try model.forward(tokens, TokenLayout(lengths: [120]), in: Pass(tape), cache: cache)
        #expect(again.value.toArray() == whole)
    }
}

/// The fixtures of small decoders.
enum TinyDecoders {
    static let names = [
        "llama-yarn", "llama-dynamic", "llama-linear", "mistral", "ministral3", "smollm3", "granite", "olmo2", "olmo3",
        "phi3", "phi3-partial", "phi3-longrope", "glm4", "gemma2", "gemma3_text", "mixtral", "qwen3_moe",
        "gpt_oss", "qwen3_5_text",
    ]
}
