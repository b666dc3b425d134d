import Compute
import TensorCore

/// M(x) of one batch where it has no narrower form than the layer's own width, [tokens, outputSize]. Holds it until it
/// has been applied.
final class WholeUpdate {
    private var value: Tensor?
    private let context: ComputeContext

    /// The update `value`.
    init(_ value: Tensor, _ context: ComputeContext) {
        self.value = value
        self.context = context
    }

    /// |M(x_i)| of each token, [tokens] F32.
    func norms() -> Tensor {
        guard let value else { preconditionFailure("norms come before the update is applied") }
        return context.rowNorms(value)
    }

    /// output_i += M(x_i) for the active tokens; comes once.
    func apply(to output: Tensor, _ active: ActiveTokens) {
        guard let value else { preconditionFailure("an update is applied once") }
        switch active {
        case .all: context.addRows(value, to: output)
        case .rows(let rows): context.scatterAddRows(context.gatherRows(value, rows), rows, to: output)
        }
        self.value = nil
    }
}
