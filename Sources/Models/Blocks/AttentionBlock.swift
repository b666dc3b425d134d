import Compute
import TensorCore

/// Causal self-attention with rotary position embedding: o(softmax(rotated q (rotated k)' / sqrt(headSize)) v), q and k
/// with a norm of each head before where the model has one.
struct AttentionBlock: LayerBlock {
    private let query: ProjectionSlot
    private let key: ProjectionSlot
    private let value: ProjectionSlot
    private let output: ProjectionSlot
    private let shape: AttentionShape
    private let rotary: RotaryTable
    private let headNorms: (query: RMSNorm, key: RMSNorm)?

    var slots: [ProjectionSlot] { [query, key, value, output] }

    /// The attention of a layer whose projections have Llama's names.
    ///
    /// - Parameter headNorms: norms of each head of q and k [headSize], before they are rotated.
    init(
        _ weights: LayerWeights, _ configuration: ModelConfiguration, rotary: RotaryTable,
        headNorms: (query: RMSNorm, key: RMSNorm)? = nil
    ) throws {
        query = try weights.projection(.query)
        key = try weights.projection(.key)
        value = try weights.projection(.value)
        output = try weights.projection(.output)
        shape = AttentionShape(
            headCount: configuration.headCount, keyValueHeadCount: configuration.keyValueHeadCount,
            headSize: configuration.headSize)
        self.rotary = rotary
        self.headNorms = headNorms
    }

    func forward(_ x: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        let tape = pass.tape
        var (queries, keys, values) = tape.context.products.reading(x.value) {
            (query.forward(x, in: pass), key.forward(x, in: pass), value.forward(x, in: pass))
        }
        if let headNorms {
            queries = headNorms.query.forward(heads: queries, on: tape)
            keys = headNorms.key.forward(heads: keys, on: tape)
        }
        let positions = input.layout.positions
        queries = tape.rotated(queries, rotary, positions: positions, headSize: shape.headSize)
        keys = tape.rotated(keys, rotary, positions: positions, headSize: shape.headSize)
        if let cache = input.cache, !cache.beside.isEmpty {
            let mixed = attention(queries, keys, values, over: [cache] + cache.beside, input, on: tape)
            return output.forward(mixed, in: pass)
        }
        if let cache = input.cache {
            let held = cache.append(layer: input.layer, keys: keys.value, values: values.value)
            keys = Variable(held.keys, needsGradient: false)
            values = Variable(held.values, needsGradient: false)
        }
        let mixed = tape.attention(q: queries, k: keys, v: values, shape, input.layout)
        return output.forward(mixed, in: pass)
    }

    /// Attention of several runs of equal length, each of which continues a cache of its own.
    private func attention(
        _ queries: Variable, _ keys: Variable, _ values: Variable, over caches: [KeyValueCache], _ input: LayerInput,
        on tape: Tape
    ) -> Variable {
        let each = queries.value.rows / caches.count
        let mixed = tape.context.tensor(queries.value.shape, queries.value.dtype)
        for (number, cache) in caches.enumerated() {
            let rows = number * each..<(number + 1) * each
            let held = cache.append(
                layer: input.layer, keys: keys.value.rows(rows), values: values.value.rows(rows))
            let part = tape.attention(
                q: Variable(queries.value.rows(rows), needsGradient: false),
                k: Variable(held.keys, needsGradient: false), v: Variable(held.values, needsGradient: false), shape,
                input.layout)
            tape.context.copy(part.value, into: mixed.rows(rows))
        }
        return Variable(mixed, needsGradient: false)
    }
}
