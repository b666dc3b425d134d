/// A stretch of a word that stands for one token so far.
struct Symbol: Sendable {
    /// The token; -1 where the text of the stretch is none (only merges by score know that).
    var id: Int32
    /// The bytes of the word's text that it covers.
    var start: Int
    var end: Int
}

/// What two neighbouring symbols become, and how urgently.
protocol PairRanking {
    /// The merge of two neighbours as `rank << 32 | id`: the lowest rank goes first. `noMerge` where they stay apart.
    func merge(_ left: Symbol, _ right: Symbol, in text: [UInt8]) -> UInt64
}

/// Stands for the absence of a merge; no rank is as large.
let noMerge = UInt64.max

/// Byte-pair encoding's loop: while two neighbours can merge, merge the pair of lowest rank, the leftmost of equals.
///
/// Keeps its working memory, so that one value serves many words.
struct PairMerger {
    /// Words of more symbols take the heap (n log n), shorter ones repeated passes (quadratic, but with a tiny
    /// constant).
    var longestScan = 48

    /// The symbols of the word: set before `mergeAll`, what is left of them after it.
    var symbols: [Symbol] = []
    private var merges: [UInt64] = []
    private var heap: [Candidate] = []
    private var next: [Int] = []
    private var previous: [Int] = []

    /// Merges until no pair of neighbours can.
    mutating func mergeAll(_ ranking: some PairRanking, in text: [UInt8]) {
        if symbols.count < 2 { return }
        if symbols.count <= longestScan { scan(ranking, in: text) } else { drainHeap(ranking, in: text) }
    }

    private mutating func scan(_ ranking: some PairRanking, in text: [UInt8]) {
        merges.removeAll(keepingCapacity: true)
        for index in 1..<symbols.count {
            merges.append(ranking.merge(symbols[index - 1], symbols[index], in: text))
        }
        while true {
            var best = noMerge
            var place = 0
            for index in merges.indices where merges[index] >> 32 < best >> 32 {
                best = merges[index]
                place = index
            }
            if best == noMerge { return }
            symbols[place].id = Int32(truncatingIfNeeded: best)
            symbols[place].end = symbols[place + 1].end
            symbols.remove(at: place + 1)
            merges.remove(at: place)
            if place > 0 { merges[place - 1] = ranking.merge(symbols[place - 1], symbols[place], in: text) }
            if place < merges.count { merges[place] = ranking.merge(symbols[place], symbols[place + 1], in: text) }
        }
    }

    /// A merge that was possible when it was pushed. Boundaries between symbols only ever vanish, so it still is if
    /// its left symbol lives and its neighbour still ends at `end`.
    private struct Candidate {
        /// `rank << 32 | index of the left symbol`: the order in which merges happen.
        let key: UInt64
        let id: Int32
        let end: Int
    }

    private mutating func drainHeap(_ ranking: some PairRanking, in text: [UInt8]) {
        heap.removeAll(keepingCapacity: true)
        next = Array(1...symbols.count)
        previous = Array(-1..<symbols.count - 1)
        for index in 0..<symbols.count - 1 { offer(index, ranking, in: text) }
        while let candidate = popCandidate() {
            let left = Int(truncatingIfNeeded: candidate.key & 0xFFFF_FFFF)
            let right = next[left]
            // A symbol that was merged away is marked by an empty range.
            guard symbols[left].end > symbols[left].start, right < symbols.count, symbols[right].end == candidate.end
            else { continue }
            symbols[left].id = candidate.id
            symbols[left].end = candidate.end
            symbols[right].end = symbols[right].start
            next[left] = next[right]
            if next[left] < symbols.count { previous[next[left]] = left }
            if previous[left] >= 0 { offer(previous[left], ranking, in: text) }
            offer(left, ranking, in: text)
        }
        symbols.removeAll { $0.end == $0.start }
    }

    /// Pushes the merge of symbol `left` with its neighbour, if there is one.
    private mutating func offer(_ left: Int, _ ranking: some PairRanking, in text: [UInt8]) {
        let right = next[left]
        guard right < symbols.count else { return }
        let merge = ranking.merge(symbols[left], symbols[right], in: text)
        if merge == noMerge { return }
        let key = (merge >> 32) << 32 | UInt64(left)
        heap.append(Candidate(key: key, id: Int32(truncatingIfNeeded: merge), end: symbols[right].end))
        var child = heap.count - 1
        while child > 0, heap[(child - 1) / 2].key > heap[child].key {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func popCandidate() -> Candidate? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        if heap.isEmpty { return first }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && heap[child].key < heap[least].key { least = child }
            if least == parent { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
