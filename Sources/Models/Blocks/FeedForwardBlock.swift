import Compute

/// down(silu(gate x) * up x) (Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202).
struct FeedForwardBlock: LayerBlock {
    private let gate: ProjectionSlot
    private let up: ProjectionSlot
    private let down: ProjectionSlot

    var slots: [ProjectionSlot] { [gate, up, down] }

    /// The feed-forward network of a layer whose projections have Llama's names.
    init(_ weights: LayerWeights) throws {
        gate = try weights.projection(.gate)
        up = try weights.projection(.up)
        down = try weights.projection(.down)
    }

    func forward(_ x: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        let (gated, raised) = pass.tape.context.products.reading(x.value) {
            (gate.forward(x, in: pass), up.forward(x, in: pass))
        }
        return down.forward(pass.tape.siluProduct(gate: gated, up: raised), in: pass)
    }
}
