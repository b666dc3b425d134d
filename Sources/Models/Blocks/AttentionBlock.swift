import Compute
import TensorCore

/// Causal self-attention with rotary position embedding: o(softmax(rotated q (rotated k)' / sqrt(headSize)) v).
struct AttentionBlock: LayerBlock {
    private let query: ProjectionSlot
    private let key: ProjectionSlot
    private let value: ProjectionSlot
    private let output: ProjectionSlot
    private let shape: AttentionShape
    private let rotary: RotaryTable

    var slots: [ProjectionSlot] { [query, key, value, output] }

    /// The attention of a layer whose projections have Llama's names.
    init(_ weights: LayerWeights, _ configuration: ModelConfiguration, rotary: RotaryTable) throws {
        query = try weights.projection(.query)
        key = try weights.projection(.key)
        value = try weights.projection(.value)
        output = try weights.projection(.output)
        shape = AttentionShape(
            headCount: configuration.headCount, keyValueHeadCount: configuration.keyValueHeadCount,
            headSize: configuration.headSize)
        self.rotary = rotary
    }

    func forward(_ x: Variable, _ input: LayerInput, on tape: Tape) -> Variable {
        func rotated(_ x: Variable) -> Variable {
            tape.rotated(x, rotary, positions: input.layout.positions, headSize: shape.headSize)
        }
        let queries = rotated(query.forward(x, on: tape))
        var keys = rotated(key.forward(x, on: tape))
        var values = value.forward(x, on: tape)
        if let cache = input.cache {
            let held = cache.append(layer: input.layer, keys: keys.value, values: values.value)
            keys = Variable(held.keys, needsGradient: false)
            values = Variable(held.values, needsGradient: false)
        }
        let mixed = tape.attention(q: queries, k: keys, v: values, shape, input.layout)
        return output.forward(mixed, on: tape)
    }
}
