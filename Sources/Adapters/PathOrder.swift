import TensorCore

/// The order of modules by their paths: component by component, numbers as numbers, all else as text.
enum PathOrder {
    /// What a component is among all that there are, so that thousands of paths are compared by integers.
    private struct Component {
        /// The place among all texts in their order.
        let place: Int
        /// The number that it is, if it is one.
        let number: Int?
    }

    /// `paths` in their order.
    static func sorted(_ paths: some Collection<String>) -> [String] {
        let parts = paths.map { path in
            path.utf8.split(separator: UInt8(ascii: ".")).map { ByteName(String(Substring($0))) }
        }
        let texts = Set(parts.joined()).sorted()
        let components = Dictionary(
            uniqueKeysWithValues: texts.enumerated().map { ($1, Component(place: $0, number: Int($1.text))) })
        let keys = zip(paths, parts).map { path, parts in (path: path, key: parts.map { components[$0]! }) }
        return keys.sorted { comesBefore($0.key, $1.key) }.map(\.path)
    }

    private static func comesBefore(_ left: [Component], _ right: [Component]) -> Bool {
        for (a, b) in zip(left, right) where a.place != b.place {
            if let a = a.number, let b = b.number { return a < b }
            return a.place < b.place
        }
        return left.count < right.count
    }
}
