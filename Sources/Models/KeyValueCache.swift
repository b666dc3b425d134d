import Compute
import TensorCore

/// Keys (rotated) and values of the tokens so far, for generation: one pair of tensors a layer.
package final class KeyValueCache {
    /// Tokens that fit.
    package private(set) var capacity: Int
    /// Texts of the same length that continue beside this one in a pass: the other beams of a search. They have none
    /// beside them.
    package var beside: [KeyValueCache] = []
    /// Tokens held.
    package private(set) var count = 0
    private var layers: [(keys: Tensor, values: Tensor)]
    private let context: ComputeContext
    /// Tokens of the first room that is taken.
    private static let firstRoom = 64

    /// Room for `capacity` tokens of a model with `layerCount` layers whose keys and values are `width` wide.
    package init(capacity: Int, layerCount: Int, width: Int, _ context: ComputeContext) {
        self.capacity = capacity
        self.context = context
        let room = min(capacity, Self.firstRoom)
        layers = (0..<layerCount).map { _ in
            (context.tensor([room, width]), context.tensor([room, width]))
        }
    }

    /// Makes room for `rows` tokens in a layer: twice as much as there is, or more, so that memory follows what is
    /// generated and not what may be.
    private func reserve(_ rows: Int, layer: Int) {
        let held = layers[layer]
        guard rows > held.keys.rows else { return }
        let room = min(capacity, max(rows, 2 * held.keys.rows))
        let bytes = count * held.keys.rowByteCount
        let grown = [held.keys, held.values].map { old in
            let new = context.tensor([room, old.columns])
            new.address.copyMemory(from: old.address, byteCount: bytes)
            return new
        }
        layers[layer] = (grown[0], grown[1])
    }

    /// Copies the new tokens' keys and values of one layer behind those held, and gives the whole.
    func append(layer: Int, keys: Tensor, values: Tensor) -> (keys: Tensor, values: Tensor) {
        precondition(count + keys.rows <= capacity, "the cache is full")
        reserve(count + keys.rows, layer: layer)
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

    /// A cache of its own that holds the same tokens.
    package func copy() -> KeyValueCache {
        let width = layers.first?.keys.columns ?? 0
        let copy = KeyValueCache(capacity: capacity, layerCount: layers.count, width: width, context)
        for (layer, held) in layers.enumerated() {
            copy.reserve(count, layer: layer)
            let (target, bytes) = (copy.layers[layer], count * held.keys.rowByteCount)
            target.keys.address.copyMemory(from: held.keys.address, byteCount: bytes)
            target.values.address.copyMemory(from: held.values.address, byteCount: bytes)
        }
        copy.count = count
        return copy
    }

    /// Lets `capacity` tokens fit, if it is more than now. Takes no memory yet.
    package func allow(_ capacity: Int) {
        self.capacity = max(capacity, self.capacity)
    }

    /// Whether it still has what is needed to go on behind the first `count` tokens.
    package func canTruncate(to count: Int) -> Bool { count <= self.count }

    /// Forgets all tokens but the first `count`.
    package func truncate(to count: Int) {
        precondition((0...self.count).contains(count))
        self.count = count
    }
}
