import Compute
import TensorCore

/// What a run minimises: the mean of a loss over what is scored of its batches.
package protocol Objective: Sendable {
    /// The losses of what `labels` names, from the model's forward pass over the tokens. On a recording tape the
    /// backward pass begins with the gradient of `scale` times their sum.
    func losses(
        _ tokens: [Int32], _ layout: TokenLayout, _ labels: Labels, _ model: any Model, in pass: Pass, scale: Float
    ) throws -> RowLosses
}

extension Objective {
    /// The losses with a scale of 1.
    package func losses(
        _ tokens: [Int32], _ layout: TokenLayout, _ labels: Labels, _ model: any Model, in pass: Pass
    ) throws -> RowLosses {
        try losses(tokens, layout, labels, model, in: pass, scale: 1)
    }
}
