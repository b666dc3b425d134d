import CheckpointIO
import Compute
import Foundation
import Models
import TensorCore
import TestSupport
import Testing

/// Llama's forward pass.
@Suite struct LlamaModelTests {
    private static func context() -> ComputeContext { ComputeContext(dtype: .f32, threadCount: 2) }
    private static let tokens: [Int32] = [3, 9, 0, 1, 7, 7, 2, 5, 8, 4, 6]
    /// F32 against double precision through two layers, as a part of the largest logit.
    private static let referenceTolerance = 1e-5

    /// What a checkpoint may or may not have.
    struct Variant: CustomTestStringConvertible {
        var testDescription: String
        var biases: [String] = []
        var isTied = false
        var rotary: JSONObject?
        /// The frequencies of a head of four elements, where they are not 1 and 1/100.
        var inverseFrequencies: [Double] = [1, 0.01]

        static let all = [
            Variant(testDescription: "plain"),
            Variant(testDescription: "tied", isTied: true),
            Variant(
                testDescription: "biases",
                biases: [
                    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                    "mlp.up_proj", "mlp.down_proj",
                ]),
            Variant(
                testDescription: "linear scaling",
                rotary: ["rope_type": .string("linear"), "factor": .integer(4)], inverseFrequencies: [0.25, 0.0025]),
            // Wavelengths 2 pi and 200 pi: the first is shorter than 64 / 4 and stays; the second is longer than 64 / 1
            // and is divided by the factor.
            Variant(
                testDescription: "llama3 scaling",
                rotary: [
                    "rope_type": .string("llama3"), "factor": .integer(8), "low_freq_factor": .integer(1),
                    "high_freq_factor": .integer(4), "original_max_position_embeddings": .integer(64),
                ], inverseFrequencies: [1, 0.00125]),
        ]

        /// A checkpoint of small random numbers.
        var model: SmallModel {
            var model = SmallModel()
            for layer in 0..<2 {
                for bias in biases {
                    let name = "model.layers.\(layer).\(bias)"
                    model.add(name + ".bias", [model.tensors.first { $0.name == name + ".weight" }!.shape[0]])
                }
            }
            if isTied { model.remove("lm_head.weight") }
            model.configuration["tie_word_embeddings"] = .bool(isTied)
            model.configuration["attention_bias"] = .bool(!biases.isEmpty)
            model.configuration["mlp_bias"] = .bool(!biases.isEmpty)
            if let rotary { model.configuration["rope_scaling"] = .object(rotary) }
            for index in model.tensors.indices {
                model.tensors[index].values = randomValues(
                    model.tensors[index].values.count, seed: UInt64(index + 1), in: -0.7...0.7)
            }
            return model
        }
    }

    private func logits(_ model: any Model, _ tokens: [Int32], _ cache: KeyValueCache? = nil) throws -> [Float] {
        let tape = Tape(model.context, isRecording: false)
        let hidden = try model.forward(tokens, TokenLayout(lengths: [tokens.count]), in: Pass(tape), cache: cache)
        return tape.logits(hidden, head: model.head!, rows: tokens.indices.map(Int32.init)).toArray()
    }

    @Test(arguments: Variant.all) func logitsAreThoseOfTheDefinition(_ variant: Variant) throws {
        let small = variant.model
        let reference = ReferenceLlama(
            hiddenSize: 8, layerCount: 2, headCount: 4, keyValueHeadCount: 2, headSize: 4, epsilon: 1e-5,
            inverseFrequencies: variant.inverseFrequencies,
            tensors: Dictionary(uniqueKeysWithValues: small.tensors.map { ($0.name, $0.values.map(Double.init)) }))
        let expected = reference.logits(Self.tokens.map(Int.init)).flatMap { $0 }
        let found = try withTemporaryFolder { folder in
            try small.write(to: folder)
            return try logits(ModelCheckpoint.open(folder).makeModel(Self.context()), Self.tokens)
        }
        #expect(found.count == expected.count)
        let largest = expected.reduce(0) { max($0, abs($1)) }
        let worst = zip(found, expected).reduce(0) { max($0, abs(Double($1.0) - $1.1)) }
        #expect(worst < Self.referenceTolerance * largest)
    }

    @Test func ggufGivesTheLogitsOfSafetensors() throws {
        let tokens = (0..<30).map { Int32($0 * 67 % 2048) }
        let paths = [fixture("tiny-llama"), fixture("tiny-llama-gguf/tiny-llama-bf16.gguf")]
        let both = try paths.map { try logits(ModelCheckpoint.open($0).makeModel(Self.context()), tokens) }
        #expect(both[0] == both[1])
        #expect(both[0].contains { $0 != 0 } && both[0].allSatisfy(\.isFinite))
    }

    @Test(arguments: [DType.f32, .bf16]) func cacheGivesTheLogitsOfTheWholeSequence(dtype: DType) throws {
        let context = ComputeContext(dtype: dtype, threadCount: 2)
        let model = try ModelCheckpoint.open(fixture("golden/llama-lora/model")).makeModel(context)
        let tokens = (0..<24).map { Int32($0 * 37 % 160) }
        let whole = try logits(model, tokens)
        // A prompt, then one token at a time, then a longer run.
        let cache = model.makeCache(capacity: 24)
        var found: [Float] = []
        for run in [0..<5, 5..<6, 6..<7, 7..<24] { found += try logits(model, Array(tokens[run]), cache) }
        #expect(cache.count == 24)
        let largest = whole.reduce(0) { max($0, abs($1)) }
        let worst = zip(found, whole).reduce(0) { max($0, abs($1.0 - $1.1)) }
        // Sums in another order; in BF16 a value may so be rounded the other way, by 2^-8 of it.
        #expect(found.count == whole.count && worst <= largest * (dtype == .f32 ? 1e-5 : 0.02))
    }

    @Test func truncatedCacheForgets() throws {
        let model = try ModelCheckpoint.open(fixture("golden/llama-lora/model")).makeModel(Self.context())
        let cache = model.makeCache(capacity: 8)
        let first = try logits(model, [1, 2, 3], cache)
        _ = try logits(model, [50, 60, 70], cache)
        cache.truncate(to: 3)
        let again = try logits(model, [4], cache)
        let fresh = model.makeCache(capacity: 8)
        #expect(try logits(model, [1, 2, 3], fresh) == first)
        #expect(try logits(model, [4], fresh) == again)
    }

    @Test func projectionsComeInOrderAndCanBeReplaced() throws {
        final class Zero: Projection {
            let inner: any Projection
            init(_ inner: any Projection) { self.inner = inner }
            var path: String { inner.path }
            var frozen: FrozenLinear { inner.frozen }
            func forward(_ x: Variable, in pass: Pass) -> Variable {
                Variable(pass.tape.context.zeros([x.value.rows, frozen.outputSize]), needsGradient: false)
            }
        }
        let model = try ModelCheckpoint.open(fixture("golden/llama-lora/model")).makeModel(Self.context())
        #expect(model.projections.count == 21)
        #expect(model.projections[0].path == "model.layers.0.self_attn.q_proj")
        #expect(model.projections[20].path == "model.layers.2.mlp.down_proj")
        let before = try logits(model, [1, 2, 3])
        // Without the layers' contributions a token's logits depend on that token alone.
        model.replaceProjections { old in
            old.path.hasSuffix("o_proj") || old.path.hasSuffix("down_proj") ? Zero(old) : nil
        }
        let after = try logits(model, [1, 2, 3])
        #expect(before != after)
        // Up to rounding: a product of one row may add up in another order than one of three.
        let alone = try logits(model, [3])
        let largest = after.reduce(0) { max($0, abs($1)) }
        #expect(zip(alone, after[320...]).allSatisfy { abs($0 - $1) <= 1e-5 * largest })
    }

    /// A tokenizer may have tokens that the embedding has no row for.
    @Test(arguments: [320, 5000, -1]) func tokenBeyondTheEmbeddingIsAnError(token: Int32) throws {
        let checkpoint = try ModelCheckpoint.open(fixture("golden/llama-lora/model"))
        let model = try checkpoint.makeModel(Self.context())
        let rows = model.configuration.vocabularySize
        try #require(rows <= 320)
        let error = #expect(throws: ModelError.self) { try logits(model, [1, token, 3]) }
        #expect(error == .tokenBeyondEmbedding(file: checkpoint.checkpoint.path, token: Int(token), rows: rows))
        #expect(error?.exitStatus == .badData)
    }
}
