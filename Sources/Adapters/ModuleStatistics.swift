/// What a pass over a set of tokens saw at one gated module.
///
/// Everything is a sum over tokens, so that parts of a pass add up. Norms are Euclidean; M is the whole update
/// including its scaling, W0 x includes the projection's bias; r = |M| / |W0 x| (arXiv 2511.16147, section 3.1).
package struct ModuleStatistics: Sendable, Equatable {
    /// The module's path, such as `model.layers.0.self_attn.q_proj`.
    package let module: String
    /// Tokens seen.
    package var tokens: Int
    /// Tokens with S = 1.
    package var active: Int
    /// sum |M|^2.
    package var sumUpdateSquared: Double
    /// sum S |M|^2.
    package var sumActiveUpdateSquared: Double
    /// sum |W0 x|^2.
    package var sumBaseSquared: Double
    /// sum r over the tokens where r is finite (it is not where W0 x = 0 and M is not).
    package var sumRatio: Double
    /// sum |M|.
    package var sumUpdateNorm: Double
    /// Tokens by r: `binCount` counts; see `bin(of:)`.
    package var ratioHistogram: [Int]
    /// sum z z' with z = A x, [rank, rank] row-major, in the basis of `LowRankChange`; nil for a method that is not
    /// low-rank.
    package var innerSums: [Double]?
    /// sum S z z', shaped as `innerSums`.
    package var activeInnerSums: [Double]?

    /// No tokens yet; with `rank`, inner sums of zeros.
    package init(module: String, rank: Int? = nil) {
        self.module = module
        tokens = 0
        active = 0
        sumUpdateSquared = 0
        sumActiveUpdateSquared = 0
        sumBaseSquared = 0
        sumRatio = 0
        sumUpdateNorm = 0
        ratioHistogram = Array(repeating: 0, count: Self.binCount)
        innerSums = rank.map { Array(repeating: 0, count: $0 * $0) }
        activeInnerSums = innerSums
    }

    /// The part of the tokens that the gate skips: 1 - active / tokens (equation 21); 0 without tokens.
    package var sparsity: Double {
        tokens == 0 ? 0 : 1 - Double(active) / Double(tokens)
    }

    /// Mean of r; nil without tokens.
    package var meanRatio: Double? { tokens == 0 ? nil : sumRatio / Double(tokens) }

    /// The factor c on M that is nearest to the gate over these tokens in the least-squares sense:
    /// c = sum S|M|^2 / sum |M|^2; nil where M is 0 throughout.
    package var bestFactor: Double? {
        sumUpdateSquared > 0 ? sumActiveUpdateSquared / sumUpdateSquared : nil
    }

    /// The relative error of replacing the gate by the factor `c` on every token:
    /// sqrt(sum |S M - c M|^2 / sum |W0 x|^2) = sqrt((sum S|M|^2 (1-c)^2 + sum (1-S)|M|^2 c^2) / sum |W0 x|^2).
    package func replacementError(factor c: Double) -> Double {
        let skipped = max(0, sumUpdateSquared - sumActiveUpdateSquared)
        let squared = sumActiveUpdateSquared * (1 - c) * (1 - c) + skipped * c * c
        if squared == 0 { return 0 }
        return (squared / sumBaseSquared).squareRoot()
    }

    /// Adds what another pass over further tokens saw at the same module.
    package mutating func add(_ other: ModuleStatistics) {
        precondition(module == other.module && innerSums?.count == other.innerSums?.count)
        tokens += other.tokens
        active += other.active
        sumUpdateSquared += other.sumUpdateSquared
        sumActiveUpdateSquared += other.sumActiveUpdateSquared
        sumBaseSquared += other.sumBaseSquared
        sumRatio += other.sumRatio
        sumUpdateNorm += other.sumUpdateNorm
        for bin in ratioHistogram.indices { ratioHistogram[bin] += other.ratioHistogram[bin] }
        innerSums = Self.sum(innerSums, other.innerSums)
        activeInnerSums = Self.sum(activeInnerSums, other.activeInnerSums)
    }

    private static func sum(_ left: [Double]?, _ right: [Double]?) -> [Double]? {
        guard let left, let right else { return nil }
        return zip(left, right).map(+)
    }
}

extension ModuleStatistics {
    /// Bins of the histogram of r: bin 0 holds r < 2^-20 (0 too); bin k of 1...96 holds
    /// 2^(-20 + (k-1)/4) <= r < 2^(-20 + k/4); bin 97 holds r >= 2^4, infinity too.
    package static let binCount = 98

    private static let lowestExponent = -20
    private static let binsPerOctave = 4
    /// 2^(k/4) for k = 0...3, rounded to nearest in `Float`: the lower edges within an octave.
    private static let octaveEdges: [Float] = [1, 1.189_207_1, 1.414_213_5, 1.681_792_9]

    /// The bin of a token with this r, which is not NaN.
    package static func bin(of ratio: Float) -> Int {
        guard ratio >= lowerEdge(of: 1) else { return 0 }
        guard ratio < lowerEdge(of: binCount - 1) else { return binCount - 1 }
        let significand = ratio.significand
        let step = octaveEdges.lastIndex { significand >= $0 } ?? 0
        return 1 + (Int(ratio.exponent) - lowestExponent) * binsPerOctave + step
    }

    /// The smallest r of a bin; 0 for bin 0.
    package static func lowerEdge(of bin: Int) -> Float {
        guard bin > 0 else { return 0 }
        let exponent = lowestExponent + (bin - 1) / binsPerOctave
        return Float(sign: .plus, exponent: exponent, significand: octaveEdges[(bin - 1) % binsPerOctave])
    }

    /// An r below which `fraction` of the tokens lie, to the width of a bin (its upper edge); nil without tokens.
    package func ratioQuantile(_ fraction: Double) -> Float? {
        guard tokens > 0 else { return nil }
        let wanted = fraction * Double(tokens)
        var seen = 0
        for (bin, count) in ratioHistogram.enumerated() {
            seen += count
            if Double(seen) >= wanted, count > 0 {
                return bin + 1 < Self.binCount ? Self.lowerEdge(of: bin + 1) : .infinity
            }
        }
        return .infinity
    }
}
