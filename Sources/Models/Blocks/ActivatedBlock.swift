import Compute

/// outer(f(inner x)), the feed-forward network of most encoders; or outer(f(a) * b) where the inner projection's rows are
/// those of a, then those of b.
struct ActivatedBlock: LayerBlock {
    /// The projection into the network's width, or twice that.
    let inner: ProjectionSlot
    /// The projection back.
    let outer: ProjectionSlot
    /// f.
    let activation: HiddenActivation
    /// Whether the inner projection has two halves.
    var isGated = false
    /// Dropout before the outer projection.
    var dropout: HiddenDropout?

    var slots: [ProjectionSlot] { [inner, outer] }

    func forward(_ x: Variable, _ input: LayerInput, in pass: Pass) -> Variable {
        let tape = pass.tape
        let wide = inner.forward(x, in: pass)
        var activated: Variable
        if isGated {
            let width = wide.value.columns / 2
            let parts = wide.split([width, width])
            activated = tape.activated(parts[0], activation, times: parts[1])
        } else {
            activated = tape.activated(wide, activation)
        }
        if let dropout { activated = dropout.forward(activated, in: pass) }
        return outer.forward(activated, in: pass)
    }
}
