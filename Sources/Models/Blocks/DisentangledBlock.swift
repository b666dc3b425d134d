import Compute

/// DeBERTa's attention: scores of queries and keys, of queries and relative keys, of keys and relative queries, each divided
/// by the root of the head's width times the kinds of scores. Relative positions go through the projections of queries and
/// keys as rows that are no tokens.
struct DisentangledBlock: LayerBlock {
    let query: ProjectionSlot
    let key: ProjectionSlot
    let value: ProjectionSlot
    let output: ProjectionSlot
    let shape: AttentionShape
    /// Whether queries meet relative keys.
    let usesKeys: Bool
    /// Whether keys meet relative queries.
    let usesQueries: Bool
    /// Dropout of the probabilities.
    var dropout: HiddenDropout?
    /// Dropout of the relative embeddings.
    var relativeDropout: HiddenDropout?

    var slots: [ProjectionSlot] { [query, key, value, output] }

    func forward(_ x: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        let tape = pass.tape
        let parts = tape.context.products.reading(x.value) { [query, key, value].map { $0.forward(x, in: pass) } }
        let kinds = 1 + (usesKeys ? 1 : 0) + (usesQueries ? 1 : 0)
        var scoring = AttentionScoring(.everything, scale: 1 / Float(shape.headSize * kinds).squareRoot())
        scoring.dropout = dropout?.ofProbabilities(in: pass)
        let mixed: Variable
        if let relative = input.relative {
            let rows = dropped(relative, in: pass)
            let positions = RelativeProjections(
                keys: usesKeys ? key.forward(rows, in: pass.auxiliary) : nil,
                queries: usesQueries ? query.forward(rows, in: pass.auxiliary) : nil, relative.rows)
            mixed = tape.disentangledAttention(
                q: parts[0], k: parts[1], v: parts[2], positions, shape, input.layout, scoring: scoring)
        } else {
            mixed = tape.attention(
                q: parts[0], k: parts[1], v: parts[2], shape, input.layout, scoring: scoring)
        }
        return output.forward(mixed, in: pass)
    }

    /// The relative embeddings, dropped where the pass drops, each row by its place in the whole table.
    private func dropped(_ relative: RelativeEmbedding.Input, in pass: Pass) -> Variable {
        guard let relativeDropout, let key = relativeDropout.key(in: pass) else { return relative.embeddings }
        let (context, value) = (pass.tape.context, relative.embeddings.value)
        let rows = context.tensor(value.shape, value.dtype)
        context.dropoutRows(value, relative.tableRows, into: rows, key: key, rate: relativeDropout.rate)
        return Variable(rows, needsGradient: false)
    }
}
