import CheckpointIO
import TestSupport
import Testing

@testable import Transforms

@Suite struct SparsityTableTests {
    /// The columns of one method in the paper's Table 5, as modules with sparsities in 0...1; an empty cell has none.
    static func paper(_ method: String) throws -> (entries: [(path: String, sparsity: Double?)], averages: [Double]) {
        let text = String(decoding: try readSmallFile(fixture("paper/table5.csv"), limit: 1 << 20), as: UTF8.self)
        let lines = text.split(whereSeparator: \.isNewline).map {
            $0.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        }
        let columns = lines[0].indices.filter { lines[0][$0].hasPrefix(method + "_") }
        var entries: [(path: String, sparsity: Double?)] = []
        var averages: [Double] = []
        for line in lines.dropFirst() {
            for column in columns {
                let projection = lines[0][column].dropFirst(method.count + 1)
                if projection == "avg" {
                    averages.append(try #require(Double(line[column])))
                } else {
                    entries.append(
                        ("model.layers.\(line[0]).self_attn.\(projection)", Double(line[column]).map { $0 / 100 }))
                }
            }
        }
        return (entries, averages)
    }

    /// The standard deviations that follow from the paper's cells: it prints 41.3 and 11.4, and 9.8 where its own cells
    /// give 9.6.
    @Test func projectionsAreToldApartByTheirBytes() {
        let table = SparsityTable([("m.0.caf\u{E9}", 0.25), ("m.0.cafe\u{301}", 0.75)])
        #expect(table.projections.count == 2 && table.cells == [[0.25, 0.75]])
    }

    @Test(arguments: [("ts_lora", 9.6), ("ts_dora", 41.3), ("ts_adalora", 11.4)])
    func papersTableGivesItsDeviationAndRowAverages(_ method: String, _ deviation: Double) throws {
        let (entries, averages) = try Self.paper(method)
        let table = SparsityTable(entries)
        #expect(table.projections == ["q_proj", "k_proj", "v_proj"])
        #expect(table.layers == (0..<32).map(String.init))
        let found = try #require(table.standardDeviation)
        #expect(abs(100 * found - deviation) <= 0.05)
        for (row, average) in averages.enumerated() {
            // Cells are printed with one digit, so that a mean of three may differ in the last one.
            #expect(abs(100 * (try #require(table.average(ofLayer: row))) - average) <= 0.1)
        }
    }

    @Test func emptyCellsCountInNoAverage() {
        let table = SparsityTable(layers: ["0", "1"], projections: ["a", "b"], cells: [[0.2, nil], [nil, nil]])
        #expect(table.average(ofLayer: 0) == 0.2)
        #expect(table.average(ofLayer: 1) == nil)
        #expect(table.average(ofProjection: 1) == nil)
        #expect(table.average == 0.2)
        #expect(table.standardDeviation == 0)
        #expect(SparsityTable([]).average == nil)
    }

    @Test func projectionsAreToldApartByAsManyComponentsAsNeeded() {
        let table = SparsityTable([
            ("encoder.layer.0.attention.output.dense", 0.1), ("encoder.layer.0.output.dense", 0.2),
            ("encoder.layer.1.attention.output.dense", 0.3), ("classifier", 0.4),
        ])
        #expect(table.projections == ["attention.output.dense", "output.dense", "classifier"])
        #expect(table.layers == ["0", "1", "classifier"])
        #expect(table.cells == [[0.1, 0.2, nil], [0.3, nil, nil], [nil, nil, 0.4]])
    }

    @Test func twoListsOfLayersKeepTheirNames() {
        let table = SparsityTable([("vision.layers.0.q_proj", 0.1), ("language.layers.0.q_proj", 0.2)])
        #expect(table.layers == ["vision.layers.0", "language.layers.0"])
    }
}
