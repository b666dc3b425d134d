import TensorCore

/// Names of a base that a mistyped target may have meant.
package enum NearestNames {
    /// Names offered at most.
    private static let limit = 5

    /// The names in `paths` nearest to `target`: for a plain name the distinct last components by edit distance, for a
    /// dotted one the paths' endings with as many components; ties in the base's order.
    package static func find(_ target: String, in paths: [String]) -> [String] {
        let depth = max(1, target.split(separator: ".").count)
        var seen: NameSet = []
        var names: [(name: String, distance: Int)] = []
        for path in paths {
            let name = path.split(separator: ".").suffix(depth).joined(separator: ".")
            if seen.insert(name).inserted { names.append((name, distance(Array(target.utf8), Array(name.utf8)))) }
        }
        let ordered = names.enumerated().sorted {
            ($0.element.distance, $0.offset) < ($1.element.distance, $1.offset)
        }
        return ordered.prefix(limit).map(\.element.name)
    }

    /// Levenshtein's distance: insertions, deletions and replacements of single bytes.
    package static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var previous = Array(0...b.count)
        for (row, left) in a.enumerated() {
            var current = [row + 1]
            for (column, right) in b.enumerated() {
                current.append(
                    min(previous[column + 1] + 1, current[column] + 1, previous[column] + (left == right ? 0 : 1)))
            }
            previous = current
        }
        return previous[b.count]
    }
}
