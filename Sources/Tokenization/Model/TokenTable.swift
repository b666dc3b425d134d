import TensorCore

/// The texts of tokens by id, and ids by text, compared byte by byte.
///
/// Texts stand end to end in one array, and an open-addressing table finds them: a Swift dictionary of strings would
/// compare by canonical equivalence, under which distinct tokens are equal, and is slower.
struct TokenTable: Sendable {
    /// Ids of tokens are below this: half as many again as the largest vocabulary of a language model, and few enough
    /// to be read in a second.
    static let idLimit = 3 << 17

    private var text: [UInt8] = []
    private var ranges: [Range<Int>?] = []
    /// Ids by hash with linear probing, -1 where free; the count is a power of two.
    private var slots: [Int32] = [Int32](repeating: -1, count: 16)
    private(set) var count = 0
    /// The bytes of the longest text.
    private(set) var longestText = 0

    /// No tokens, with room for `capacity` of them.
    init(capacity: Int = 0) {
        ranges.reserveCapacity(capacity)
        text.reserveCapacity(capacity * 8)
        resize(for: capacity)
    }

    /// One more than the largest id.
    var idBound: Int { ranges.count }

    /// Adds a token; false, with nothing changed, where the id or the text is taken. `id` lies in `0..<idLimit`.
    mutating func insert(_ bytes: some Collection<UInt8>, id: Int32) -> Bool {
        precondition(id >= 0 && id < Self.idLimit)
        let start = text.count
        text.append(contentsOf: bytes)
        let range = start..<text.count
        let slot = slot(of: text, range)
        if slots[slot] >= 0 || (Int(id) < ranges.count && ranges[Int(id)] != nil) {
            text.removeSubrange(range)
            return false
        }
        while ranges.count <= Int(id) { ranges.append(nil) }
        ranges[Int(id)] = range
        slots[slot] = id
        count += 1
        longestText = max(longestText, range.count)
        if count * 2 > slots.count { resize(for: count) }
        return true
    }

    /// The id of the token whose text is `bytes[range]`.
    func id(of bytes: [UInt8], _ range: Range<Int>) -> Int32? {
        let id = slots[slot(of: bytes, range)]
        return id < 0 ? nil : id
    }

    /// The id of the token whose text is `bytes`.
    func id(of bytes: [UInt8]) -> Int32? { id(of: bytes, 0..<bytes.count) }

    /// The text of token `id`; nil where there is none.
    subscript(id: Int32) -> ArraySlice<UInt8>? {
        guard id >= 0, Int(id) < ranges.count, let range = ranges[Int(id)] else { return nil }
        return text[range]
    }

    /// The slot that holds the id of this text, or the free one where it belongs.
    private func slot(of bytes: [UInt8], _ range: Range<Int>) -> Int {
        var slot = Self.hash(bytes, range) & (slots.count - 1)
        while slots[slot] >= 0 {
            if let found = ranges[Int(slots[slot])], equal(found, bytes, range) { return slot }
            slot = (slot + 1) & (slots.count - 1)
        }
        return slot
    }

    private func equal(_ own: Range<Int>, _ bytes: [UInt8], _ range: Range<Int>) -> Bool {
        guard own.count == range.count else { return false }
        var index = own.lowerBound
        for other in range {
            if text[index] != bytes[other] { return false }
            index += 1
        }
        return true
    }

    private mutating func resize(for count: Int) {
        var size = 16
        while size < count * 4 { size *= 2 }
        guard size > slots.count else { return }
        slots = [Int32](repeating: -1, count: size)
        for id in ranges.indices {
            if let range = ranges[id] { slots[slot(of: text, range)] = Int32(id) }
        }
    }

    /// FNV-1a with its high bits folded down, as the table's size is a power of two.
    private static func hash(_ bytes: [UInt8], _ range: Range<Int>) -> Int {
        var hash = FNVHash()
        bytes[range].withUnsafeBytes { hash.add($0) }
        return Int(truncatingIfNeeded: (hash.value ^ (hash.value >> 32)) & 0x7FFF_FFFF)
    }
}
