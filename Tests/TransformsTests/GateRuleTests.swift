import Adapters
import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// A rule that gives each update a map of z, and half of the result.
private struct MapRule: GateRule {
    let map: [Double]

    func replace(_ change: WeightChange, _ statistics: ModuleStatistics) -> (change: WeightChange, error: Double) {
        guard case .added(var low) = change else { return (change, 1) }
        low.map = map
        return (WeightChange.added(low).multiplied(by: 0.5), 0.25)
    }
}

/// What a rule says of a gate reaches the merged weights.
@Suite struct GateRuleTests {
    @Test(arguments: [AdapterKind.lora, .adalora, .vera]) func mapReachesTheMergedWeights(_ kind: AdapterKind) throws {
        let rank = OddModel.rank
        // Not symmetric, and without an inverse.
        let map: [Double] = [0, 2, -1, 0.5, 0, 0, 1, 0.25, 3]
        try withTemporaryFolder { folder in
            let base = try OddModel.base(in: folder)
            let adapter = try OddModel.adapter(kind, activeShare: 0.5)
            let gates = MergeGates("map", MapRule(map: map))
            let merge = try CheckpointMerge(base: base, adapter: adapter, gates: gates)
            #expect(merge.plan.parts[0].modules.allSatisfy { $0.factor == 0.5 && $0.expectedError == 0.25 })
            _ = try merge.write(to: folder + "/merged")
            let merged = try ModelCheckpoint.open(folder + "/merged")
            for module in adapter.modules {
                let name = module + ".weight"
                let width = base.shape(of: name)![1]
                // The same adapter with C A, and E or d on the left of it, written out by the method.
                let (a, inner, b) = try factors(adapter, module, width: width)
                let (old, new) = (try base.floats(name), try merged.floats(name))
                for index in old.indices {
                    let (row, column) = index.quotientAndRemainder(dividingBy: width)
                    var expected = Double(old[index])
                    for k in 0..<rank {
                        let mapped = (0..<rank).reduce(0.0) { $0 + map[k * rank + $1] * a[$1 * width + column] }
                        expected += 0.5 * b[row * rank + k] * inner[k] * mapped
                    }
                    #expect(abs(Double(new[index]) - expected) < 2e-5, "\(module) [\(row), \(column)]")
                }
            }
        }
    }

    /// A [rank, width], E or d, and B with all that stands before it, by NUMERICS.
    private func factors(
        _ adapter: AdapterDirectory, _ module: String, width: Int
    ) throws -> (a: [Double], inner: [Double], b: [Double]) {
        func values(_ suffix: String) -> [Double] { adapter.values(module, suffix).map(Double.init) }
        let rank = OddModel.rank
        switch adapter.configuration.kind {
        case .lora:
            return (
                values(PEFTNames.loraA), [Double](repeating: 1, count: rank),
                values(PEFTNames.loraB).map { $0 * 5 / Double(rank) }
            )
        case .adalora:
            return (
                values(PEFTNames.adaLoRAA), values(PEFTNames.adaLoRAE),
                values(PEFTNames.adaLoRAB).map { $0 * 5 / (Double(rank) + 1e-5) }
            )
        default:
            let (sharedA, sharedB) = (adapter.shared(PEFTNames.sharedA), adapter.shared(PEFTNames.sharedB))
            let b = values(PEFTNames.veraB)
            return (
                (0..<rank * width).map { Double(sharedA.values[$0 / width * sharedA.shape[1] + $0 % width]) },
                values(PEFTNames.veraD), (0..<b.count * rank).map { b[$0 / rank] * Double(sharedB.values[$0]) }
            )
        }
    }

    @Test func rulesAreFoundByName() {
        #expect(MergeGates.allCases.map(\.rawValue) == ["scale", "drop"])
        #expect(MergeGates(rawValue: "scale") == .scale && MergeGates(rawValue: "map") == nil)
    }

    @Test func scaledChangeIsExactAndItsShareIsOfTheDifference() {
        func changed(_ axis: ScaledChange.Axis, _ factors: [Float], share: Double) -> [Float] {
            var change = ScaledChange(factors: factors, axis: axis)
            change.share = share
            let before: [Float] = [1, 2, 3, -4, 5, 0.1]
            var weights = before
            TensorChange.scaled(change).apply(to: &weights, before: before, rows: 0..<2, width: 3)
            return weights
        }
        #expect(changed(.rows, [3, 0.5], share: 1) == [3, 6, 9, -2, 2.5, 0.05])
        #expect(changed(.columns, [1, 3, -1], share: 1) == [1, 6, -3, -4, 15, -0.1])
        #expect(changed(.rows, [3, 0.5], share: 0.5) == [2, 4, 6, -3, 3.75, 0.075])
    }
}
