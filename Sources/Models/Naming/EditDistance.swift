/// Levenshtein's distance.
package enum EditDistance {
    /// Bytes of a name that are compared: a file may have names that fill it.
    private static let lengthLimit = 512

    /// Insertions, deletions and replacements of single bytes; of names beyond a limit, by how much one is longer there than
    /// the other.
    package static func between(_ a: [UInt8], _ b: [UInt8]) -> Int {
        let beyond = abs(max(a.count, lengthLimit) - max(b.count, lengthLimit))
        let (a, b) = (a.prefix(lengthLimit), b.prefix(lengthLimit))
        var previous = Array(0...b.count)
        for (row, left) in a.enumerated() {
            var current = [row + 1]
            current.reserveCapacity(b.count + 1)
            for (column, right) in b.enumerated() {
                current.append(
                    min(previous[column + 1] + 1, current[column] + 1, previous[column] + (left == right ? 0 : 1)))
            }
            previous = current
        }
        return previous[b.count] + beyond
    }
}
