/// Finds all tokens that begin at a place of a text, shortest first: a trie of bytes whose edges lie in one hash table.
struct PieceTrie: Sendable {
    /// Nodes at most, so that a node and a byte fit into 32 bits.
    static let nodeLimit = 1 << 24
    /// Bytes of all tokens' texts that are read: more than the largest vocabularies have (3 MB).
    static let byteLimit = 8 << 20

    /// Edges by hash with linear probing: `node << 8 | byte`, and the node that they lead to. No edge leads to the root,
    /// so 0 is free.
    private var keys: [UInt32]
    private var targets: [UInt32]
    private let shift: UInt32
    /// By node the token that ends there, -1 where none does.
    private var tokens: [Int32] = [-1]

    /// An empty trie with room for so many bytes of tokens, at most `nodeLimit - 1`.
    init(byteCount: Int) {
        precondition(byteCount < Self.nodeLimit)
        var bits: UInt32 = 4
        while 1 << Int(bits) < 2 * (byteCount + 1) { bits += 1 }
        keys = [UInt32](repeating: 0, count: 1 << Int(bits))
        targets = [UInt32](repeating: 0, count: 1 << Int(bits))
        shift = 32 - bits
        tokens.reserveCapacity(byteCount + 1)
    }

    /// Adds a token, which is not empty; one of the same text is replaced. All texts together have at most the bytes
    /// that the trie was made for.
    mutating func insert(_ text: some Sequence<UInt8>, id: Int32) {
        var node: UInt32 = 0
        for byte in text {
            let slot = slot(of: node << 8 | UInt32(byte))
            if targets[slot] == 0 {
                keys[slot] = node << 8 | UInt32(byte)
                targets[slot] = UInt32(tokens.count)
                tokens.append(-1)
            }
            node = targets[slot]
        }
        tokens[Int(node)] = id
    }

    /// Calls `found` with the id and the end of every token that begins at `range.lowerBound` and ends in `range`.
    @inline(__always)
    func forEachToken(in bytes: [UInt8], _ range: Range<Int>, _ found: (_ id: Int32, _ end: Int) -> Void) {
        var node: UInt32 = 0
        for index in range {
            node = targets[slot(of: node << 8 | UInt32(bytes[index]))]
            if node == 0 { return }
            let id = tokens[Int(node)]
            if id >= 0 { found(id, index + 1) }
        }
    }

    /// The slot of an edge, or the free one where it belongs.
    @inline(__always)
    private func slot(of key: UInt32) -> Int {
        // Multiplicative hashing by 2^32 / golden ratio; the high bits are the mixed ones.
        let mask = keys.count - 1
        var slot = Int((key &* 0x9E37_79B9) >> shift)
        while targets[slot] != 0, keys[slot] != key { slot = (slot + 1) & mask }
        return slot
    }
}
