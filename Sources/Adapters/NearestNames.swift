import Models
import TensorCore

/// Names of a base that a mistyped target may have meant.
package enum NearestNames {
    /// Names offered at most.
    private static let limit = 5

    /// The names in `paths` nearest to `target`: for a plain name the distinct last components by edit distance, for a
    /// dotted one the paths' endings with as many components; ties in the base's order.
    package static func find(_ target: String, in paths: [String]) -> [String] {
        let depth = max(1, target.split(separator: ".").count)
        let bytes = Array(target.utf8)
        var seen: NameSet = []
        var names: [(name: String, distance: Int)] = []
        for path in paths {
            let name = path.split(separator: ".").suffix(depth).joined(separator: ".")
            if seen.insert(name).inserted { names.append((name, EditDistance.between(bytes, Array(name.utf8)))) }
        }
        let ordered = names.enumerated().sorted {
            ($0.element.distance, $0.offset) < ($1.element.distance, $1.offset)
        }
        return ordered.prefix(limit).map(\.element.name)
    }
}
