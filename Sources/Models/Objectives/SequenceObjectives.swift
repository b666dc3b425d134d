import Compute
import TensorCore

/// -log p(class) of each scored sequence, over the classes of the model's head.
package struct SequenceClasses: Objective {
    /// The objective of a model that classifies.
    package init() {}

    package func losses(
        _ tokens: [Int32], _ layout: TokenLayout, _ labels: Labels, _ model: any Model, in pass: Pass, scale: Float
    ) throws -> RowLosses {
        guard case .ids(let targets) = labels.values else { preconditionFailure("classes") }
        let scores = try model.scores(tokens, layout, in: pass)
        return pass.tape.crossEntropy(of: scores.taking(labels.rows, pass.tape), targets: targets, scale: scale)
    }
}

/// The squared error of the number that the model's head gives for each scored sequence.
package struct SequenceValues: Objective {
    /// The objective of a model that estimates a number.
    package init() {}

    package func losses(
        _ tokens: [Int32], _ layout: TokenLayout, _ labels: Labels, _ model: any Model, in pass: Pass, scale: Float
    ) throws -> RowLosses {
        guard case .numbers(let targets) = labels.values else { preconditionFailure("numbers") }
        let scores = try model.scores(tokens, layout, in: pass)
        return pass.tape.squaredErrors(of: scores.taking(labels.rows, pass.tape), targets: targets, scale: scale)
    }
}

extension Variable {
    /// The rows that are scored: itself where all are, in their order.
    fileprivate func taking(_ rows: [Int32], _ tape: Tape) -> Variable {
        rows.elementsEqual(0..<Int32(value.rows)) ? self : tape.rows(of: self, rows)
    }
}
