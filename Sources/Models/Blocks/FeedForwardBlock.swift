import Compute

/// down(f(gate x) * up x) (Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202).
struct FeedForwardBlock: LayerBlock {
    /// The projections of gate and up: two, or one whose rows are theirs one behind the other.
    private let inputs: [ProjectionSlot]
    private let down: ProjectionSlot
    private let activation: GateActivation

    var slots: [ProjectionSlot] { inputs + [down] }

    /// The feed-forward network of a layer whose projections have Llama's names.
    ///
    /// - Parameter fused: the module that projects gate and up together, where there is one.
    init(_ weights: LayerWeights, _ activation: GateActivation = .silu, fused: ModulePart? = nil) throws {
        inputs = try (fused.map { [$0] } ?? [.gate, .up]).map { try weights.projection($0) }
        down = try weights.projection(.down)
        self.activation = activation
    }

    func forward(_ x: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        let parts: [Variable]
        if inputs.count == 1 {
            let both = inputs[0].forward(x, in: pass)
            parts = both.split([both.value.columns / 2, both.value.columns / 2])
        } else {
            parts = pass.tape.context.products.reading(x.value) { inputs.map { $0.forward(x, in: pass) } }
        }
        return down.forward(pass.tape.gatedProduct(activation, gate: parts[0], up: parts[1]), in: pass)
    }
}
