import Compute
import TensorCore

/// -log p(the token that follows) of each scored row, over the vocabulary of the model's output head.
package struct NextToken: Objective {
    /// The objective of a language model.
    package init() {}

    package func losses(
        _ tokens: [Int32], _ layout: TokenLayout, _ labels: Labels, _ model: any Model, in pass: Pass, scale: Float
    ) throws -> RowLosses {
        guard case .ids(let targets) = labels.values, let head = model.head else {
            preconditionFailure("tokens that follow, and a language model")
        }
        return pass.tape.crossEntropy(
            try model.forward(tokens, layout, in: pass), head: head, rows: labels.rows, targets: targets, scale: scale,
            training: model.trainedHead)
    }
}
