import TensorCore
import Testing

@testable import Adapters

@Suite struct ModuleStatisticsTests {
    @Test func binsCoverTheLineInQuarterOctaves() {
        #expect(ModuleStatistics.bin(of: 0) == 0)
        #expect(ModuleStatistics.bin(of: 0x1p-21) == 0)
        #expect(ModuleStatistics.bin(of: 0x1p-20) == 1)
        #expect(ModuleStatistics.bin(of: 1) == 81)
        #expect(ModuleStatistics.bin(of: Float(16).nextDown) == 96)
        #expect(ModuleStatistics.bin(of: 16) == 97)
        #expect(ModuleStatistics.bin(of: .infinity) == 97)
        for bin in 1..<ModuleStatistics.binCount {
            let edge = ModuleStatistics.lowerEdge(of: bin)
            #expect(ModuleStatistics.bin(of: edge) == bin)
            #expect(ModuleStatistics.bin(of: edge.nextDown) == bin - 1)
        }
    }

    /// Random updates with random gates; one base norm for all.
    func sample(seed: UInt64) -> (statistics: ModuleStatistics, norms: [(size: Double, active: Bool)]) {
        var random = RandomStream(seed: seed)
        var statistics = ModuleStatistics(module: "m", rank: 1)
        var norms: [(size: Double, active: Bool)] = []
        for _ in 0..<50 {
            let size = random.nextUniform()
            let active = random.nextUniform() < 0.4
            norms.append((size, active))
            statistics.tokens += 1
            statistics.sumUpdateSquared += size * size
            statistics.sumBaseSquared += 4
            statistics.sumUpdateNorm += size
            statistics.sumRatio += size / 2
            statistics.ratioHistogram[ModuleStatistics.bin(of: Float(size / 2))] += 1
            if active {
                statistics.active += 1
                statistics.sumActiveUpdateSquared += size * size
            }
        }
        return (statistics, norms)
    }

    func error(_ norms: [(size: Double, active: Bool)], _ c: Double) -> Double {
        let squared = norms.reduce(0.0) { sum, token in
            let rest = ((token.active ? 1 : 0) - c) * token.size
            return sum + rest * rest
        }
        return (squared / (4 * Double(norms.count))).squareRoot()
    }

    @Test func replacementErrorIsThatOfTheTokens() {
        let (statistics, norms) = sample(seed: 1)
        for c in [0, 0.3, 1, 1.5] {
            #expect(abs(statistics.replacementError(factor: c) - error(norms, c)) < 1e-12)
        }
    }

    @Test func noRandomFactorBeatsTheBest() throws {
        let (statistics, norms) = sample(seed: 2)
        let best = try #require(statistics.bestFactor)
        var random = RandomStream(seed: 3)
        for _ in 0..<1000 { #expect(error(norms, 2 * random.nextUniform()) >= error(norms, best)) }
    }

    @Test func partsAddUp() {
        var (first, _) = sample(seed: 4)
        let (second, _) = sample(seed: 5)
        let active = first.active + second.active
        first.add(second)
        #expect(first.tokens == 100)
        #expect(first.active == active)
        #expect(first.ratioHistogram.reduce(0, +) == 100)
        #expect(first.sparsity == 1 - Double(active) / 100)
    }

    @Test func noTokensMeanNoSparsityAndNoFactor() {
        let empty = ModuleStatistics(module: "m")
        #expect(empty.sparsity == 0)
        #expect(empty.bestFactor == nil)
        #expect(empty.meanRatio == nil)
        #expect(empty.ratioQuantile(0.5) == nil)
        #expect(empty.replacementError(factor: 1) == 0)
    }

    @Test func quantileIsTheUpperEdgeOfItsBin() throws {
        var statistics = ModuleStatistics(module: "m")
        for ratio: Float in [0.1, 0.2, 0.4, 0.8] {
            statistics.tokens += 1
            statistics.ratioHistogram[ModuleStatistics.bin(of: ratio)] += 1
        }
        let median = try #require(statistics.ratioQuantile(0.5))
        #expect(median > 0.2 && median <= 0.2 * 1.19)
    }
}
