/// Levenshtein's distance, in which neighbours that changed places are one edit (Damerau, 1964).
package enum EditDistance {
    /// Bytes of a name that are compared: a file may have names that fill it.
    private static let lengthLimit = 512

    /// Insertions, deletions, replacements of single bytes and exchanges of neighbours; of names beyond a limit, by how much one is longer there than
    /// the other.
    package static func between(_ a: [UInt8], _ b: [UInt8]) -> Int {
        let beyond = abs(max(a.count, lengthLimit) - max(b.count, lengthLimit))
        let (a, b) = (a.prefix(lengthLimit), b.prefix(lengthLimit))
        var (before, previous) = ([Int](), Array(0...b.count))
        for (row, left) in a.enumerated() {
            var current = [row + 1]
            current.reserveCapacity(b.count + 1)
            for (column, right) in b.enumerated() {
                let replaced = previous[column] + (left == right ? 0 : 1)
                var least = min(previous[column + 1] + 1, current[column] + 1, replaced)
                if row > 0, column > 0, left == b[column - 1], right == a[row - 1] {
                    least = min(least, before[column - 1] + 1)
                }
                current.append(least)
            }
            (before, previous) = (previous, current)
        }
        return previous[b.count] + beyond
    }
}
