import Compute

/// A linear layer as a model calls it. A model never asks whether an adapter is there; injection swaps a plain
/// projection for an adapted one.
package protocol Projection: AnyObject {
    /// The module's path in the Hugging Face layout, such as `model.layers.0.self_attn.q_proj`.
    var path: String { get }

    /// The frozen weight inside.
    var frozen: FrozenLinear { get }

    /// The layer's output [tokens, outputSize] for x [tokens, inputSize].
    func forward(_ x: Variable, in pass: Pass) -> Variable
}

/// A projection as the checkpoint has it: W x + b.
package final class PlainProjection: Projection {
    package let path: String
    package let frozen: FrozenLinear

    /// The projection of a frozen layer.
    package init(path: String, frozen: FrozenLinear) {
        self.path = path
        self.frozen = frozen
    }

    package func forward(_ x: Variable, in pass: Pass) -> Variable {
        pass.tape.linear(x, frozen)
    }
}
