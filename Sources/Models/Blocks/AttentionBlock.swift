import Compute
import TensorCore

/// What sets one model's attention apart from another's, besides sizes and weights.
struct AttentionForm {
    /// The rotation of queries and keys; nil for a layer that has none.
    var rotary: RotaryTable?
    /// The rotation of queries where it is another than that of keys.
    var queryRotary: RotaryTable?
    /// Norms of q and k before they are rotated: of each head, or of all heads together, as wide as their weights.
    var norms: (query: RMSNorm, key: RMSNorm)?
    /// Whether the projection of queries has, in each head behind the queries, as many numbers whose sigmoids the output
    /// is multiplied by.
    var hasOutputGate = false
    /// Which keys are seen, and how they are scored.
    var scoring = AttentionScoring()
    /// Dropout of the probabilities behind the softmax.
    var dropout: HiddenDropout?

    /// The window of the layer; nil where it sees all tokens before.
    var window: Int? { if case .window(let size) = scoring.visibility { size } else { nil } }
}

/// The modules that an attention layer projects with.
struct AttentionParts {
    /// The projections of queries, keys and values: three, or one whose rows are theirs one behind the other.
    var inputs: [ModulePart] = [.query, .key, .value]
    /// The projection of what heads give.
    var output = ModulePart.output
}

/// Self-attention with rotary position embedding: o(softmax(rotated q (rotated k)' scale) v), as its form says.
struct AttentionBlock: LayerBlock {
    /// The projections of queries, keys and values: three, or one whose rows are theirs one behind the other.
    private let inputs: [ProjectionSlot]
    private let output: ProjectionSlot
    private let shape: AttentionShape
    private let form: AttentionForm

    var slots: [ProjectionSlot] { inputs + [output] }
    var window: Int? { form.window }

    /// The attention of a layer whose projections have Llama's names unless `parts` says otherwise.
    ///
    /// - Parameter fused: the module that projects queries, keys and values together, where there is one.
    init(
        _ weights: LayerWeights, _ configuration: ModelConfiguration, _ form: AttentionForm, fused: ModulePart? = nil,
        parts: AttentionParts = AttentionParts()
    ) throws {
        self.init(
            inputs: try (fused.map { [$0] } ?? parts.inputs).map { try weights.projection($0) },
            output: try weights.projection(parts.output),
            AttentionShape(
                headCount: configuration.headCount, keyValueHeadCount: configuration.keyValueHeadCount,
                headSize: configuration.headSize),
            form)
    }

    /// Attention of these projections.
    init(inputs: [ProjectionSlot], output: ProjectionSlot, _ shape: AttentionShape, _ form: AttentionForm) {
        self.inputs = inputs
        self.output = output
        self.shape = shape
        self.form = form
    }

    func forward(_ x: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        let tape = pass.tape
        var (queries, keys, values) = project(x, in: pass)
        var gate: Variable?
        if form.hasOutputGate {
            let heads = queries.reshaped([x.value.rows * shape.headCount, 2 * shape.headSize])
            (queries, gate) = (heads.columns(0..<shape.headSize), heads.columns(shape.headSize..<2 * shape.headSize))
        }
        if let norms = form.norms {
            // Of a view of heads, each row is one already.
            queries =
                gate == nil
                ? norms.query.forward(heads: queries, on: tape)
                : norms.query.forward(queries, on: tape).reshaped([x.value.rows, shape.headCount * shape.headSize])
            keys = norms.key.forward(heads: keys, on: tape)
        }
        if let rotary = form.rotary {
            let positions = input.layout.positions
            queries = tape.rotated(
                queries, form.queryRotary ?? rotary, positions: positions, headSize: shape.headSize)
            keys = tape.rotated(keys, rotary, positions: positions, headSize: shape.headSize)
        }
        var scoring = form.scoring
        scoring.dropout = form.dropout?.ofProbabilities(in: pass)
        var mixed =
            input.cache.map { attention(queries, keys, values, over: [$0] + $0.beside, input, on: tape) }
            ?? tape.attention(q: queries, k: keys, v: values, shape, input.layout, scoring: scoring)
        if let gate {
            let heads = mixed.reshaped(gate.value.shape)
            mixed = tape.gatedProduct(.sigmoid, gate: gate, up: heads).reshaped(mixed.value.shape)
        }
        return output.forward(mixed, in: pass)
    }

    /// Attention of runs of equal length, each of which continues a cache of its own.
    private func attention(
        _ queries: Variable, _ keys: Variable, _ values: Variable, over caches: [KeyValueCache], _ input: LayerInput,
        on tape: Tape
    ) -> Variable {
        let each = queries.value.rows / caches.count
        let parts = caches.enumerated().map { number, cache in
            let rows = number * each..<(number + 1) * each
            let held = cache.append(
                layer: input.layer, keys: keys.value.rows(rows), values: values.value.rows(rows))
            let layout = TokenLayout(
                positions: Array(input.layout.positions[rows]), segments: [held.segment])
            return tape.attention(
                q: Variable(queries.value.rows(rows), needsGradient: false),
                k: Variable(held.keys, needsGradient: false), v: Variable(held.values, needsGradient: false), shape,
                layout, scoring: form.scoring)
        }
        if parts.count == 1 { return parts[0] }
        let mixed = tape.context.tensor(queries.value.shape, queries.value.dtype)
        for (number, part) in parts.enumerated() {
            tape.context.copy(part.value, into: mixed.rows(number * each..<(number + 1) * each))
        }
        return Variable(mixed, needsGradient: false)
    }

    private func project(_ x: Variable, in pass: Pass) -> (queries: Variable, keys: Variable, values: Variable) {
        let parts: [Variable]
        if inputs.count == 1 {
            let width = shape.keyValueHeadCount * shape.headSize
            parts = inputs[0].forward(x, in: pass).split([shape.headCount * shape.headSize, width, width])
        } else {
            parts = pass.tape.context.products.reading(x.value) { inputs.map { $0.forward(x, in: pass) } }
        }
        return (parts[0], parts[1], parts[2])
    }
}
