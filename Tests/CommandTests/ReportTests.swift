import Adapters
import Models
import Testing

@testable import Transforms
@testable import TSPEFT
@testable import tspeft

@Suite struct ReportTests {
    @Test func columnsAlignAndLinesHaveNoTrailingSpace() {
        var table = TextTable([.left, .right])
        table.add(["name", "n"])
        table.addRule()
        table.add(["a", "10"])
        table.add(["long name"])
        #expect(table.lines == ["name        n", "-------------", "a          10", "long name"])
    }

    @Test(arguments: [
        (0.0, 1, "0.0"), (41.25, 1, "41.3"), (-0.04, 1, "0.0"), (-0.06, 1, "-0.1"), (1234.5, 0, "1235"),
        (0.996, 2, "1.00"), (0.05, 3, "0.050"), (.infinity, 2, "inf"), (-1.5, 1, "-1.5"),
    ])
    func fixedRoundsToDigits(_ value: Double, _ digits: Int, _ text: String) {
        #expect(fixed(value, digits) == text)
    }

    func entry(_ layer: Int, _ projection: String, sparsity: Double, rank: Int = 4) -> ModuleRanking.Entry {
        .init(
            module: "model.layers.\(layer).\(projection)", tau: 0.125, sparsity: sparsity, tokens: 1000,
            active: Int((1 - sparsity) * 1000), rank: rank, position: 2 * layer + (projection == "q" ? 0 : 1),
            score: sparsity)
    }

    @Test func sparsityIsSetByLayerAndProjectionWithAverages() {
        let ranking = ModuleRanking(
            entries: [
                entry(0, "q", sparsity: 0.5), entry(0, "k", sparsity: 0.25), entry(1, "q", sparsity: 1),
                entry(1, "k", sparsity: 0, rank: 0),
            ], source: "dev.json")
        #expect(
            SparsityReport.layers(ranking.table) == [
                "layer      q     k    avg", "-------------------------", "0       50.0  25.0   37.5",
                "1      100.0     -  100.0", "-------------------------", "avg     75.0  25.0   58.3",
                "std     25.0   0.0   31.2",
            ])
        let lines = SparsityReport.ranking(ranking)
        #expect(lines.count == 6)
        #expect(lines[2].split(separator: " ") == ["1", "model.layers.0.k", "0.1250", "25.0", "750", "1000"])
        #expect(lines[5].contains("rank 0"))
    }

    @Test func targetTableCountsModulesAndShapes() throws {
        let modules = (0..<2).flatMap { layer in
            ["q", "k"].map {
                LinearModule(path: "model.layers.\(layer).\($0)", outputSize: $0 == "q" ? 8 : 4, inputSize: 8)
            }
        }
        let lines = SparsityReport.targets(try TargetMatch(.allLinear, in: modules))
        #expect(lines[2] == "all-linear        4  2 x [8, 8], 2 x [4, 8]")
        #expect(lines.last == "together          4")
    }
}
