import Compute
import TensorCore

/// -log p(the token that follows) of each scored row, over the vocabulary of the model's output head.
package struct NextToken: Objective {
    /// The objective of a language model.
    package init() {}

    package func losses(
        _ hidden: Variable, _ labels: Labels, _ model: any Model, in pass: Pass, scale: Float
    ) -> RowLosses {
        let targets =
            switch labels.values {
            case .ids(let ids): ids
            }
        return pass.tape.crossEntropy(
            hidden, head: model.head, rows: labels.rows, targets: targets, scale: scale, training: model.trainedHead)
    }
}
