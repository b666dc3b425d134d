import Compute
import TensorCore

/// Keys (rotated) and values of the tokens so far, for generation: one pair of tensors a layer.
package final class KeyValueCache {
    /// Tokens that fit.
    package let capacity: Int
    /// Tokens held.
    package private(set) var count = 0
    private let layers: [(keys: Tensor, values: Tensor)]

    /// Room for `capacity` tokens of a model with `layerCount` layers whose keys and values are `width` wide.
    package init(capacity: Int, layerCount: Int, width: Int, _ context: ComputeContext) {
        self.capacity = capacity
        layers = (0..<layerCount).map { _ in
            (context.tensor([capacity, width]), context.tensor([capacity, width]))
        }
    }

    /// Copies the new tokens' keys and values of one layer behind those held, and gives the whole.
    func append(layer: Int, keys: Tensor, values: Tensor) -> (keys: Tensor, values: Tensor) {
        precondition(count + keys.rows <= capacity, "the cache is full")
        let held = layers[layer]
        let bytes = keys.rowByteCount
        (held.keys.address + count * bytes).copyMemory(from: keys.address, byteCount: keys.rows * bytes)
        (held.values.address + count * bytes).copyMemory(from: values.address, byteCount: values.rows * bytes)
        return held
    }

    /// Counts `tokens` more as held, once every layer has appended them.
    func advance(_ tokens: Int) {
        count += tokens
    }

    /// Forgets all tokens but the first `count`.
    package func truncate(to count: Int) {
        precondition((0...self.count).contains(count))
        self.count = count
    }
}
