extension BaseNames {
    /// Where the rows of a module's weight or bias lie that the files hold in one tensor with another module's; nil for
    /// what is no part of one.
    package func fusedRows(of key: String, count: Int) -> (tensor: String, first: Int)? {
        guard families.contains(where: { !$0.fusions.isEmpty }), existing(key) == nil else { return nil }
        let (module, last) = NamePath.parent(key)
        let place = try? resolve(module) { path in fusedPlace(path, last, count) }
        return (place ?? nil).map { ($0.tensor, $0.offset) }
    }

    private func fusedPlace(_ path: String, _ last: String, _ count: Int) -> MatrixPlace? {
        for fusion in families.lazy.flatMap(\.fusions) where !fusion.isInTurn {
            for (index, part) in fusion.parts.enumerated() {
                guard let stem = PlaceProbe.stem(of: path, suffix: part) else { continue }
                let tensor = NamePath.path(NamePath.path(stem, fusion.whole), last)
                guard let total = shapes[tensor]?.first,
                    let offset = PlaceProbe.offset(of: index, among: fusion.parts.count, size: count, total: total)
                else { continue }
                return MatrixPlace(tensor: tensor, rows: 0..<count, offset: offset)
            }
        }
        return nil
    }

    /// What a module of the files is called in memory, where that is another name.
    package func memoryName(of path: String) -> String? {
        families.lazy.compactMap { $0.modelName(of: path) }.first
    }

    /// Whether a module's name is one of those in memory, which the base's files do not use.
    package func isMemoryName(_ path: String) -> Bool {
        shapes[path + ".weight"] == nil && families.contains { $0.filesName(of: path) != nil }
    }
}
