import Compute
import TensorCore

/// Keys (rotated) and values of the tokens so far, for generation: one pair of tensors a layer. A layer with a window
/// keeps what its next token sees.
package final class KeyValueCache {
    /// Tokens that fit.
    package private(set) var capacity: Int
    /// Texts of the same length that continue beside this one in a pass: the other beams of a search. They have none
    /// beside them.
    package var beside: [KeyValueCache] = []
    /// Tokens beyond which the model rotates keys otherwise; nil where it never does.
    var otherRotation: Int?
    /// Tokens held.
    package var count: Int { tokens.count }
    /// The tokens so far.
    private(set) var tokens: [Int32] = []
    /// The pictures whose tokens are among them.
    var images: [[Float]] = []
    /// How many these are.
    package var imageCount: Int { images.count }
    private var layers: [CachedLayer]
    /// What layers with a delta rule keep.
    private var states: [Int: DeltaState] = [:]
    private let context: ComputeContext

    /// Room for `capacity` tokens of a model with a layer for each of `windows` whose keys and values are `width` wide;
    /// a window is the number of tokens that a token of the layer sees, itself one of them, and nil all.
    package init(capacity: Int, windows: [Int?], width: Int, _ context: ComputeContext) {
        self.capacity = capacity
        self.context = context
        layers = windows.map { CachedLayer(window: $0, room: min(capacity, CachedLayer.leastRoom), width, context) }
    }

    /// Copies the new tokens' keys and values of one layer behind those held, and gives what attention reads.
    func append(
        layer: Int, keys: Tensor, values: Tensor
    ) -> (keys: Tensor, values: Tensor, segment: TokenLayout.Segment) {
        precondition(count + keys.rows <= capacity, "the cache is full")
        return layers[layer].append(keys: keys, values: values, most: capacity, context)
    }

    /// What a layer with a delta rule keeps of the tokens so far; `make` makes that of none.
    func state(layer: Int, _ make: () -> DeltaState) -> DeltaState {
        let state = states[layer] ?? make()
        states[layer] = state
        return state
    }

    /// Counts `tokens` more as held, once every layer has appended them.
    func advance(_ tokens: [Int32]) {
        self.tokens += tokens
    }

    /// A cache of its own that holds the same tokens.
    package func copy() -> KeyValueCache {
        let copy = KeyValueCache(capacity: capacity, windows: [], width: 0, context)
        copy.tokens = tokens
        copy.images = images
        copy.layers = layers.map { $0.copy(context) }
        copy.states = states.mapValues(\.copy)
        copy.otherRotation = otherRotation
        return copy
    }

    /// Lets `capacity` tokens fit, if it is more than now. Takes no memory yet.
    package func allow(_ capacity: Int) {
        self.capacity = max(capacity, self.capacity)
    }

    /// Whether it still has what is needed to go on behind the first `count` tokens as if there had been no others.
    package func canTruncate(to count: Int) -> Bool {
        if count == 0 || count == self.count { return true }
        if let otherRotation, count <= otherRotation, self.count > otherRotation { return false }
        return count < self.count && states.isEmpty && layers.allSatisfy { $0.canTruncate(to: count) }
    }

    /// The same, and forgets all pictures but the first so many.
    package func truncate(to count: Int, images kept: Int) {
        truncate(to: count)
        images.removeLast(images.count - kept)
    }

    /// Forgets all tokens but the first `count`, of which the windows' layers still have what the next token sees.
    package func truncate(to count: Int) {
        precondition((0...self.count).contains(count))
        precondition(states.isEmpty || count == 0 || count == self.count, "a delta rule's state cannot go back")
        if count == 0 { states = [:] }
        tokens.removeLast(self.count - count)
        for layer in layers.indices { layers[layer].truncate(to: count) }
    }

    /// Rows that the layers have room for, one number a layer; what a test asks about memory.
    package var rooms: [Int] { layers.map(\.room) }
}

/// What is kept of one layer's tokens.
private struct CachedLayer {
    /// Room that is taken at least, in tokens.
    static let leastRoom = 64

    private let window: Int?
    private var keys: Tensor
    private var values: Tensor
    /// The row of the first token that is kept, which token that is, and how many are kept.
    private var start = 0
    private var first = 0
    private var held = 0

    var room: Int { keys.rows }

    init(window: Int?, room: Int, _ width: Int, _ context: ComputeContext) {
        self.window = window
        keys = context.tensor([room, width])
        values = context.tensor([room, width])
    }

    mutating func append(
        keys new: Tensor, values newValues: Tensor, most: Int, _ context: ComputeContext
    ) -> (keys: Tensor, values: Tensor, segment: TokenLayout.Segment) {
        if let window, held > window - 1 { drop(held - (window - 1)) }
        reserve(new.rows, most: most, context)
        let bytes = new.rowByteCount
        for (source, target) in [(new, keys), (newValues, values)] {
            for row in 0..<source.rows {
                target.place(start + held + row).copyMemory(from: source.place(row), byteCount: bytes)
            }
        }
        let segment = TokenLayout.Segment(
            queryStart: 0, count: new.rows, keyStart: start + held, prefixStart: start, prefixCount: held)
        held += new.rows
        return (keys, values, segment)
    }

    private mutating func drop(_ count: Int) {
        start += count
        first += count
        held -= count
    }

    /// Makes room for `rows` tokens more: twice as much as is needed, so that memory follows what is generated and not
    /// what may be; a window's layer moves what it keeps to the front, and gives back the room of a long prompt.
    private mutating func reserve(_ rows: Int, most: Int, _ context: ComputeContext) {
        guard start + held + rows > keys.rows else { return }
        let wanted = held == 0 ? rows : max(held + rows, 2 * (window == nil ? keys.rows : held))
        let room = min(window == nil ? most : .max, max(wanted, Self.leastRoom))
        let grown = [keys, values].map { old in
            let new = context.tensor([room, old.columns])
            if held > 0 { new.address.copyMemory(from: old.place(start), byteCount: held * old.rowByteCount) }
            return new
        }
        (keys, values, start) = (grown[0], grown[1], 0)
    }

    /// The same in memory of its own.
    func copy(_ context: ComputeContext) -> CachedLayer {
        func copied(_ old: Tensor) -> Tensor {
            let new = context.tensor(old.shape)
            if held > 0 { new.place(start).copyMemory(from: old.place(start), byteCount: held * old.rowByteCount) }
            return new
        }
        var copy = self
        (copy.keys, copy.values) = (copied(keys), copied(values))
        return copy
    }

    /// Whether what is to be kept is still there, for at least one token.
    func canTruncate(to count: Int) -> Bool { first <= window.map { max(0, count - ($0 - 1)) } ?? 0 }

    mutating func truncate(to count: Int) {
        guard count > 0 else {
            (start, first, held) = (0, 0, 0)
            return
        }
        precondition(canTruncate(to: count), "a window's layer has forgotten what is to be kept")
        held = count - first
    }
}
