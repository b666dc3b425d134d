import Compute
import TensorCore

/// What a run minimises: the mean of a loss over the scored rows of its batches, on top of a model's hidden states.
package protocol Objective: Sendable {
    /// The losses of the rows that `labels` names, from the model's final hidden states `hidden` [rows, hiddenSize]. On
    /// a recording tape the backward pass begins with the gradient of `scale` times their sum.
    func losses(
        _ hidden: Variable, _ labels: Labels, _ model: any Model, in pass: Pass, scale: Float
    ) -> RowLosses
}

extension Objective {
    /// The losses of one batch: the model's forward pass, and the losses on top.
    package func losses(
        _ tokens: [Int32], _ layout: TokenLayout, _ labels: Labels, _ model: any Model, in pass: Pass,
        scale: Float = 1
    ) throws -> RowLosses {
        losses(try model.forward(tokens, layout, in: pass), labels, model, in: pass, scale: scale)
    }
}
