import TensorCore

/// Sparsity by layer and projection, the form of Table 5 of arXiv 2511.16147.
package struct SparsityTable: Sendable, Equatable {
    /// A row's label each: the layer's number, with what comes before it where the model has several lists of layers.
    package let layers: [String]
    /// A column's label each: the projection, such as `q_proj`.
    package let projections: [String]
    /// Sparsity in 0...1 by row and column; nil where there is no gate or the rank is 0.
    package let cells: [[Double?]]

    /// A table of these cells, one row a layer and one column a projection.
    package init(layers: [String], projections: [String], cells: [[Double?]]) {
        precondition(cells.count == layers.count && cells.allSatisfy { $0.count == projections.count })
        self.layers = layers
        self.projections = projections
        self.cells = cells
    }

    /// The table of modules given by path, in the order of their first appearance.
    ///
    /// A path's first number is its layer; what follows is its projection, by as many of its last components as tell
    /// the projections apart. A module outside any layer makes a row of its own (its path's last component).
    package init(_ sparsities: [(path: String, sparsity: Double?)]) {
        let places = sparsities.map { Self.place(of: $0.path) }
        let stems = Self.uniqued(places.map { ByteName($0.stem) }).map(\.text)
        let columns = Self.uniqued(places.map { ByteName($0.projection) })
        let projections = columns.map(\.text)
        let rows = Self.uniqued(places.map { Row(stem: ByteName($0.stem), layer: ByteName($0.layer)) })
        var cells = [[Double?]](
            repeating: [Double?](repeating: nil, count: projections.count), count: rows.count)
        for (entry, place) in zip(sparsities, places) {
            let row = rows.firstIndex(of: Row(stem: ByteName(place.stem), layer: ByteName(place.layer)))!
            cells[row][columns.firstIndex(of: ByteName(place.projection))!] = entry.sparsity
        }
        let layered = stems.filter { !$0.isEmpty }
        let labels = rows.map { row in
            layered.count > 1 && !row.stem.text.isEmpty ? row.stem.text + "." + row.layer.text : row.layer.text
        }
        self.init(layers: labels, projections: Self.shortened(projections), cells: cells)
    }

    /// Mean over a row's cells; nil for an empty row.
    package func average(ofLayer row: Int) -> Double? { Self.mean(cells[row].compactMap { $0 }) }

    /// Mean over a column's cells; nil for an empty column.
    package func average(ofProjection column: Int) -> Double? { Self.mean(cells.compactMap { $0[column] }) }

    /// Mean over all cells; nil for an empty table.
    package var average: Double? { Self.mean(cells.flatMap { $0.compactMap { $0 } }) }

    /// Population standard deviation over all cells; nil for an empty table.
    package var standardDeviation: Double? { Self.deviation(cells.flatMap { $0.compactMap { $0 } }) }

    /// Population standard deviation over a column's cells; nil for an empty column.
    package func standardDeviation(ofProjection column: Int) -> Double? {
        Self.deviation(cells.compactMap { $0[column] })
    }

    private struct Row: Equatable, Hashable {
        let stem: ByteName
        let layer: ByteName
    }

    private static func mean(_ values: [Double]) -> Double? {
        values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }

    private static func deviation(_ values: [Double]) -> Double? {
        guard let mean = mean(values) else { return nil }
        let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        return (squares / Double(values.count)).squareRoot()
    }

    private static func place(of path: String) -> (stem: String, layer: String, projection: String) {
        let parts = path.split(separator: ".").map(String.init)
        guard let number = parts.firstIndex(where: { Int($0) != nil }), number + 1 < parts.count else {
            return ("", parts.last ?? path, parts.last ?? path)
        }
        return (
            parts[..<number].joined(separator: "."), parts[number], parts[(number + 1)...].joined(separator: ".")
        )
    }

    private static func uniqued<Element: Hashable>(_ elements: [Element]) -> [Element] {
        var seen: Set<Element> = []
        return elements.filter { seen.insert($0).inserted }
    }

    /// The shortest endings, by components, that still differ from one another.
    private static func shortened(_ names: [String]) -> [String] {
        let parts = names.map { $0.split(separator: ".") }
        let deepest = parts.map(\.count).max() ?? 1
        for depth in 1...max(1, deepest) {
            let endings = parts.map { $0.suffix(depth).joined(separator: ".") }
            if NameSet(endings).count == endings.count { return endings }
        }
        return names
    }
}
