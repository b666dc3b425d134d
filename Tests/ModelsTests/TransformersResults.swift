import CheckpointIO
import Compute
import Models
import TensorCore
import TestSupport
import Testing

/// What transformers made of a fixture's prompts in float32, which `make_tiny_qwen.py` wrote beside its model.
struct TransformersResults {
    private struct Prompt {
        let ids: [Int32]
        let greedy: [Int32]
    }

    private let path: String
    private let prompts: [Prompt]
    private let tensors: SafetensorsFile
    /// Of the largest logit.
    private let tolerance: Float

    /// - Parameter tolerance: of the largest logit; by default for two layers in float32, here and there.
    init(fixture name: String, tolerance: Float = 2e-5) throws {
        self.tolerance = tolerance
        path = fixture(name)
        tensors = try SafetensorsFile.open(path + "/reference.safetensors")
        let json = try JSONValue.parse(try readSmallFile(path + "/reference.json", limit: 1 << 20))
        prompts = try #require(json["prompts"]?.arrayValue).map { prompt in
            func ids(_ key: String) throws -> [Int32] {
                try #require(prompt[key]?.arrayValue).map { Int32(try #require($0.intValue)) }
            }
            return Prompt(ids: try ids("ids"), greedy: try ids("greedy"))
        }
    }

    /// Compares the logits of every prompt, and the greedy tokens behind it, computed with a cache.
    func expectAgreement(ofModelAt modelPath: String? = nil) throws {
        let model = try ModelCheckpoint.open(modelPath ?? path).makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        #expect(prompts.count > 1)
        for (index, prompt) in prompts.enumerated() {
            let expected = try tensors.floats(of: tensors.requiredRecord("logits.\(index)"))
            let found = try logits(model, prompt.ids, prompt.ids.indices.map(Int32.init))
            try #require(found.count == expected.count)
            let largest = expected.reduce(0) { max($0, abs($1)) }
            let isNear = zip(found, expected).allSatisfy { abs($0 - $1) <= tolerance * largest }
            let worst = zip(found, expected).reduce(0) { max($0, abs($1.0 - $1.1)) }
            #expect(isNear, "logits of prompt \(index) are off by \(worst / largest) of the largest")
            let greedy = try greedyTokens(model, prompt.ids, count: prompt.greedy.count)
            #expect(greedy == prompt.greedy, "greedy tokens of prompt \(index)")
        }
    }

    private func logits(
        _ model: any Model, _ tokens: [Int32], _ rows: [Int32], _ cache: KeyValueCache? = nil
    ) throws -> [Float] {
        let tape = Tape(model.context, isRecording: false)
        let hidden = try model.forward(tokens, TokenLayout(lengths: [tokens.count]), in: Pass(tape), cache: cache)
        return tape.logits(hidden, head: model.head!, rows: rows).toArray()
    }

    private func greedyTokens(_ model: any Model, _ prompt: [Int32], count: Int) throws -> [Int32] {
        let cache = model.makeCache(capacity: prompt.count + count)
        var (pending, found) = (prompt, [Int32]())
        while found.count < count {
            let last = try logits(model, pending, [Int32(pending.count - 1)], cache)
            let best = try #require(last.indices.max { last[$0] < last[$1] })
            found.append(Int32(best))
            pending = [Int32(best)]
        }
        return found
    }
}
